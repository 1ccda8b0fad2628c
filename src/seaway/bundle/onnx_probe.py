"""Parses one untrusted ONNX file, in a process of its own: `python -m seaway.bundle.onnx_probe REQUEST`.

Started only by `bundle.verify_onnx`, which limits its memory and time. Prints one JSON document: a `Report`, or
a `Refusal` (see `bundle.verify_onnx`). It also writes the model without what exporters leave behind (paths, timestamps), so that the same
model packaged on two machines has the same bytes. Its imports are few, since `seaway serve` waits for it.
"""

from __future__ import annotations

import os
import resource
import stat
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Final

import google.protobuf.message
import msgspec
import onnx

from seaway.bundle.verify_onnx import MAX_PROTOBUF_BYTES, ProbedTensor, ProbeRequest, Refusal, Report

_MAX_DEPTH: Final = 32
_DOMAINS: Final = frozenset(
    {"", "ai.onnx", "ai.onnx.ml", "ai.onnx.preview", "com.microsoft", "ai.onnx.preview.training"}
)
_EXTERNAL_KEYS: Final = frozenset({"location", "offset", "length", "checksum"})
_DTYPES: Final = {
    "FLOAT": "FP32",
    "DOUBLE": "FP64",
    "FLOAT16": "FP16",
    "STRING": "BYTES",
    "BOOL": "BOOL",
    **{f"{sign}INT{bits}": f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)},
}


class Refused(Exception):
    """Carries a Refusal to `main`."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.refusal = Refusal(code, reason)


def main() -> None:
    """The child process: limits itself, probes the file that its argument names, prints what it found."""
    request = msgspec.json.decode(sys.argv[1], type=ProbeRequest)
    resource.setrlimit(resource.RLIMIT_AS, (request.memory_bytes, request.memory_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (request.cpu_s, request.cpu_s))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answer: Report | Refusal
    try:
        answer = probe(Path(request.path), Path(request.output))
    except Refused as refused:
        answer = refused.refusal
    except MemoryError:
        answer = Refusal("too_large", "reading it takes more memory than is allowed")
    sys.stdout.buffer.write(msgspec.json.encode(answer))


def probe(path: Path, output: Path) -> Report:
    """Check the model at `path` and write its cleaned form to `output`. Raises `Refused`."""
    model = _parse(path)
    _check_opsets(model)
    tensors = list(_tensors(model))
    external = sorted({_external(path.parent, tensor) for tensor in tensors if tensor.data_location == 1})
    _drop_zipmap(model)
    _clean(model)
    try:
        encoded = model.SerializeToString(deterministic=True)
        output.write_bytes(encoded)
        if external:
            for name in external:
                copy = output.parent / name
                copy.parent.mkdir(parents=True, exist_ok=True)
                if not copy.exists():
                    _copy(path.parent / name, copy)
            onnx.checker.check_model(str(output))
        else:
            onnx.checker.check_model(encoded)
        if any(not v.type.tensor_type.HasField("shape") for v in model.graph.output) and not external:
            model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except (
        onnx.checker.ValidationError,
        onnx.shape_inference.InferenceError,
        ValueError,
        RuntimeError,
    ) as error:
        raise Refused("invalid_model", _first_line(error)) from error
    return _report(model, external)


def _parse(path: Path) -> Any:
    size = path.stat().st_size
    if size == 0:
        raise Refused("invalid_model", "the file is empty")
    if size > MAX_PROTOBUF_BYTES:
        raise Refused(
            "invalid_model",
            f"the file has {size:,} bytes, over protobuf's 2 GiB; save its weights as external data",
        )
    model = onnx.ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except google.protobuf.message.DecodeError as error:
        raise Refused("invalid_model", f"no ONNX protobuf, or a damaged one: {_first_line(error)}") from error
    if not model.HasField("graph") or not model.opset_import:
        raise Refused("invalid_model", "no ONNX model: it has no graph or no opset")
    return model


def _check_opsets(model: Any) -> None:
    own = {function.domain for function in model.functions}
    known = onnx.defs.onnx_opset_version()
    for opset in model.opset_import:
        if opset.domain not in _DOMAINS | own:
            used = any(node.domain == opset.domain for node in _nodes(model))
            if used:
                raise Refused(
                    "invalid_model", f"it uses operators of the unknown domain {opset.domain[:100]!r}"
                )
        if opset.domain in ("", "ai.onnx") and not 1 <= opset.version <= known:
            raise Refused(
                "invalid_model", f"opset {opset.version} is unknown; this Seaway reads up to {known}"
            )
    foreign = next((n.domain for n in _nodes(model) if n.domain not in _DOMAINS | own), None)
    if foreign is not None:
        raise Refused("invalid_model", f"it uses operators of the unknown domain {foreign[:100]!r}")


def _graphs(model: Any) -> Iterator[tuple[Any, int]]:
    pending = [(model.graph, 0), *((function, 0) for function in model.functions)]
    while pending:
        graph, depth = pending.pop()
        if depth > _MAX_DEPTH:
            raise Refused("invalid_model", f"its subgraphs are nested deeper than {_MAX_DEPTH}")
        yield graph, depth
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.HasField("g"):
                    pending.append((attribute.g, depth + 1))
                pending.extend((inner, depth + 1) for inner in attribute.graphs)


def _nodes(model: Any) -> Iterator[Any]:
    for graph, _ in _graphs(model):
        yield from graph.node


def _tensors(model: Any) -> Iterator[Any]:
    for graph, _ in _graphs(model):
        yield from getattr(graph, "initializer", ())  # a function has none
        for sparse in getattr(graph, "sparse_initializer", ()):
            yield from (sparse.values, sparse.indices)
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    yield attribute.t
                if attribute.HasField("sparse_tensor"):
                    yield from (attribute.sparse_tensor.values, attribute.sparse_tensor.indices)
                yield from attribute.tensors
                for sparse in attribute.sparse_tensors:
                    yield from (sparse.values, sparse.indices)


def _external(directory: Path, tensor: Any) -> str:
    """The checked location of a tensor's external data."""
    what = f"the external data of {tensor.name[:100]!r}"
    entries = {entry.key: entry.value for entry in tensor.external_data}
    strange = sorted(entries.keys() - _EXTERNAL_KEYS)
    if strange or len(entries) != len(tensor.external_data):
        raise Refused(
            "invalid_model", f"{what} has unexpected or repeated keys {[key[:50] for key in strange]}"
        )
    location = entries.get("location", "")
    path = PurePosixPath(location)
    odd = not location or "\\" in location or "\0" in location or ":" in location
    if odd or path.is_absolute() or ".." in path.parts:
        raise Refused("unsafe_path", f"{what} lies at {location[:200]!r}, outside the model's directory")
    file = directory
    for part in path.parts:
        file = file / part
        if file.is_symlink():
            raise Refused("unsafe_path", f"{what} lies at {location[:200]!r}, which is a symbolic link")
    if not file.exists():
        raise Refused("invalid_model", f"{what} is missing: there is no {location[:200]!r} beside the model")
    found = file.lstat()
    if not stat.S_ISREG(found.st_mode):
        raise Refused("unsafe_path", f"{what} lies at {location[:200]!r}, which is no plain file")
    offset, length = (_whole(what, key, entries.get(key)) for key in ("offset", "length"))
    if offset + length > found.st_size:
        raise Refused(
            "invalid_model",
            f"{what} ends at byte {offset + length:,}, and {location[:200]!r} has {found.st_size:,}",
        )
    return str(path)


def _whole(what: str, key: str, text: str | None) -> int:
    if text is None:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise Refused("invalid_model", f"{what} has the {key} {text[:50]!r}")
    return int(text)


def _drop_zipmap(model: Any) -> None:
    """Give a classifier's probabilities as the tensor that ZipMap was fed, since lists of maps are no tensors."""
    for node in list(model.graph.node):
        if node.op_type == "ZipMap" and node.domain == "ai.onnx.ml":
            classes = [
                list(a.strings) or list(a.ints) for a in node.attribute if a.name.startswith("classlabels")
            ]
            value = next((v for v in model.graph.output if v.name == node.output[0]), None)
            if value is None:
                continue
            value.ClearField("type")
            value.type.tensor_type.elem_type = 1
            for width in (None, len(classes[0]) if classes else None):
                axis = value.type.tensor_type.shape.dim.add()
                if width:
                    axis.dim_value = width
            node.op_type, node.domain = "Identity", ""
            node.ClearField("attribute")


def _clean(model: Any) -> None:
    """Remove what says where, when and by which source line the model was exported."""
    for field in ("doc_string", "metadata_props", "producer_version"):
        model.ClearField(field)
    for graph, _ in _graphs(model):
        for field in ("doc_string", "metadata_props"):
            graph.ClearField(field)
        parts = [*graph.node, *getattr(graph, "initializer", ()), *graph.value_info]
        if hasattr(graph, "initializer"):
            parts += [*graph.input, *graph.output]
        for part in parts:
            for field in ("doc_string", "metadata_props"):
                part.ClearField(field)
        for node in graph.node:
            for attribute in node.attribute:
                attribute.ClearField("doc_string")


def _report(model: Any, external: list[str]) -> Report:
    graph = model.graph
    weights = {tensor.name for tensor in graph.initializer} | {
        s.values.name for s in graph.sparse_initializer
    }
    origins = {name: node.op_type for node in graph.node for name in node.output}
    classes: list[str | int] = []
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.name.startswith("classlabels"):
                classes = [text.decode("utf-8", "replace") for text in attribute.strings] or list(
                    attribute.ints
                )
    return Report(
        inputs=[_tensor(value, "input", "") for value in graph.input if value.name not in weights],
        outputs=[_tensor(value, "output", origins.get(value.name, "")) for value in graph.output],
        external=external,
        classes=classes,
        opsets={opset.domain or "ai.onnx": opset.version for opset in model.opset_import},
        producer=model.producer_name,
    )


def _tensor(value: Any, what: str, origin: str) -> ProbedTensor:
    name = f"{what} {value.name[:100]!r}"
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        raise Refused(
            "invalid_model", f"{name} is a {(kind or 'nothing').removesuffix('_type')}, not a tensor"
        )
    tensor = value.type.tensor_type
    dtype = _DTYPES.get(onnx.TensorProto.DataType.Name(tensor.elem_type))
    if dtype is None:
        raise Refused("invalid_model", f"{name} has a datatype that no protocol carries")
    if not tensor.HasField("shape"):
        raise Refused("invalid_model", f"{name} has no shape: declare its axes, with a free one for rows")
    shape = [
        axis.dim_value if axis.HasField("dim_value") and axis.dim_value > 0 else -1
        for axis in tensor.shape.dim
    ]
    symbols = [axis.dim_param[:200] for axis in tensor.shape.dim]
    return ProbedTensor(value.name, dtype, shape, origin, symbols)


def _copy(source: Path, target: Path) -> None:
    # the source was checked above; O_NOFOLLOW keeps it the file that was checked
    handle = os.open(source, os.O_RDONLY | os.O_NOFOLLOW)
    with os.fdopen(handle, "rb") as reader, target.open("xb") as writer:
        while chunk := reader.read(1 << 20):
            writer.write(chunk)


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:300] if text else type(error).__name__


if __name__ == "__main__":
    main()

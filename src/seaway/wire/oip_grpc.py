"""Open Inference Protocol v2 over gRPC: its messages to tensors and tensors to its messages. No server in here.

Tensors come as raw bytes (`raw_input_contents`, in the form of `oip_binary`) or typed (`contents`), one way for all
inputs of a request; the answer goes the way that the request came.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from google.protobuf.message import DecodeError, Message

from seaway.core.errors import UserError
from seaway.core.tensors import Array, DType, Signature, Tensors, TensorSpec, describe
from seaway.wire import oip_binary, oip_pb2, oip_requests, plans

_MAX_RANK: Final = 32
# protobuf makes the message classes as the module is imported, so no type checker sees them.
_messages: Final[Any] = oip_pb2
# Which field of InferTensorContents holds a datatype. FP16 has none: it travels as raw bytes only.
_FIELDS: Final = {
    DType.BOOL: "bool_contents",
    DType.INT8: "int_contents",
    DType.INT16: "int_contents",
    DType.INT32: "int_contents",
    DType.INT64: "int64_contents",
    DType.UINT8: "uint_contents",
    DType.UINT16: "uint_contents",
    DType.UINT32: "uint_contents",
    DType.UINT64: "uint64_contents",
    DType.FP32: "fp32_contents",
    DType.FP64: "fp64_contents",
    DType.BYTES: "bytes_contents",
}

_RANGES: Final = {
    DType.INT8: (-(2**7), 2**7 - 1),
    DType.INT16: (-(2**15), 2**15 - 1),
    DType.UINT8: (0, 2**8 - 1),
    DType.UINT16: (0, 2**16 - 1),
}


class Request:
    """A ModelInferRequest whose bytes were read; its tensors are decoded once the Signature is known."""

    __slots__ = ("_message", "_names", "_raw", "id", "model_name", "model_version")

    def __init__(self, data: bytes) -> None:
        """Raises `UserError("invalid_request")` where the bytes are no such message."""
        message: Any = _messages.ModelInferRequest()
        parse(message, data)
        self._message = message
        self._names: Sequence[str] = ()
        self._raw = False
        self.model_name: str = message.model_name
        self.model_version: str = message.model_version
        self.id: str = message.id

    def tensors(self, signature: Signature) -> dict[str, Array]:
        """The inputs. Raises `UserError` that names the input, what was expected and what came."""
        message = self._message
        plan = plans.of(signature)
        raw = message.raw_input_contents
        self._raw = len(raw) > 0
        self._names = self._selected(signature)
        found: dict[str, Array] = {}
        for at, item in enumerate(message.inputs):
            name = item.name
            want = plan.inputs.get(name)
            if want is None:
                known = ", ".join(plan.inputs)
                raise UserError(
                    "unknown_input", f"there is no input {name[:80]!r}", f"the inputs are: {known}"
                )
            if name in found:
                raise UserError("duplicate_input", f"input {name!r} is named twice", "send it once")
            dtype, shape = want.spec.dtype, tuple(item.shape)
            if item.datatype != want.datatype:
                dtype = _dtype(item.datatype, want.spec)
            if want.size(shape) < 0 or len(shape) > _MAX_RANK:
                raise UserError(
                    "wrong_shape",
                    f"input {name!r} has shape {list(shape[:_MAX_RANK])}",
                    f"expected {describe(want.spec)}",
                )
            if not self._raw:
                found[name] = _typed(item.contents, want.spec, dtype, shape)
            elif at >= len(raw):
                break
            else:
                if item.HasField("contents"):
                    raise UserError(
                        "invalid_request",
                        f"input {name!r} has both contents and raw bytes",
                        "send one of them",
                    )
                found[name] = oip_binary.read(memoryview(raw[at]), want.spec, dtype, shape)
        if self._raw and len(raw) != len(message.inputs):
            raise UserError(
                "invalid_request",
                f"there are {len(message.inputs)} inputs, but {len(raw)} raw_input_contents",
                "send all inputs raw, or none",
            )
        return found

    def _selected(self, signature: Signature) -> Sequence[str]:
        if not self._message.outputs:
            return ()
        names = tuple(output.name for output in self._message.outputs)
        oip_requests.check_outputs(names, signature)
        return names

    def answer(self, outputs: Tensors, signature: Signature, endpoint: str, revision: int) -> bytes:
        """A ModelInferResponse as bytes. Call after `tensors`."""
        plan = plans.of(signature)
        names = self._names or plan.output_names
        answer: Any = _messages.ModelInferResponse()
        answer.model_name = endpoint
        answer.model_version = str(revision)
        if self.id:
            answer.id = self.id
        raw = self._raw or any(plan.outputs[name].dtype is DType.FP16 for name in names)
        for name in names:
            array = outputs[name]
            dtype = plan.outputs[name].dtype
            tensor = answer.outputs.add(name=name, datatype=dtype.value, shape=array.shape)
            if raw:
                answer.raw_output_contents.append(oip_binary.write(array, dtype))
            else:
                _fill(tensor.contents, array, dtype)
        encoded: bytes = answer.SerializeToString()
        return encoded


def parse(message: Message, data: bytes) -> None:
    """Raises `UserError("invalid_request")` where the bytes are no such message."""
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise UserError(
            "invalid_request", f"the message is no {message.DESCRIPTOR.full_name}", "send that message"
        ) from error


def _dtype(text: str, spec: TensorSpec) -> DType:
    dtype = oip_requests.stated_dtype(text, spec.dtype)
    if dtype is None:
        raise UserError(
            "wrong_dtype", f"input {spec.name!r} has datatype {text[:20]!r}", f"expected {describe(spec)}"
        )
    return dtype


def _typed(contents: Any, spec: TensorSpec, dtype: DType, shape: tuple[int, ...]) -> Array:
    field = _FIELDS.get(dtype)
    if field is None:
        raise UserError(
            "invalid_request",
            f"input {spec.name!r} is {dtype.value}, which has no typed contents",
            "send raw_input_contents",
        )
    values = getattr(contents, field)
    if len(values) != math.prod(shape):
        others = ", ".join(sorted(f.name for f, _ in contents.ListFields() if f.name != field))
        raise UserError(
            "wrong_shape",
            f"input {spec.name!r} has {len(values)} values in {field}, its shape {list(shape)} takes "
            f"{math.prod(shape)}",
            f"there are values in {others}" if others else None,
        )
    if dtype is DType.BYTES:
        words = np.empty(len(values), dtype=object)
        words[:] = [oip_binary.text(value, spec.name, at) for at, value in enumerate(values)]
        return words.reshape(shape)
    low, high = _RANGES.get(dtype, (0, 0))
    if high and len(values) and (min(values) < low or max(values) > high):
        at = next(i for i, value in enumerate(values) if not low <= value <= high)
        raise UserError(
            "invalid_value", f"input {spec.name!r}, value {at} = {values[at]} does not fit {dtype.value}"
        )
    found: Array = np.array(values, dtype=dtype.numpy).reshape(shape)
    return found if dtype is spec.dtype else found.astype(spec.dtype.numpy)


def _fill(contents: Any, array: Array, dtype: DType) -> None:
    values = array.ravel().tolist()
    if dtype is DType.BYTES:
        values = [str(value).encode() for value in values]
    getattr(contents, _FIELDS[dtype]).extend(values)


def model_metadata(endpoint: str, revisions: Sequence[int], signature: Signature) -> bytes:
    """A ModelMetadataResponse as bytes."""
    found: Any = _messages.ModelMetadataResponse(name=endpoint, platform="seaway")
    found.versions.extend(str(number) for number in revisions)
    for specs, field in ((signature.inputs, found.inputs), (signature.outputs, found.outputs)):
        for spec in specs:
            field.add(name=spec.name, datatype=spec.dtype.value, shape=spec.shape)
    encoded: bytes = found.SerializeToString()
    return encoded

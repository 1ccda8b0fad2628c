"""What is sent to each system and how its answer is read: one form per protocol, thousands of different bodies each.

Systems that speak the Open Inference Protocol get the same bytes; the others the form that their own documentation
shows. Bodies are made once and kept as one file with an index, which wrk's script and the Python client both read.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from bench import models, places, protobuf

HEADER_LENGTH: Final = "inference-header-content-length"
NAME: Final = "m"
"""What every system is told to call its model."""
_ID: Final = "1"  # KServe 0.21 answers 500 to a request without one
_ABSOLUTE, _RELATIVE = 1e-4, 1e-4


class Form(enum.StrEnum):
    """How one request's numbers are written."""

    OIP_JSON = "json"
    OIP_BINARY = "binary"
    OIP_GRPC = "grpc"
    INPUTS = "inputs"
    """{"inputs": rows}: MLflow's own, and what the tutorials of frameworks without one use."""
    NAMED = "named"
    """{"x": rows}: BentoML's, by the parameter's name."""
    DATA = "data"
    """{"data": one row}: TorchServe batches requests, so a request is a row."""


class Prepared(msgspec.Struct, frozen=True):
    """All bodies for one model in one form, one after another in `path`."""

    path: str
    headers: dict[str, str]
    sizes: list[int]

    def bodies(self) -> list[bytes]:
        whole = memoryview(Path(self.path).read_bytes())
        ends = np.cumsum(self.sizes).tolist()
        return [bytes(whole[end - size : end]) for size, end in zip(self.sizes, ends, strict=True)]


def prepared(model: str, form: Form) -> Prepared:
    """The bodies, from the cache or made now."""
    places.BODIES.mkdir(parents=True, exist_ok=True)
    path = places.BODIES / f"{model}-{form}.bodies"
    index = path.with_suffix(".json")
    if not index.exists():
        inputs, _ = models.data(model)
        made = [encode(model, form, row[np.newaxis]) for row in inputs]
        headers = [headers for headers, _ in made]
        assert all(each == headers[0] for each in headers), "one set of headers goes with all bodies"
        path.write_bytes(b"".join(body for _, body in made))
        index.write_bytes(
            msgspec.json.encode(Prepared(str(path), headers[0], [len(body) for _, body in made]))
        )
    return msgspec.json.decode(index.read_bytes(), type=Prepared)


def encode(model: str, form: Form, rows: NDArray[np.float64]) -> tuple[dict[str, str], bytes]:
    """Headers and body that ask `model` about `rows`, shaped `(n, *tail)`."""
    name = models.MODELS[model].input
    if form is Form.OIP_GRPC:
        return {}, protobuf.request(NAME, name, rows.astype(np.float32))
    if form is Form.OIP_BINARY:
        return _binary(name, rows.astype("<f4"))
    value: dict[str, object]
    if form is Form.OIP_JSON:
        flat = rows.ravel().tolist()
        tensor = {"name": name, "shape": list(rows.shape), "datatype": "FP32", "data": flat}
        value = {"id": _ID, "inputs": [tensor]}
    elif form is Form.INPUTS:
        value = {"inputs": rows.tolist()}
    elif form is Form.NAMED:
        value = {"x": rows.tolist()}
    else:
        value = {"data": rows[0].tolist()}
    return {"Content-Type": "application/json"}, json.dumps(value, separators=(",", ":")).encode()


def _binary(name: str, rows: NDArray[np.float32]) -> tuple[dict[str, str], bytes]:
    tensor = {
        "name": name,
        "shape": list(rows.shape),
        "datatype": "FP32",
        "parameters": {"binary_data_size": rows.nbytes},
    }
    value = {"id": _ID, "inputs": [tensor], "parameters": {"binary_data_output": True}}
    head = json.dumps(value, separators=(",", ":")).encode()
    headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(head))}
    return headers, head + rows.tobytes()


def decode(form: Form, headers: Mapping[str, str], body: bytes) -> NDArray[np.float64]:
    """The probabilities in an answer, shaped `(n, outputs)`. Raises `ValueError` or `LookupError` for what is none.

    `headers` has lower-case names.
    """
    if form is Form.OIP_GRPC:
        return protobuf.output(body, models.OUTPUT)
    if form is Form.OIP_BINARY and HEADER_LENGTH in headers:
        return _decode_binary(body, int(headers[HEADER_LENGTH]))
    value = json.loads(body)
    if form in (Form.OIP_JSON, Form.OIP_BINARY):
        found = next(each for each in value["outputs"] if each["name"] == models.OUTPUT)
        return np.asarray(found["data"], np.float64).reshape(found["shape"])
    if isinstance(value, dict):
        value = value["predictions"]
    if isinstance(value, dict):  # MLflow names the outputs of an ONNX model
        value = value[models.OUTPUT]
    return np.atleast_2d(np.asarray(value, np.float64))


def _decode_binary(body: bytes, head_bytes: int) -> NDArray[np.float64]:
    at = head_bytes
    for tensor in json.loads(body[:head_bytes])["outputs"]:
        size = tensor.get("parameters", {}).get("binary_data_size", 0)
        if tensor["name"] == models.OUTPUT:
            if size == 0:
                return np.asarray(tensor["data"], np.float64).reshape(tensor["shape"])
            return np.frombuffer(body[at : at + size], "<f4").astype(np.float64).reshape(tensor["shape"])
        at += size
    raise LookupError(models.OUTPUT)


def right(form: Form, headers: Mapping[str, str], body: bytes, expected: NDArray[np.float32]) -> bool:
    """Whether the answer is `session.run`'s, `(outputs,)`, within what batching and decimal numbers may change."""
    try:
        given = decode(form, headers, body)
    except (ValueError, LookupError, TypeError, StopIteration):
        return False
    return given.shape == (1, *expected.shape) and bool(
        np.allclose(given[0], expected, rtol=_RELATIVE, atol=_ABSOLUTE)
    )

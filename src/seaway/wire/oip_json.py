"""Open Inference Protocol v2 over JSON: infer requests to tensors, tensors to infer responses, and metadata.

Strict where the protocol leaves room: an unknown field, a duplicate key or a duplicate input name is refused.
Binary tensors are not taken; a wish for binary output is answered with JSON, which every client reads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import msgspec

from seaway.core.errors import UserError
from seaway.core.tensors import Array, DType, Signature, Tensors, TensorSpec, describe
from seaway.wire import json_values

_MAX_RANK: Final = 32


class _Input(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    shape: list[int]
    datatype: str
    data: list[object] | None = None
    parameters: dict[str, object] | None = None


class _Output(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    parameters: dict[str, object] | None = None


class _Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    inputs: list[_Input]
    id: str | None = None
    outputs: list[_Output] | None = None
    parameters: dict[str, object] | None = None


class InferRequest(msgspec.Struct, frozen=True):
    """A decoded infer request. `outputs` are the names asked for, in that order; empty means all."""

    tensors: Tensors
    id: str | None
    outputs: tuple[str, ...]


class _ResponseOutput(msgspec.Struct, frozen=True):
    name: str
    datatype: str
    shape: Sequence[int]
    data: Sequence[object]


class _Response(msgspec.Struct, frozen=True, omit_defaults=True):
    model_name: str
    model_version: str
    outputs: list[_ResponseOutput]
    id: str | None = None


_DECODER: Final = msgspec.json.Decoder(_Request)
_ENCODER: Final = msgspec.json.Encoder()


def decode_request(body: bytes, signature: Signature) -> InferRequest:
    """Raises `UserError` that names the input, what was expected and what came."""
    request = json_values.decode(body, _DECODER)
    json_values.refuse_duplicate_keys(body, _count_keys(request))
    tensors: dict[str, Array] = {}
    for item in request.inputs:
        spec = signature.input(item.name)
        if spec is None:
            known = ", ".join(spec.name for spec in signature.inputs)
            raise UserError(
                "unknown_input", f"there is no input {item.name[:80]!r}", f"the inputs are: {known}"
            )
        if item.name in tensors:
            raise UserError("duplicate_input", f"input {item.name!r} is named twice", "send it once")
        tensors[item.name] = _tensor(item, spec)
    return InferRequest(tensors, request.id, _selected(request, signature))


def _count_keys(request: _Request) -> int:
    keys = 1 + (request.id is not None) + (request.outputs is not None) + _parameter_keys(request.parameters)
    for item in request.inputs:
        keys += 3 + (item.data is not None) + _parameter_keys(item.parameters)
    for output in request.outputs or ():
        keys += 1 + _parameter_keys(output.parameters)
    return keys


def _parameter_keys(parameters: dict[str, object] | None) -> int:
    return 0 if parameters is None else 1 + json_values.count_keys(parameters)


def _tensor(item: _Input, spec: TensorSpec) -> Array:
    name = f"input {spec.name!r}"
    if item.datatype not in DType.__members__ or not spec.dtype.holds(DType(item.datatype)):
        raise UserError(
            "wrong_dtype", f"{name} has datatype {item.datatype[:20]!r}", f"expected {describe(spec)}"
        )
    shape = tuple(item.shape)
    if len(shape) > _MAX_RANK or any(axis < 0 for axis in shape) or not spec.accepts(shape):
        raise UserError(
            "wrong_shape", f"{name} has shape {item.shape[:_MAX_RANK]}", f"expected {describe(spec)}"
        )
    if item.parameters and "binary_data_size" in item.parameters:
        raise UserError(
            "invalid_request", f"{name} is sent as binary data", "send JSON data (binary_data=False)"
        )
    if item.data is None:
        raise UserError("missing_input", f"{name} has no data", f"expected {describe(spec)}")
    values = item.data
    if len(shape) > 1 and values and type(values[0]) is list:
        values = json_values.flatten(values, shape, name)
    elif len(values) != math.prod(shape):
        raise UserError(
            "wrong_shape", f"{name} has {len(values)} values, its shape {item.shape} takes {math.prod(shape)}"
        )
    return json_values.to_array(values, spec, lambda at: f"{name}, value {at}").reshape(shape)


def _selected(request: _Request, signature: Signature) -> tuple[str, ...]:
    names = tuple(output.name for output in request.outputs or ())
    for name in names:
        if signature.output(name) is None:
            known = ", ".join(spec.name for spec in signature.outputs)
            raise UserError(
                "invalid_request", f"there is no output {name[:80]!r}", f"the outputs are: {known}"
            )
    if len(set(names)) != len(names):
        raise UserError("invalid_request", "an output is asked for twice", "name each output once")
    return names


def encode_response(
    request: InferRequest, tensors: Tensors, signature: Signature, endpoint: str, revision: int
) -> bytes:
    """The JSON infer response: data flat, NaN and infinite values as null (JSON has no other way)."""
    outputs = []
    for name in request.outputs or tensors:
        spec = signature.output(name)
        assert spec is not None
        array = tensors[name]
        outputs.append(_ResponseOutput(name, spec.dtype.value, array.shape, array.ravel().tolist()))
    return _ENCODER.encode(_Response(endpoint, str(revision), outputs, request.id))


def encode_request(tensors: Tensors, request_id: str | None = None) -> bytes:
    """The JSON infer request that `decode_request` takes; NaN becomes null."""
    inputs = [
        {
            "name": name,
            "shape": list(array.shape),
            "datatype": datatype(array).value,
            "data": array.ravel().tolist(),
        }
        for name, array in tensors.items()
    ]
    return _ENCODER.encode({"inputs": inputs} if request_id is None else {"id": request_id, "inputs": inputs})


def datatype(array: Array) -> DType:
    """The protocol's datatype of an array; object arrays are BYTES."""
    return next(dtype for dtype in DType if dtype.numpy == array.dtype)


def model_metadata(endpoint: str, revisions: Sequence[int], signature: Signature) -> dict[str, object]:
    """The body of `GET /v2/models/{endpoint}`."""
    return {
        "name": endpoint,
        "versions": [str(number) for number in revisions],
        "platform": "seaway",
        "inputs": [_describe(spec) for spec in signature.inputs],
        "outputs": [_describe(spec) for spec in signature.outputs],
    }


def _describe(spec: TensorSpec) -> dict[str, object]:
    """The protocol's three keys, and in `parameters` what a client needs to map the columns of a table."""
    found: dict[str, object] = {"name": spec.name, "datatype": spec.dtype.value, "shape": list(spec.shape)}
    if spec.columns:
        found["parameters"] = {"columns": list(spec.columns)}
    return found

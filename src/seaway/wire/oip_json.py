"""Open Inference Protocol v2: infer requests to tensors, tensors to infer responses, and metadata.

Strict where the protocol leaves room: an unknown field, a duplicate key or a duplicate input name is refused.
Tensors that travel as bytes beside the JSON are `oip_binary`'s part.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from seaway.core.errors import UserError
from seaway.core.tensors import Array, DType, Signature, Tensors, TensorSpec, describe
from seaway.wire import json_values, oip_requests, plans
from seaway.wire.oip_requests import InferRequest, Input
from seaway.wire.plans import Plan

_MAX_RANK: Final = 32
_MOST_HEADS: Final = 64
_ENCODER: Final = msgspec.json.Encoder()
_encode: Final = _ENCODER.encode

Take = Callable[[int, TensorSpec, DType, tuple[int, ...]], Array]
"""Takes an input's next so many bytes out of the binary data: (binary_data_size, spec, stated datatype, shape)."""


def decode_request(body: bytes, signature: Signature) -> InferRequest:
    """A request all in JSON. Raises `UserError` that names the input, what was expected and what came."""
    return oip_requests.quick(body, signature) or decode_strict(body, signature, None)


def decode_strict(body: bytes, signature: Signature, take: Take | None) -> InferRequest:
    """As `decode_request`, for every request and with every message; `take` gives inputs that are not in the JSON."""
    request = oip_requests.strict(body)
    tensors: dict[str, Array] = {}
    checked = True
    for item in request.inputs:
        spec = signature.input(item.name)
        if spec is None:
            known = ", ".join(spec.name for spec in signature.inputs)
            raise UserError(
                "unknown_input", f"there is no input {item.name[:80]!r}", f"the inputs are: {known}"
            )
        if item.name in tensors:
            raise UserError("duplicate_input", f"input {item.name!r} is named twice", "send it once")
        binary = item.parameters is not None and "binary_data_size" in item.parameters
        checked = checked and not binary
        tensors[item.name] = _binary(item, spec, take) if binary else _tensor(item, spec)
    outputs, wanted = oip_requests.selected(request, signature)
    return InferRequest(tensors, request.id, outputs, wanted, checked)


def _stated(item: Input, spec: TensorSpec) -> tuple[DType, tuple[int, ...]]:
    dtype = oip_requests.stated_dtype(item.datatype, spec.dtype)
    if dtype is None:
        raise UserError(
            "wrong_dtype",
            f"input {spec.name!r} has datatype {item.datatype[:20]!r}",
            f"expected {describe(spec)}",
        )
    shape = tuple(item.shape)
    if len(shape) > _MAX_RANK or any(axis < 0 for axis in shape) or not spec.accepts(shape):
        raise UserError(
            "wrong_shape",
            f"input {spec.name!r} has shape {item.shape[:_MAX_RANK]}",
            f"expected {describe(spec)}",
        )
    return dtype, shape


def _tensor(item: Input, spec: TensorSpec) -> Array:
    name = f"input {spec.name!r}"
    _, shape = _stated(item, spec)
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


def _binary(item: Input, spec: TensorSpec, take: Take | None) -> Array:
    name = f"input {spec.name!r}"
    assert item.parameters is not None
    size = item.parameters["binary_data_size"]
    dtype, shape = _stated(item, spec)
    if item.data is not None:
        raise UserError("invalid_request", f"{name} has both data and binary_data_size", "send one of them")
    if take is None:
        raise UserError(
            "invalid_request",
            f"{name} is sent as binary data, but there is no header inference-header-content-length",
            "send that header with the length of the JSON, or JSON data (binary_data=False)",
        )
    if type(size) is not int or size < 0:
        raise UserError(
            "invalid_request",
            f"{name} has a binary_data_size that is no length",
            "send the number of its bytes",
        )
    return take(size, spec, dtype, shape)


def encode_response(
    request: InferRequest, tensors: Tensors, signature: Signature, endpoint: str, revision: int
) -> bytes:
    """The JSON infer response: data flat, NaN and infinite values as null (JSON has no other way)."""
    plan = plans.of(signature)
    opening = head(plan, endpoint, revision)
    parts: list[bytes] = []
    for name in request.outputs or plan.output_names:
        array = tensors[name]
        parts += (opening, plan.openings[name], _encode(array.shape), b',"data":')
        parts.append(_encode(array.ravel().tolist()))
        opening = b"},"
    parts.append(closing(request))
    return b"".join(parts)


def head(plan: Plan, endpoint: str, revision: int) -> bytes:
    """The response up to its outputs."""
    found = plan.heads.get((endpoint, revision))
    if found is None:
        if len(plan.heads) >= _MOST_HEADS:
            plan.heads.clear()
        model = {"model_name": endpoint, "model_version": str(revision)}
        found = plan.heads[endpoint, revision] = _encode(model)[:-1] + b',"outputs":['
    return found


def closing(request: InferRequest) -> bytes:
    """The response after the last output's data."""
    return b"}]}" if request.id is None else b'}],"id":%b}' % _encode(request.id)


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
    return _encode({"inputs": inputs} if request_id is None else {"id": request_id, "inputs": inputs})


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
    """The protocol's three keys, and in `parameters` the columns of a table, and whether it may be left out."""
    found: dict[str, object] = {"name": spec.name, "datatype": spec.dtype.value, "shape": list(spec.shape)}
    parameters: dict[str, object] = {}
    if spec.columns:
        parameters["columns"] = list(spec.columns)
    if spec.optional:
        parameters["optional"] = True
    if parameters:
        found["parameters"] = parameters
    return found

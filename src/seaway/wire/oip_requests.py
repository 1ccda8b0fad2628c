"""The JSON of an Open Inference Protocol v2 request, by its strict and its quick reading; `oip_json` calls both.

The strict reading takes every request and says what is wrong with a bad one. The quick reading takes the usual
ones only (float tensors in flat arrays) in a fraction of the time, and gives up on all others: it must accept
nothing that the strict one refuses, nor read anything differently.
"""

from __future__ import annotations

import struct
from typing import Final

import msgspec
import numpy as np

from seaway.core.errors import UserError
from seaway.core.tensors import Array, DType, Signature, Tensors
from seaway.wire import json_values, plans, simd_numbers
from seaway.wire.plans import Plan

_DATA_KEY: Final = b'"data":'
_MOST_REST_BYTES: Final = 4096
_DEEPEST: Final = 8


class Input(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """One input tensor: its `data`, or where it is in `parameters`."""

    name: str
    shape: list[int]
    datatype: str
    data: list[object] | None = None
    parameters: dict[str, object] | None = None


class Output(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """One output that the client asks for."""

    name: str
    parameters: dict[str, object] | None = None


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """KServe's client repeats the path's name and version in the body: taken, and not read."""

    inputs: list[Input]
    id: str | None = None
    outputs: list[Output] | None = None
    parameters: dict[str, object] | None = None
    model_name: str | None = None
    model_version: str | None = None


class _QuickInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    name: str
    shape: list[int]
    datatype: str
    data: list[float]


class _QuickRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    inputs: list[_QuickInput]
    id: str | None = None
    outputs: list[Output] | None = None
    parameters: dict[str, object] | None = None
    model_name: str | None = None
    model_version: str | None = None


class InferRequest(msgspec.Struct, frozen=True, gc=False):
    """A decoded infer request. `outputs` are the names asked for, in that order; empty means all.

    `binary` are the names of the outputs that the client wants as binary data. `checked`: no float came as binary,
    so none can be NaN where the Signature allows none.
    """

    tensors: Tensors
    id: str | None = None
    outputs: tuple[str, ...] = ()
    binary: frozenset[str] = frozenset()
    checked: bool = True


_STRICT: Final = msgspec.json.Decoder(Request)
_QUICK: Final = msgspec.json.Decoder(_QuickRequest)
_NONE: Final[frozenset[str]] = frozenset()


def strict(body: bytes) -> Request:
    """Raises `UserError` for what is not JSON of the request's form, or names a key twice."""
    request = json_values.decode(body, _STRICT)
    keys = _shared_keys(request)
    for item in request.inputs:
        keys += 3 + (item.data is not None) + _parameter_keys(item.parameters)
    json_values.refuse_duplicate_keys(body, keys)
    return request


def quick(body: bytes, signature: Signature) -> InferRequest | None:
    """The request where it is a usual one, else None; any thread. Reads nothing that `strict` would refuse."""
    plan = plans.of(signature)
    if not plan.all_float:
        return None
    if len(body) > simd_numbers.LARGE_BYTES:
        found = _large(body, plan)
        if found is not None:
            return found
    try:
        request = _QUICK.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    inputs = request.inputs
    planned = plan.inputs
    tensors: dict[str, Array] = {}
    for item in inputs:
        name = item.name
        want = planned.get(name)
        if want is None or item.datatype != want.datatype:
            return None
        data = item.data
        shape = tuple(item.shape)
        if want.size(shape) != len(data):
            return None
        try:
            packed = struct.pack(f"={len(data)}{want.code}", *data)
        except (OverflowError, struct.error):
            return None
        tensors[name] = np.ndarray(shape, want.numpy, packed)
    if len(tensors) != len(inputs):
        return None
    return _finish(request, tensors, body.count(b":"), plan)


def _finish(request: _QuickRequest, tensors: Tensors, colons: int, plan: Plan) -> InferRequest | None:
    """What is not tensors; None where `colons` do not say that no key came twice."""
    if request.outputs is None and request.parameters is None:
        named = (request.model_name is not None) + (request.model_version is not None)
        if colons != 1 + 4 * len(request.inputs) + (request.id is not None) + named:
            return None
        return InferRequest(tensors, request.id)
    if colons != _shared_keys(request) + 4 * len(request.inputs):
        return None
    names, binary = selected(request, plan.signature)
    return InferRequest(tensors, request.id, names, binary)


def _large(body: bytes, plan: Plan) -> InferRequest | None:
    """A large request with one input, whose data simdjson reads about twice as fast as msgspec.

    The bytes of the data array are cut out and the rest is decoded with `[]` in their place. That the array is the
    input's data, and not something in a string or in parameters, is certain: it follows a key `"data"` that stands
    outside all strings, and nothing but an input has such a key where there are no parameters.
    """
    key = body.find(_DATA_KEY)
    start = body.find(b"[", key)
    if key < 0 or start < 0 or body[key + len(_DATA_KEY) : start].strip(b" \t\r\n"):
        return None
    if b"\\" in body[:key] or body.count(b'"', 0, key) % 2:
        return None
    opening = body[start : start + _DEEPEST]
    depth = len(opening) - len(opening.lstrip(b"["))
    end = body.find(b"]" * depth, start) + depth
    if end < depth or len(body) - end + start > _MOST_REST_BYTES:
        return None
    rest = b"%b[]%b" % (body[:start], body[end:])
    try:
        request = _QUICK.decode(rest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if len(request.inputs) != 1 or request.inputs[0].data or request.parameters is not None:
        return None
    if any(output.parameters for output in request.outputs or ()):
        return None
    item = request.inputs[0]
    want = plan.inputs.get(item.name)
    shape = tuple(item.shape)
    if want is None or item.datatype != want.datatype or (depth > 1 and depth != len(shape)):
        return None
    size = want.size(shape)
    wide = simd_numbers.array(body[start:end], shape if depth > 1 else (size,)) if size > 0 else None
    found = None if wide is None else simd_numbers.narrow(wide, want.numpy)
    if found is None:
        return None
    return _finish(request, {item.name: found.reshape(shape)}, rest.count(b":"), plan)


def _shared_keys(request: Request | _QuickRequest) -> int:
    keys = 1 + (request.id is not None) + (request.outputs is not None) + _parameter_keys(request.parameters)
    keys += (request.model_name is not None) + (request.model_version is not None)
    for output in request.outputs or ():
        keys += 1 + _parameter_keys(output.parameters)
    return keys


def _parameter_keys(parameters: dict[str, object] | None) -> int:
    return 0 if parameters is None else 1 + json_values.count_keys(parameters)


def selected(
    request: Request | _QuickRequest, signature: Signature
) -> tuple[tuple[str, ...], frozenset[str]]:
    """The outputs asked for by name, and those of them (of all, where none is named) wanted as binary data.

    Raises `UserError("invalid_request")`.
    """
    default = _flag(request.parameters, "binary_data_output", "the request", False)
    if not request.outputs:
        return (), frozenset(spec.name for spec in signature.outputs) if default else _NONE
    names = tuple(output.name for output in request.outputs)
    check_outputs(names, signature)
    binary = frozenset(
        output.name
        for output in request.outputs
        if _flag(output.parameters, "binary_data", f"output {output.name!r}", default)
    )
    return names, binary


def check_outputs(names: tuple[str, ...], signature: Signature) -> None:
    """Raises `UserError("invalid_request")` where a name is no output, or comes twice."""
    for name in names:
        if signature.output(name) is None:
            known = ", ".join(spec.name for spec in signature.outputs)
            raise UserError(
                "invalid_request", f"there is no output {name[:80]!r}", f"the outputs are: {known}"
            )
    if len(set(names)) != len(names):
        raise UserError("invalid_request", "an output is asked for twice", "name each output once")


def _flag(parameters: dict[str, object] | None, key: str, where: str, default: bool) -> bool:
    value = default if parameters is None else parameters.get(key, default)
    if not isinstance(value, bool):
        raise UserError(
            "invalid_request",
            f"parameter {key!r} of {where} is {json_values.kind(value)}",
            "send true or false",
        )
    return value


def stated_dtype(text: str, dtype: DType) -> DType | None:
    """The datatype that a request states for an input of `dtype`, None where the input does not take it."""
    if text not in DType.__members__:
        return None
    found = DType(text)
    return found if dtype.holds(found) else None

"""Tensors as bytes beside the JSON of an Open Inference Protocol v2 request or answer.

Triton's "binary tensor data" extension: the body is JSON, as long as the header Inference-Header-Content-Length
says, and then the bytes of every tensor whose parameter `binary_data_size` gives their number, in the JSON's order.
Numbers are little-endian in row-major order; each BYTES element has its length before it, as 4 little-endian bytes.
`oip_grpc` uses the same bytes as raw contents.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec
import numpy as np

from seaway.core.errors import UserError
from seaway.core.tensors import Array, DType, Signature, Tensors, TensorSpec
from seaway.wire import oip_json, plans
from seaway.wire.oip_requests import InferRequest

_PREFIX_BYTES: Final = 4
_MOST_DIGITS: Final = 12
_MOST_KEPT: Final = 256
_MOST_KEPT_BYTES: Final = 2048
_encode: Final = msgspec.json.Encoder().encode


def decode_request(header: bytes, body: bytes, signature: Signature) -> InferRequest:
    """`header` is the value of Inference-Header-Content-Length. Numeric tensors are read-only views of `body` where
    its alignment allows. Raises `UserError` that names every length that does not fit.
    """
    length = _json_length(header, len(body))
    head = body[:length]
    recipes = plans.of(signature).recipes
    recipe = recipes.get(head)
    if recipe is not None and length + recipe.size_bytes == len(body):
        return recipe.read(body, length)
    cursor = _Cursor(body, length)
    request = oip_json.decode_strict(head, signature, cursor.take)
    if cursor.at != len(body):
        raise UserError(
            "invalid_request",
            f"the binary data has {len(body) - length} bytes, its inputs take {cursor.at - length}",
            "the binary_data_size of all inputs must add up to what follows the JSON",
        )
    if cursor.plain and len(cursor.taken) == len(request.tensors) and length <= _MOST_KEPT_BYTES:
        if len(recipes) >= _MOST_KEPT:
            recipes.clear()
        recipes[head] = Recipe(cursor.taken, request, len(body) - length)
    return request


class Recipe:
    """How to read the tensors behind one JSON: it says all but the numbers, and clients repeat it byte for byte."""

    __slots__ = ("_binary", "_id", "_outputs", "_parts", "size_bytes")

    def __init__(
        self, parts: list[tuple[TensorSpec, tuple[int, ...], int]], request: InferRequest, size_bytes: int
    ) -> None:
        self._parts = [
            (spec.name, spec.dtype.numpy, size // spec.dtype.numpy.itemsize, shape, size)
            for spec, shape, size in parts
        ]
        # Not the request itself: its tensors are views of its body, which would stay in memory with them.
        self._id = request.id
        self._outputs = request.outputs
        self._binary = request.binary
        self.size_bytes = size_bytes

    def read(self, body: bytes, at: int) -> InferRequest:
        """The request whose binary data, of `size_bytes`, begins at `at`."""
        tensors: dict[str, Array] = {}
        for name, kind, count, shape, size in self._parts:
            found: Array = np.frombuffer(body, kind, count, at).reshape(shape)
            tensors[name] = found if found.flags.aligned else found.copy()
            at += size
        return InferRequest(tensors, self._id, self._outputs, self._binary, False)


def _json_length(header: bytes, available: int) -> int:
    if not header.isdigit() or len(header) > _MOST_DIGITS:
        raise UserError(
            "invalid_request",
            f"the header inference-header-content-length is {header[:20].decode('latin-1')!r}",
            "send the length of the JSON in bytes",
        )
    if int(header) > available:
        raise UserError(
            "invalid_request",
            f"the header inference-header-content-length says {int(header)} bytes, the body has {available}",
            "send the length of the JSON in bytes",
        )
    return int(header)


class _Cursor:
    """What is left of the binary data."""

    def __init__(self, body: bytes, at: int) -> None:
        self._body = body
        self.at = at
        self.taken: list[tuple[TensorSpec, tuple[int, ...], int]] = []
        """What was taken, in order: spec, shape, bytes."""
        self.plain = True
        """Whether all of it were numbers of their inputs' own datatypes, which need no look at each value."""

    def take(self, size: int, spec: TensorSpec, dtype: DType, shape: tuple[int, ...]) -> Array:
        left = len(self._body) - self.at
        if size > left:
            raise UserError(
                "invalid_request",
                f"input {spec.name!r} has binary_data_size {size}, but {left} bytes are left of the body",
            )
        start = self.at
        self.at += size
        self.taken.append((spec, shape, size))
        self.plain = self.plain and dtype is spec.dtype and dtype not in (DType.BYTES, DType.BOOL)
        return read(memoryview(self._body)[start : self.at], spec, dtype, shape)


def read(raw: memoryview, spec: TensorSpec, dtype: DType, shape: tuple[int, ...]) -> Array:
    """The tensor of `spec` whose bytes came as `dtype`, which `spec` holds; a view of `raw` where that is possible.

    Raises `UserError` (`wrong_shape` where the bytes do not fill the shape, `invalid_value`).
    """
    count = math.prod(shape)
    if dtype is DType.BYTES:
        return _read_bytes(raw, count, spec.name).reshape(shape)
    kind = dtype.numpy
    if count * kind.itemsize != len(raw):
        raise UserError(
            "wrong_shape",
            f"input {spec.name!r} has {len(raw)} bytes, {dtype.value}{list(shape)} takes {count * kind.itemsize}",
        )
    if dtype is DType.BOOL and (np.frombuffer(raw, np.uint8) > 1).any():
        raise UserError("invalid_value", f"input {spec.name!r} has a BOOL byte other than 0 and 1")
    found: Array = np.frombuffer(raw, kind).reshape(shape)
    if not found.flags.aligned:
        found = found.copy()
    return found if dtype is spec.dtype else found.astype(spec.dtype.numpy)


def _read_bytes(raw: memoryview, count: int, name: str) -> Array:
    # A prefix alone takes 4 bytes, so that no shape can make more elements than the body pays for.
    if count * _PREFIX_BYTES > len(raw):
        raise UserError(
            "wrong_shape", f"input {name!r} has {len(raw)} bytes, too few for {count} BYTES elements"
        )
    found = np.empty(count, dtype=object)
    at = 0
    end = len(raw)
    for i in range(count):
        start = at + _PREFIX_BYTES
        if start > end:
            raise UserError("wrong_shape", f"input {name!r} ends before element {i}")
        at = start + int.from_bytes(raw[at:start], "little")
        if at > end:
            raise UserError(
                "invalid_request",
                f"input {name!r}, element {i} is said to have {at - start} bytes, {end - start} are left",
            )
        found[i] = text(bytes(raw[start:at]), name, i)
    if at != end:
        raise UserError(
            "wrong_shape", f"input {name!r} has {end - at} bytes after its last of {count} elements"
        )
    return found


def text(raw: bytes, name: str, at: int) -> str:
    """One BYTES element; raises `UserError("invalid_value")` where it is not UTF-8."""
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise UserError(
            "invalid_value", f"input {name!r}, element {at} is not UTF-8", "send text as UTF-8"
        ) from error


def write(array: Array, dtype: DType) -> bytes:
    """The bytes of a tensor."""
    if dtype is not DType.BYTES:
        return array.tobytes()
    parts: list[bytes] = []
    for item in array.ravel().tolist():
        data = str(item).encode()
        parts += (len(data).to_bytes(_PREFIX_BYTES, "little"), data)
    return b"".join(parts)


def encode_response(
    request: InferRequest, tensors: Tensors, signature: Signature, endpoint: str, revision: int
) -> tuple[bytes, int]:
    """The infer response with `request.binary` outputs as bytes; also the length of its JSON."""
    plan = plans.of(signature)
    opening = oip_json.head(plan, endpoint, revision)
    parts: list[bytes] = []
    tail: list[bytes] = []
    for name in request.outputs or plan.output_names:
        array = tensors[name]
        parts += (opening, plan.openings[name], _encode(array.shape))
        if name in request.binary:
            data = write(array, plan.outputs[name].dtype)
            parts.append(b',"parameters":{"binary_data_size":%d}' % len(data))
            tail.append(data)
        else:
            parts += (b',"data":', _encode(array.ravel().tolist()))
        opening = b"},"
    parts.append(oip_json.closing(request))
    length = sum(map(len, parts))
    return b"".join(parts + tail), length

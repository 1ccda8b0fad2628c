"""The few protobuf bytes that a `ModelInfer` call of the Open Inference Protocol takes: for `bodies` and `grpc_check`.

Written out, so that what checks the servers shares no code with any of them. Field numbers are those of the
protocol's grpc_predict_v2.proto; the wire format is https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

METHOD: Final = "/inference.GRPCInferenceService/ModelInfer"
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_DTYPES: Final[dict[str, np.dtype[Any]]] = {
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    "INT64": np.dtype("<i8"),
}


def request(model: str, name: str, rows: NDArray[np.float32]) -> bytes:
    """A ModelInferRequest with one FP32 input in `raw_input_contents`."""
    shape = b"".join(_varint(size) for size in rows.shape)
    tensor = _field(1, name.encode()) + _field(2, b"FP32") + _field(3, shape)
    return _field(1, model.encode()) + _field(5, tensor) + _field(7, rows.astype("<f4").tobytes())


def output(message: bytes, name: str) -> NDArray[np.float64]:
    """The output `name` of a ModelInferResponse, from raw or typed contents. Raises `ValueError` without it."""
    tensors: list[bytes] = []
    raw: list[bytes] = []
    for number, value in fields(message):
        if number == 5 and isinstance(value, bytes):
            tensors.append(value)
        elif number == 6 and isinstance(value, bytes):
            raw.append(value)
    for index, tensor in enumerate(tensors):
        parts = list(fields(tensor))
        if (1, name.encode()) not in parts:
            continue
        datatype = next(v.decode() for n, v in parts if n == 2 and isinstance(v, bytes))
        if raw:
            flat = np.frombuffer(raw[index], _DTYPES[datatype]).astype(np.float64)
        else:
            flat = _typed(next(v for n, v in parts if n == 5 and isinstance(v, bytes)))
        return flat.reshape(_shape(parts))
    raise ValueError(f"no output {name!r}")


def framed(message: bytes) -> bytes:
    """One gRPC message on the wire: not compressed, its length, itself."""
    return b"\0" + struct.pack(">I", len(message)) + message


def fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of each field; a nested message, string or packed list is bytes."""
    at = 0
    while at < len(message):
        key, at = _read_varint(message, at)
        kind = key & 7
        if kind == _VARINT:
            value, at = _read_varint(message, at)
            yield key >> 3, value
            continue
        if kind == _BYTES:
            size, at = _read_varint(message, at)
        elif kind in (_FIXED64, _FIXED32):
            size = 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"wire type {kind}")
        yield key >> 3, message[at : at + size]
        at += size


def _typed(contents: bytes) -> NDArray[np.float64]:
    for number, value in fields(contents):
        if number in (6, 7) and isinstance(value, bytes):
            return np.frombuffer(value, "<f4" if number == 6 else "<f8").astype(np.float64)
    raise ValueError("no fp32_contents or fp64_contents")


def _shape(parts: list[tuple[int, int | bytes]]) -> tuple[int, ...]:
    shape: list[int] = []
    for number, value in parts:
        if number != 3:
            continue
        if isinstance(value, int):
            shape.append(value)
            continue
        at = 0
        while at < len(value):
            size, at = _read_varint(value, at)
            shape.append(size)
    return tuple(shape)


def _field(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | _BYTES) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    made = bytearray()
    while value > 0x7F:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    made.append(value)
    return bytes(made)


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7

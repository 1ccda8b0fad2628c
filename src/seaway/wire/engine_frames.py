"""What a worker and an engine process say to each other over a Unix socket: tensors as raw bytes, never pickle.

A frame is two lengths (u32 header, u64 body, little-endian), a MessagePack header, and the tensors' bytes one after
the other. BYTES tensors are their strings, each after its u32 length, as in the Open Inference Protocol's binary
extension. Both ends check every length before they believe it: an engine runs code that may be broken.
"""

from __future__ import annotations

import math
import socket
import struct
from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np

from seaway.core.tensors import Array, DType, Tensors

_LENGTHS: Final = struct.Struct("<IQ")
_TEXT: Final = struct.Struct("<I")
_HEADER_MOST: Final = 1 << 20
_BODY_MOST: Final = 1 << 32
_AXES_MOST: Final = 32
_TYPES: Final = {dtype.numpy: dtype for dtype in DType}


class TensorHead(msgspec.Struct, frozen=True, array_like=True):
    """One tensor of a frame; `size` is its part of the body in bytes."""

    name: str
    dtype: DType
    shape: tuple[int, ...]
    size: int


class Call(msgspec.Struct, frozen=True, tag="call"):
    """Asks for one reply, or with `stream` for all until `End`."""

    tensors: tuple[TensorHead, ...]
    timeout_s: float | None = None
    stream: bool = False


class Answer(msgspec.Struct, frozen=True, tag="answer"):
    """One reply. `worn` says that the engine process is over its caps and wants a successor, `cpu_s` what processor time the
    process took in the model for it; 0 for a stream's."""

    tensors: tuple[TensorHead, ...]
    worn: str | None = None
    cpu_s: float = 0.0


class Fault(msgspec.Struct, frozen=True, tag="fault"):
    """A `SeawayError` on its way; `family` is its class's name."""

    family: str
    code: str
    message: str
    hint: str | None = None


class End(msgspec.Struct, frozen=True, tag="end"):
    """The stream is over."""


class Loaded(msgspec.Struct, frozen=True, tag="loaded"):
    """The engine process has its model; `streams` says whether it can answer piece by piece."""

    streams: bool


Header = Call | Answer | Fault | End | Loaded
_headers: Final = msgspec.msgpack.Decoder(Header)


class FrameError(ValueError):
    """The other end does not speak this protocol, or has lost its mind."""


def heads(tensors: Tensors) -> tuple[tuple[TensorHead, ...], list[bytes | memoryview]]:
    """How tensors are announced, and their bytes in the same order."""
    announced, bodies = [], []
    for name, array in tensors.items():
        body = _bytes(array)
        announced.append(TensorHead(name, _TYPES[array.dtype], array.shape, len(body)))
        bodies.append(body)
    return tuple(announced), bodies


def send(connection: socket.socket, header: Header, bodies: Sequence[bytes | memoryview] = ()) -> None:
    """Send one frame whole; blocking. Raises `OSError` (also `TimeoutError`), and `FrameError` where it is too large."""
    encoded = msgspec.msgpack.encode(header)
    size = sum(len(body) for body in bodies)
    if len(encoded) > _HEADER_MOST or size > _BODY_MOST:
        raise FrameError(f"a frame of {size} bytes is too large")
    connection.sendall(_LENGTHS.pack(len(encoded), size) + encoded)
    for body in bodies:
        connection.sendall(body)


def receive(connection: socket.socket) -> tuple[Header, memoryview] | None:
    """The next frame; None where the other end has closed between two frames.

    Raises `FrameError` for what is no frame, `ConnectionError` for half of one, `OSError`.
    """
    first = _exactly(connection, _LENGTHS.size, may_end=True)
    if first is None:
        return None
    length, size = _LENGTHS.unpack(first)
    if length > _HEADER_MOST or size > _BODY_MOST:
        raise FrameError(f"a frame announces {length} and {size} bytes")
    encoded = _exactly(connection, length)
    body = _exactly(connection, size)
    assert encoded is not None and body is not None
    try:
        return _headers.decode(encoded), body
    except msgspec.DecodeError as error:
        raise FrameError(f"a frame's header is not readable: {error}") from error


def tensors(announced: Sequence[TensorHead], body: memoryview) -> dict[str, Array]:
    """The tensors of a frame; arrays of numbers share the body's memory. Raises `FrameError`."""
    found: dict[str, Array] = {}
    at = 0
    for head in announced:
        part = body[at : at + head.size]
        at += head.size
        if head.size < 0 or len(part) != head.size or head.name in found or len(head.shape) > _AXES_MOST:
            raise FrameError(f"tensor {head.name!r} is not in its frame")
        if any(axis < 0 for axis in head.shape):
            raise FrameError(f"tensor {head.name!r} has shape {list(head.shape)}")
        count = math.prod(head.shape)
        if head.dtype is DType.BYTES:
            found[head.name] = _texts(part, count, head.name).reshape(head.shape)
            continue
        if count * head.dtype.numpy.itemsize != head.size:
            raise FrameError(f"tensor {head.name!r} of shape {list(head.shape)} has {head.size} bytes")
        found[head.name] = np.frombuffer(part, head.dtype.numpy).reshape(head.shape)
    if at != len(body):
        raise FrameError(f"a frame has {len(body) - at} bytes that belong to no tensor")
    return found


def _bytes(array: Array) -> bytes | memoryview:
    if array.dtype == object:
        parts = []
        for text in array.ravel():
            value = str(text).encode("utf-8", "surrogatepass")
            parts += [_TEXT.pack(len(value)), value]
        return b"".join(parts)
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _texts(part: memoryview, count: int, name: str) -> Array:
    if count * _TEXT.size > len(part):
        raise FrameError(f"tensor {name!r} holds fewer than {count} strings")
    found = np.empty(count, object)
    at = 0
    try:
        for i in range(count):
            (length,) = _TEXT.unpack_from(part, at)
            at += _TEXT.size
            value = part[at : at + length]
            if len(value) != length:
                raise FrameError(f"a string of tensor {name!r} is cut off")
            found[i] = bytes(value).decode("utf-8", "surrogatepass")
            at += length
    except (struct.error, UnicodeDecodeError) as error:
        raise FrameError(f"tensor {name!r} is damaged: {error}") from error
    if at != len(part):
        raise FrameError(f"tensor {name!r} has bytes after its last string")
    return found


def _exactly(connection: socket.socket, size: int, may_end: bool = False) -> memoryview | None:
    """That many bytes; None at an end before the first, where it may."""
    view = memoryview(bytearray(size))
    at = 0
    while at < size:
        count = connection.recv_into(view[at:])
        if count == 0:
            if at == 0 and may_end:
                return None
            raise ConnectionResetError("the other end closed in the middle of a frame")
        at += count
    return view

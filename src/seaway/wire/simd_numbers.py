"""Large JSON arrays of numbers to numpy by simdjson, which never makes a Python object per number.

simdjson flattens whatever nesting it meets, so the nesting is checked here. The quick readings of the JSON doors
call it; None always means: let the strict reading decide.
"""

from __future__ import annotations

import threading
from typing import Final

import numpy as np
import simdjson

from seaway.core.tensors import Array

LARGE_BYTES: Final = 12 * 1024
"""From about this size of a body on it is faster than msgspec and numpy."""
_MOST_KEPT_BYTES: Final = 4 * 1024 * 1024


class _Parsers(threading.local):
    """One parser per thread: it keeps its buffers between documents, and may not be shared."""

    def __init__(self) -> None:
        self.parser = simdjson.Parser()


_parsers = _Parsers()


def instances(body: bytes, tail: tuple[int, ...]) -> Array | None:
    """Rows of shape `tail` out of `{"instances": [row, …]}` or the bare list, as float64 `(rows, *tail)`."""
    if body.count(b":") > 1 or body[:1] not in (b"{", b"["):
        return None
    parser = _parser(len(body))
    try:
        document = parser.parse(body)
        if isinstance(document, simdjson.Object):
            document = document["instances"]
        if not isinstance(document, simdjson.Array) or len(document) == 0:
            return None
        return _array(document, (len(document), *tail), body.count(b"["))
    except (ValueError, TypeError, KeyError, RuntimeError):
        return None


def array(text: bytes, shape: tuple[int, ...]) -> Array | None:
    """A JSON array that is nested as `shape` says, as float64 of this shape."""
    parser = _parser(len(text))
    try:
        found = parser.parse(text)
        return _array(found, shape, text.count(b"[")) if isinstance(found, simdjson.Array) else None
    except (ValueError, TypeError, RuntimeError):
        return None


def narrow(wide: Array, dtype: np.dtype[np.generic]) -> Array | None:
    """`wide` as another float datatype, None where that does not hold a value."""
    if dtype == wide.dtype:
        return wide
    with np.errstate(over="ignore"):
        found = wide.astype(dtype)
    return None if np.isinf(found).any() else found


def _parser(size: int) -> simdjson.Parser:
    return _parsers.parser if size <= _MOST_KEPT_BYTES else simdjson.Parser()


def _array(found: simdjson.Array, shape: tuple[int, ...], brackets: int) -> Array | None:
    """`brackets` is how many arrays the text opens: as many as the shape has, then no number hides an array."""
    arrays = 1
    level = 1
    for axis in shape[:-1]:
        level *= axis
        arrays += level
    if brackets != arrays or not _nested(found, shape):
        return None
    wide = np.frombuffer(found.as_buffer(of_type="d"), np.float64)
    return wide.reshape(shape) if wide.size == level * shape[-1] else None


def _nested(found: object, shape: tuple[int, ...]) -> bool:
    if not isinstance(found, simdjson.Array) or len(found) != shape[0]:
        return False
    return len(shape) == 1 or all(_nested(inner, shape[1:]) for inner in found)

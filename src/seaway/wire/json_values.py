"""JSON bytes to plain values, and plain values to arrays: the strict rules that all JSON doors share."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec
import numpy as np

from seaway.core.errors import UserError
from seaway.core.tensors import Array, DType, TensorSpec

T = TypeVar("T")

_KINDS = {
    bool: "a boolean",
    int: "a whole number",
    float: "a number",
    str: "a string",
    list: "an array",
    dict: "an object",
    type(None): "null",
}
_CONTAINERS = (list, dict)


def decode(body: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    """Strict JSON (RFC 8259, UTF-8, no NaN or Infinity) of the decoder's type.

    Raises `UserError` (`invalid_json` for what is no JSON, `invalid_request` for JSON of another form).
    """
    if not body:
        raise UserError("invalid_json", "the body is empty", "send a JSON document")
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        text = str(error)
        if text.startswith(("Number out of range", "Integer value out of range")):
            raise UserError("invalid_json", "the body holds a number too large for JSON's readers") from error
        raise UserError("invalid_request", f"the body has the wrong form: {_plain(text)}") from error
    except UnicodeDecodeError as error:
        raise UserError("invalid_json", "the body is not UTF-8") from error
    except msgspec.DecodeError as error:
        if body.startswith(b"\xef\xbb\xbf"):
            raise UserError(
                "invalid_json", "the body starts with a byte order mark", "send UTF-8 without one"
            ) from error
        raise UserError("invalid_json", f"the body is not JSON: {error}") from error
    except RecursionError as error:
        raise UserError("invalid_json", "the body is nested too deeply") from error


def refuse_duplicate_keys(body: bytes, keys: int) -> None:
    """Raises `UserError("duplicate_input")` where an object in `body` names a key twice.

    `keys` is how many keys its decoded form has, over all objects. A key takes one colon, so where the body has
    no more colons than that, no key was lost; only otherwise (a colon in a string, or a duplicate) is it read
    again, pair by pair.
    """
    if body.count(b":") == keys:
        return
    try:
        json.loads(body, object_pairs_hook=_unique, parse_int=str, parse_float=str)
    except RecursionError as error:
        raise UserError("invalid_json", "the body is nested too deeply") from error


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise UserError(
            "duplicate_input", f"the key {twice[:80]!r} appears twice in one object", "send it once"
        )
    return found


def count_keys(value: object) -> int:
    """How many keys the objects inside a decoded value have, at whatever depth the decoder allowed."""
    keys = 0
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if type(item) is dict:
            keys += len(item)
            waiting += [inner for inner in item.values() if type(inner) in _CONTAINERS]
        elif type(item) is list:
            waiting += [inner for inner in item if type(inner) in _CONTAINERS]
    return keys


def flatten(value: object, shape: Sequence[int], name: str) -> list[object]:
    """The leaves of nested arrays of exactly this shape, in row-major order; raises `UserError("wrong_shape")`."""
    level: list[object] = [value]
    for depth, length in enumerate(shape):
        below: list[object] = []
        for item in level:
            if type(item) is not list:
                raise UserError(
                    "wrong_shape",
                    f"{name} has {kind(item)} where axis {depth} of {list(shape)} needs an array",
                )
            if len(item) != length:
                raise UserError(
                    "wrong_shape",
                    f"{name} has {len(item)} elements where axis {depth} of {list(shape)} needs {length}",
                )
            below += item
        level = below
    return level


def to_array(values: list[object], spec: TensorSpec, where: Callable[[int], str]) -> Array:
    """Decoded JSON values as a flat array of the spec's datatype.

    `where(i)` names the i-th value for a person. Floats take whole numbers too; nothing else is converted. Null
    becomes NaN (or "" for BYTES) where the spec is nullable. Raises `UserError`: `wrong_dtype` for a value of
    another kind, `invalid_value` for null and for what the datatype cannot hold.
    """
    kinds = set(map(type, values))
    dtype = spec.dtype
    if type(None) in kinds:
        if not (spec.nullable and (dtype.is_float or dtype is DType.BYTES)):
            at = next(i for i, value in enumerate(values) if value is None)
            raise UserError("invalid_value", f"{where(at)} is null", f"expected {_expected(dtype)}")
        kinds.discard(type(None))
        empty: object = "" if dtype is DType.BYTES else np.nan
        values = [empty if value is None else value for value in values]
    if not kinds <= _accepted(dtype):
        at = next(i for i, value in enumerate(values) if type(value) not in _accepted(dtype))
        raise UserError("wrong_dtype", f"{where(at)} is {kind(values[at])}", f"expected {_expected(dtype)}")
    if dtype is DType.BYTES:
        return np.array(values, dtype=object)
    try:
        if not dtype.is_float:
            return np.array(values, dtype=dtype.numpy)
        wide = np.array(values, dtype=np.float64)
    except OverflowError as error:
        at = next(i for i, value in enumerate(values) if not _fits(value, dtype))
        raise UserError("invalid_value", f"{where(at)} does not fit {dtype.value}") from error
    with np.errstate(over="ignore"):
        narrow = wide.astype(dtype.numpy, copy=False)
    if dtype is not DType.FP64 and np.isinf(narrow).any():
        at = int(np.argmax(np.isinf(narrow)))
        raise UserError("invalid_value", f"{where(at)} = {values[at]} does not fit {dtype.value}")
    return narrow


def kind(value: object) -> str:
    """What a decoded JSON value is, in words."""
    return _KINDS[type(value)]


def _accepted(dtype: DType) -> set[type]:
    if dtype is DType.BYTES:
        return {str}
    if dtype is DType.BOOL:
        return {bool}
    return {int, float} if dtype.is_float else {int}


def _fits(value: object, dtype: DType) -> bool:
    try:
        np.array([value], dtype=np.float64 if dtype.is_float else dtype.numpy)
    except OverflowError:
        return False
    return True


def _expected(dtype: DType) -> str:
    words = {DType.BYTES: "a string", DType.BOOL: "true or false"}
    word = words.get(dtype, "a number" if dtype.is_float else "a whole number")
    return f"{word} ({dtype.value})"


def _plain(text: str) -> str:
    """A message of msgspec in this project's words."""
    return text.replace("`", "").replace(" - at $", ", at ").replace("Object", "the object")

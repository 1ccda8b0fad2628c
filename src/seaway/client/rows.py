"""Rows of Python and numpy values as the body of a prediction; for the Python client and `seaway predict`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

import msgspec
import numpy as np

from seaway.core.errors import UserError

_KINDS: Final = (
    "biufUO"  # numpy's booleans, numbers, texts and objects: what is one and the same thing in JSON
)


def encode(rows: object) -> bytes:
    """`{"instances": rows}` as JSON; NaN and None become null.

    Raises `UserError("invalid_value")` for infinities, which JSON would turn into null, and for what it cannot hold.
    """
    return b'{"instances":' + encode_list(rows) + b"}"


def encode_list(rows: object) -> bytes:
    """The rows alone, otherwise as `encode`."""
    try:
        body = msgspec.json.encode(rows, enc_hook=_plain)
        if b"null" in body:  # an infinity among the rows would be one
            _refuse_infinities(msgspec.to_builtins(rows, enc_hook=_plain))
    except (TypeError, ValueError, RecursionError) as error:
        raise UserError(
            "invalid_value",
            f"the rows cannot be written as JSON: {error}",
            "send numbers, texts and booleans",
        ) from error
    return body


def _plain(value: object) -> object:
    """What msgspec does not write by itself, in plain Python values."""
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in _KINDS:
        # The longest float kind has no plain value of its own: tolist() would give it back.
        return float(value) if isinstance(value, np.floating) else value.tolist()
    named = value.dtype if isinstance(value, np.ndarray | np.generic) else type(value).__name__
    raise TypeError(f"a value of type {named} stands in a row")


def _refuse_infinities(rows: object) -> None:
    for at, row in enumerate(rows if isinstance(rows, list | tuple) else [rows]):
        for name, value in _leaves(row, ""):
            if isinstance(value, float) and math.isinf(value):
                raise UserError(
                    "invalid_value",
                    f"row {at}{name} is infinite",
                    "send a finite number, or None where it is missing",
                )


def _leaves(value: object, name: str) -> Iterator[tuple[str, object]]:
    """The values inside a row, each with its outermost key or position, such as `, 'age'`."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, name or f", {str(key)!r}")
    elif isinstance(value, list | tuple | set | frozenset):
        for at, inner in enumerate(value):
            yield from _leaves(inner, name or f", value {at}")
    else:
        yield name, value

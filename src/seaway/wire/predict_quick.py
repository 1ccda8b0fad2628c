"""The quick reading of `/predict` rows: one input of floats, and nothing out of the ordinary; `predict_json` calls it.

It gives up (None) on everything else, which the strict reading then takes or refuses: it must accept nothing that
the strict one refuses, nor read anything differently.
"""

from __future__ import annotations

import struct
from itertools import chain
from typing import Final

import msgspec
import numpy as np

from seaway.core.tensors import Array, Signature, Tensors
from seaway.wire import plans, simd_numbers
from seaway.wire.plans import Table


class _Lists(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    instances: list[list[float]]


class _Objects(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    instances: list[dict[str, float]]


_LISTS: Final = msgspec.json.Decoder(_Lists)
_OBJECTS: Final = msgspec.json.Decoder(_Objects)
_BARE: Final = msgspec.json.Decoder(list[list[float]])
_ROW_OPENING: Final = 40


def decode(body: bytes, signature: Signature) -> Tensors | None:
    """The input tensors where the body is a usual one, else None; any thread."""
    table = plans.of(signature).table
    if table is None:
        return None
    try:
        if table.columns and b"{" in body[1:_ROW_OPENING]:
            found = _objects(body, table)
        elif len(body) > simd_numbers.LARGE_BYTES or len(table.tail) > 1:
            wide = simd_numbers.instances(body, table.tail)
            found = None if wide is None else simd_numbers.narrow(wide, table.numpy)
        else:
            found = _lists(body, table)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError, struct.error):
        return None
    return None if found is None else {table.name: found}


def _lists(body: bytes, table: Table) -> Array | None:
    rows = _BARE.decode(body) if body[:1] == b"[" else _LISTS.decode(body).instances
    width = table.tail[0]
    if body.count(b":") > 1 or not rows or any(len(row) != width for row in rows):
        return None
    return _packed(rows[0] if len(rows) == 1 else list(chain.from_iterable(rows)), len(rows), table)


def _objects(body: bytes, table: Table) -> Array | None:
    rows = _OBJECTS.decode(body).instances
    width = table.tail[0]
    # Each row has `width` keys and each wanted name is found in it, so it has no other; and as many colons as
    # keys in all, so none came twice.
    if not rows or body.count(b":") != 1 + width * len(rows) or any(len(row) != width for row in rows):
        return None
    try:
        values = [row[name] for row in rows for name in table.columns]
    except KeyError:
        return None
    return _packed(values, len(rows), table)


def _packed(values: list[float], rows: int, table: Table) -> Array:
    packed = struct.pack(f"={len(values)}{table.code}", *values)
    return np.ndarray((rows, *table.tail), table.numpy, packed)

"""Builds what msgspec derives from every Struct before there are threads; called once at the start of the control process and of each worker.

msgspec 0.22 builds it when a type is first decoded, and two threads that do so for the same type at the same time end the
process by a segmentation fault.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import msgspec


def build_all() -> int:
    """Every Struct that is imported by now, and how many. Takes some 20 ms; idempotent."""
    built = 0
    for kind in set(_below(msgspec.Struct)):
        with contextlib.suppress(TypeError):  # a value that is never decoded may hold what has no JSON
            msgspec.json.Decoder(kind)
            built += 1
    return built


def _below(kind: type[msgspec.Struct]) -> Iterator[type[msgspec.Struct]]:
    for one in kind.__subclasses__():
        yield one
        yield from _below(one)

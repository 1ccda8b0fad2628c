"""Erases the lines of single requests from the request log, where a person's data are to go. Called by the erasure of records."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

import msgspec


class _Line(msgspec.Struct, frozen=True):
    request_id: str = msgspec.field(default="", name="http.request.id")


_DECODER = msgspec.json.Decoder(_Line)
_EMPTY = b"{}"


def erase(directory: Path, request_ids: Collection[str]) -> int:
    """Put an empty JSON object, as long as the line, in the place of each line of these; how many there were.

    Durable when it returns, idempotent, and safe beside the workers, which only append. Files that were moved elsewhere
    are not looked at. Raises `OSError`.
    """
    wanted = frozenset(request_ids)
    return sum(_erase(path, wanted) for path in directory.glob("requests-*.jsonl")) if wanted else 0


def _erase(path: Path, wanted: frozenset[str]) -> int:
    try:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:  # the oldest of its slot, removed meanwhile
        return 0
    at = erased = 0
    with os.fdopen(file, "rb") as lines:
        for line in lines:
            found = line.endswith(b"\n") and _request_id(line) in wanted
            # A worker whose disk is full takes back what it wrote last: only what still stands is overwritten.
            if found and os.pread(file, len(line), at) == line:
                os.pwrite(file, _EMPTY.ljust(len(line) - 1) + b"\n", at)
                erased += 1
            at += len(line)
        if erased:
            os.fsync(file)
    return erased


def _request_id(line: bytes) -> str:
    try:
        return _DECODER.decode(line).request_id
    except msgspec.DecodeError:
        return ""

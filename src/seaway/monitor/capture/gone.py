"""Ids of erased requests of which other records (provenance, outcomes, log lines) are still to go.

`monitor.capture.segments` writes an id here before it removes the captured row, and `control.erasing` takes it off once
nothing else holds it: an erasure that is killed in between is finished by the next.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from seaway.bundle import blobs
from seaway.monitor.capture import files as capture_files

NAME: Final = "gone.json"


def read(place: Path) -> tuple[str, ...]:
    """The ids of one endpoint; none where there is no list. Raises `OSError`."""
    with contextlib.suppress(FileNotFoundError, msgspec.DecodeError):
        return msgspec.json.decode((place / NAME).read_bytes(), type=tuple[str, ...])
    return ()


def add(place: Path, request_ids: Iterable[str]) -> None:
    """Durable when it returns; the caller holds the directory's lock. Idempotent. Raises `OSError`."""
    before = read(place)
    found = dict.fromkeys((*before, *request_ids))
    if len(found) > len(before):
        capture_files.replace(place / NAME, msgspec.json.encode(tuple(found)))


def forget(place: Path, request_ids: Iterable[str]) -> None:
    """Take these off the list, and leave what came meanwhile. Blocking; idempotent. Raises `OSError`."""
    with capture_files.locked(place, alone=True):
        known = frozenset(request_ids)
        left = tuple(request_id for request_id in read(place) if request_id not in known)
        if left:
            capture_files.replace(place / NAME, msgspec.json.encode(left))
        else:
            (place / NAME).unlink(missing_ok=True)
            blobs.sync(place)

"""Keeps the space of provenance bounded: removes the oldest segments, and what is past its time. Called by its sink."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

import numpy as np

from seaway.monitor.provenance import layout as form


def make_room(root: Path, slot: int, most_bytes: int) -> tuple[float, int]:
    """Remove the slot's oldest segments until the rest takes at most `most_bytes`; makes the directory.

    Answers until when (since 1970, 0 for never) requests of the slot were removed to make room, now or earlier, and the
    number of the segment to come. Raises `OSError` where the directory cannot be made.
    """
    directory = root / form.DIRECTORY
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    own = [one for one in form.segments(root) if one.slot == slot]
    headers = {one: header_of(one.path) for one in own}
    gone_until_s = max((float(h["gone_until_s"]) for h in headers.values() if h is not None), default=0.0)
    sizes = {one: _bytes_of(one.path) + _bytes_of(one.names) for one in own}
    taken = sum(sizes.values())
    for one in own:
        if taken <= most_bytes:
            break
        header = headers[one]
        if header is not None:
            gone_until_s = max(gone_until_s, float(header["last_s"]))
        _remove(one)
        taken -= sizes[one]
    return gone_until_s, max((one.number for one in own), default=-1) + 1


def remove_old(root: Path, before_s: float, current: Path | None) -> None:
    """Remove the segments of all slots whose last request ended before, but for `current`, and names without a segment.

    One without a header, or without requests, is as old as its file.
    """
    for one in form.segments(root):
        header = header_of(one.path)
        with contextlib.suppress(OSError):
            last_s = one.path.stat().st_mtime
            if header is not None and header["requests"]:
                last_s = float(header["last_s"])
            if one.path != current and last_s < before_s:
                _remove(one)
    for names in (root / form.DIRECTORY).glob("ring-*.names"):
        if not names.with_suffix(".bin").exists():
            names.unlink(missing_ok=True)


def header_of(path: Path) -> np.void | None:
    """A segment's header; None where it has none that is whole."""
    for _ in range(3):  # it may be written at this moment
        try:
            with path.open("rb") as file:
                found = form.read_header(file.read(form.HEADER.itemsize))
        except OSError:
            return None
        if found is not None:
            return found
    return None


def was_killed(path: Path) -> bool:
    """Whether a segment's worker ended without closing it; False where that cannot be told."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False  # it is still written
    finally:
        os.close(file)
    header = header_of(path)  # read after the lock was seen free: it may have been closed just before
    return header is not None and not header["closed_s"]


def _remove(one: form.SegmentName) -> None:
    """The names go last; a reader that has the segment open then may still find no names, and shows `OVERFLOW`."""
    for path in (one.path, one.names):
        with contextlib.suppress(OSError):
            path.unlink()


def _bytes_of(path: Path) -> int:
    """What a file takes on the disk."""
    try:
        return path.stat().st_blocks * 512
    except OSError:
        return 0

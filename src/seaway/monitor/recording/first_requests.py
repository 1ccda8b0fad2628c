"""Which requests, and which mirrored ones, are the first of their user in a step of a rollout: the unit of verdicts where arms
are sticky.

A Bloom filter for each endpoint and step (`RecordRules.scope`), over both arms, in a file that all workers of a home map:
1 % of false positives at a million users in 1.2 MB. A false positive only drops a unit (statistics.md, section 9). Two workers
that write to the same byte within the same microseconds may count a user twice: the one they both see, or one whose mark the
other undid.
"""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from seaway.core.agreement import Agreed
from seaway.core.records import Answered
from seaway.monitor.sinks import Subject

_PAIR: Final = b"\0pair\0"
"""Before the key of a user in the place of its first pair; no header holds a 0."""
USERS: Final = 1_000_000
BITS: Final = 9_585_059
"""-n ln p / (ln 2)^2 for n = 1,000,000 and p = 0.01 (Bloom 1970)."""
HASHES: Final = 7
_BYTES: Final = BITS // 8 + 1
_FOLDER: Final = "rollouts"
_MOST_OPEN: Final = 64
"""Endpoints whose filter is mapped at a time; one that was let go is read from its file again."""


class _Filter(NamedTuple):
    scope: int
    bits: mmap.mmap
    inode: int | None
    """Of the file that is mapped; None where it is in memory alone."""


class FirstRequests:
    """Filters by endpoint and scope; on the counting thread only."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._filters: dict[str, _Filter] = {}

    def of(self, subject: Subject, requests: Sequence[Answered]) -> list[Answered]:
        """Those that are the first of their user key, in order; those without a key are left out."""
        unit = subject.rules.unit
        if unit is None:
            return []
        bits = self._filter(subject.endpoint, subject.rules.scope)
        found = []
        for request in requests:
            key = unit.read(request.header)
            if key and _add(bits, key):
                found.append(request)
        return found

    def pairs(self, subject: Subject, compared: Sequence[tuple[Agreed, bytes]]) -> list[Agreed]:
        """Of mirrored requests, each with its user, what became of the first of each. A pair takes a place as a user does."""
        bits = self._filter(subject.endpoint, subject.rules.scope)
        return [found for found, user in compared if _add(bits, _PAIR + user)]

    def _filter(self, endpoint: str, scope: int) -> mmap.mmap:
        known = self._filters.get(endpoint)
        folder = self._root / endpoint / _FOLDER
        path = folder / f"{scope}.bloom"
        if known is not None and known.scope == scope:
            if known.inode in (None, _inode(path)) or _newer(folder, scope):
                return known.bits
            _put_back(path, known.bits)
        made, inode = _open(path)
        _remove_older(folder, scope)
        self._filters.pop(endpoint, None)
        if len(self._filters) >= _MOST_OPEN:
            del self._filters[next(iter(self._filters))]
        self._filters[endpoint] = _Filter(scope, made, inode)
        return made


def _open(path: Path) -> tuple[mmap.mmap, int | None]:
    """The file and its inode, made where it is not there; in this process's memory alone where it cannot be made."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with path.open("ab") as file:
            if file.tell() < _BYTES:
                # Space is set aside now: a store into a hole of a full disk would end the process.
                os.posix_fallocate(file.fileno(), 0, _BYTES)
        with path.open("r+b") as file:
            return mmap.mmap(file.fileno(), _BYTES), os.fstat(file.fileno()).st_ino
    except OSError:
        return mmap.mmap(-1, _BYTES), None


def _inode(path: Path) -> int:
    """Of the file that stands there; 0 where none does."""
    try:
        return path.stat().st_ino
    except OSError:
        return 0


def _put_back(path: Path, marked: mmap.mmap) -> None:
    """Where somebody removed the file: it is made again with its marks, unless another worker was quicker."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    with contextlib.suppress(OSError):  # as in `_open`
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            new.touch(0o600)
            new.write_bytes(marked[:])
            path.hardlink_to(new)
        finally:
            new.unlink(missing_ok=True)


def _newer(folder: Path, scope: int) -> bool:
    """Whether a newer rollout has begun, which removes the files of older ones."""
    return any(path.stem.isdecimal() and int(path.stem) > scope for path in folder.glob("*.bloom"))


def _remove_older(folder: Path, scope: int) -> None:
    """The files of rollouts that are over; a worker whose table is older never removes a newer one."""
    for path in folder.glob("*.bloom"):
        if path.stem.isdecimal() and int(path.stem) < scope:
            with contextlib.suppress(OSError):
                path.unlink()


def _add(bits: mmap.mmap, key: bytes) -> bool:
    """Put a key in; True where it was not there yet. Double hashing (Kirsch, Mitzenmacher 2006)."""
    digest = hashlib.blake2b(key, digest_size=16).digest()
    first, step = int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:], "big") | 1
    new = False
    for number in range(HASHES):
        place = (first + number * step) % BITS
        mask = 1 << (place & 7)
        if not bits[place >> 3] & mask:
            bits[place >> 3] |= mask
            new = True
    return new

"""How provenance lies on the disk: segments of fixed-size records, and the names that their numbers stand for.

A worker's segments form a ring: when they fill their space, the oldest is removed. One is two files in
`records/_requests`: `ring-SLOT-PID-NUMBER.bin` holds a header, the keys of the request ids, the requests and the answered
rows, each in its own area, each written once; `….names` holds one JSON line for each name, `[kind, number, value]`. Every
record carries a check word, and its key is written after it, so whatever a kill, a full disk or a damaged page leaves is
told apart from a record without a lock. See `docs/decisions/0017`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from seaway.core.provenance import SLICES
from seaway.core.records import Chosen

DIRECTORY: Final = "_requests"
"""Beside the endpoints' directories; no endpoint can have this name."""
ID_BYTES: Final = 48
OVERFLOW_NUMBER: Final = 0xFFFF
"""Number of every name that found no place."""
DOOR_OVERFLOW_NUMBER: Final = 0xFF
HEADER_BYTES: Final = 4096
_MAGIC: Final = b"seawayR1"

HEADER: Final = np.dtype(
    [
        ("check", "<u8"),
        ("magic", "S8"),
        ("slot", "<u4"),
        ("pid", "<u4"),
        ("number", "<u8"),
        ("requests_capacity", "<u4"),
        ("answers_capacity", "<u4"),
        ("requests", "<u4"),
        ("answers", "<u4"),
        ("seen", "<u8"),
        ("kept", "<u8"),
        ("first_s", "<f8"),
        ("last_s", "<f8"),
        ("gone_until_s", "<f8"),
        ("closed_s", "<f8"),
    ]
)
"""`seen` requests ended while `kept` of them were kept here, from `first_s` to `last_s`; of the slot's requests until
`gone_until_s` some were removed again (0: none). `closed_s` is when its worker closed it; 0 while it writes, and where it was
killed: then nobody holds the lock on the file."""

REQUEST: Final = np.dtype(
    [
        ("check", "<u8"),
        ("id", f"S{ID_BYTES}"),
        ("trace", "V16"),
        ("at_s", "<f8"),
        ("queue_s", "<f4"),
        ("run_s", "<f4"),
        ("cpu_s", "<f4"),
        ("took_s", "<f4"),
        ("rate", "<f4"),
        ("rows", "<u4"),
        ("batch_rows", "<u4"),
        ("first_answer", "<u4"),
        ("answers", "<u4"),
        ("by", "<u2"),
        ("code", "<u2"),
        ("caller", "<u2"),
        ("door", "u1"),
        ("chosen", "u1"),
        ("unit", "u1"),
        ("spare", "V3"),
    ]
)
"""`unit` is 1 where the request was drawn and a rollout's verdicts count it."""

CHOSEN: Final = (None, Chosen.ONLY, Chosen.SPLIT, Chosen.NAMED, Chosen.FLAG, Chosen.FALLBACK, Chosen.SLICE)
"""What `chosen` stands for; 0 is what segments hold that were written before it was kept."""
NUMBER: Final = 1
CLASS: Final = 2
ANSWER: Final = np.dtype(
    [
        ("check", "<u8"),
        ("value", "<f8"),
        ("confidence", "<f4"),
        ("kind", "u1"),
        ("spare", "V3"),
        ("slices", "<u2", (SLICES,)),
    ]
)
"""`value` is the number, or the number of the class's name."""

_NAME: Final = re.compile(r"ring-(\d+)-(\d+)-(\d+)\.bin\Z")
_random: Final = np.random.Generator(np.random.PCG64(0x5EA3A7))
_ODD: Final = _random.integers(0, 2**63, 64, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
_SALT: Final = np.uint64(0x9E3779B97F4A7C15)
_SHIFT: Final = np.uint64(32)


class SegmentName(NamedTuple):
    """One segment's file; `number` counts up within a slot, whoever writes it, so process ids may come again."""

    slot: int
    pid: int
    number: int
    path: Path

    @property
    def names(self) -> Path:
        return names_path(self.path)


def names_path(segment: Path) -> Path:
    """Where a segment's names are."""
    return segment.with_suffix(".names")


def segment_path(root: Path, slot: int, pid: int, number: int) -> Path:
    """Where a segment of this worker is."""
    return root / DIRECTORY / f"ring-{slot}-{pid}-{number}.bin"


def segments(root: Path) -> list[SegmentName]:
    """All segments under `HOME/records`, the oldest of each slot first; none where the directory cannot be read."""
    found = []
    try:
        paths = list((root / DIRECTORY).iterdir())
    except OSError:
        return []
    for path in paths:
        match = _NAME.match(path.name)
        if match is not None:
            slot, pid, number = (int(digits) for digits in match.groups())
            found.append(SegmentName(slot, pid, number, path))
    return sorted(found, key=lambda one: (one.slot, one.number, one.pid))


def keys_at() -> int:
    """Where the area of the keys begins in a segment."""
    return HEADER_BYTES


def requests_at(requests_capacity: int) -> int:
    """Where the area of the requests begins."""
    return HEADER_BYTES + 8 * requests_capacity


def answers_at(requests_capacity: int) -> int:
    """Where the area of the answered rows begins."""
    return requests_at(requests_capacity) + REQUEST.itemsize * requests_capacity


def check_words(records: npt.NDArray[np.void]) -> npt.NDArray[np.uint64]:
    """The word `check` of each record `(n,)`, over all its other bytes (multiply-add hash of 64-bit words)."""
    words = records.view(np.uint64).reshape(len(records), records.itemsize // 8)[:, 1:]
    return _mixed((words * _ODD[: words.shape[1]]).sum(axis=1, dtype=np.uint64))


def sound(records: npt.NDArray[np.void]) -> npt.NDArray[np.bool_]:
    """Which of the records `(n,)` are whole."""
    found: npt.NDArray[np.bool_] = records["check"] == check_words(records)
    return found


def kept_ids(ids: Sequence[bytes]) -> npt.NDArray[np.bytes_]:
    """Request ids as they are kept: longer ones as their hash, in a form that no client's id can have."""
    found = np.array(ids, dtype=f"S{ID_BYTES}")
    for place, given in enumerate(ids) if max(map(len, ids), default=0) > ID_BYTES else ():
        if len(given) > ID_BYTES:
            found[place] = b"#" + hashlib.blake2b(given, digest_size=20).hexdigest().encode()
    return found


def keys_of(ids: npt.NDArray[np.bytes_]) -> npt.NDArray[np.uint64]:
    """The 64-bit key of each kept id; never 0, which is where nothing was written."""
    words = np.ascontiguousarray(ids).view(np.uint64).reshape(len(ids), ID_BYTES // 8)
    keys = _mixed((words * _ODD[: words.shape[1]]).sum(axis=1, dtype=np.uint64))
    keys[keys == 0] = 1
    return keys


def _mixed(sums: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    sums = (sums ^ _SALT) * _ODD[0]
    return sums ^ (sums >> _SHIFT)


def new_header(
    slot: int, pid: int, number: int, requests_capacity: int, answers_capacity: int
) -> npt.NDArray[np.void]:
    """The header of an empty segment, of shape (1,)."""
    header = np.zeros(1, HEADER)
    header["magic"] = _MAGIC
    header["slot"], header["pid"], header["number"] = slot, pid, number
    header["requests_capacity"], header["answers_capacity"] = requests_capacity, answers_capacity
    return header


def read_header(data: bytes) -> np.void | None:
    """The header in a segment's first bytes; None where they are none."""
    if len(data) < HEADER.itemsize:
        return None
    header = np.frombuffer(data, HEADER, count=1)
    if header["magic"][0] != _MAGIC or not sound(header)[0]:
        return None
    return header[0]  # type: ignore[no-any-return]  # numpy says Any of one record

"""What a worker was doing when it ended: RUN/worker-N.box, a small file mapped into memory.

The worker writes it (`jobs.Watcher`, and a heartbeat by its event loop), the supervisor reads it after the worker's
death or silence. Mapped, because a process that segfaults has no last word: what it stored is in the page cache, and
stays there without it.

Layout, little-endian: magic (8 bytes), process id (8), heartbeat (8, a double: seconds of the monotonic clock, 0
before the first, -1 while it drains), 8 unused; then `_PLACES` numbers of 2 bytes, one per running execution, 0 where none runs; then the
table of digests which those numbers name, from 1 on, 80 bytes of ASCII each.
"""

from __future__ import annotations

import mmap
import os
import struct
import threading
from pathlib import Path
from typing import Final

from seaway.core.bundles import Digest

_MAGIC: Final = b"seawybx1"
_HEAD: Final = struct.Struct("<8sQd8x")
_BEAT_AT: Final = 16
_PLACES: Final = 256
_DIGESTS: Final = 256
_DIGEST_BYTES: Final = 80
_TABLE_AT: Final = _HEAD.size + 2 * _PLACES
_SIZE: Final = _TABLE_AT + _DIGESTS * _DIGEST_BYTES
_NO_PLACE: Final = -1


class BlackBox:
    """The writer: one per worker process; `enter` and `leave` from any thread, `beat` from one.

    `enter` stores two bytes at an even address, which the processor does at once: a reader never sees half a number.
    """

    def __init__(self, path: Path) -> None:
        """Makes the file anew, in place of a predecessor's, which may still write its own.

        Where it cannot be made (a full disk) the box is kept in memory, and nobody reads it.
        """
        self._map = _mapped(path)
        view = memoryview(self._map)
        self._beat = view[_BEAT_AT : _BEAT_AT + 8].cast("d")
        self._running = view[_HEAD.size : _TABLE_AT].cast("H")
        self._free = list(range(_PLACES))
        self._numbers: dict[Digest, int] = {}
        self._named = 0
        self._naming = threading.Lock()

    def enter(self, digest: Digest) -> int:
        """A run begins; returns its place. Where all places are taken the run goes unwatched."""
        number = self._numbers.get(digest) or self._name(digest)
        try:
            place = self._free.pop()
        except IndexError:
            return _NO_PLACE
        self._running[place] = number
        return place

    def leave(self, place: int) -> None:
        """The run at this place has ended."""
        if place != _NO_PLACE:
            self._running[place] = 0
            self._free.append(place)

    def beat(self, now_s: float) -> None:
        """The event loop turns; `now_s` is on the monotonic scale."""
        self._beat[0] = now_s

    def rest(self) -> None:
        """The process drains: no heartbeat is to be expected any more, and its end is nobody's fault."""
        self._beat[0] = -1.0

    def _name(self, digest: Digest) -> int:
        """A number for a digest; the oldest gives way once all are taken, long after its last run."""
        with self._naming:
            if digest in self._numbers:
                return self._numbers[digest]
            number = self._named % _DIGESTS + 1
            self._named += 1
            for old in [known for known, taken in self._numbers.items() if taken == number]:
                del self._numbers[old]
            at = _TABLE_AT + (number - 1) * _DIGEST_BYTES
            self._map[at : at + _DIGEST_BYTES] = digest.encode("ascii")[:_DIGEST_BYTES].ljust(
                _DIGEST_BYTES, b"\0"
            )
            self._numbers[digest] = number
            return number


def _mapped(path: Path) -> mmap.mmap:
    part = path.with_suffix(f".{os.getpid()}.part")
    try:
        with part.open("w+b") as file:
            # Space is set aside now: a store into a hole of a full disk would end the process.
            os.posix_fallocate(file.fileno(), 0, _SIZE)
            mapped = mmap.mmap(file.fileno(), _SIZE)
        _HEAD.pack_into(mapped, 0, _MAGIC, os.getpid(), 0.0)
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        return mmap.mmap(-1, _SIZE)
    return mapped


class BoxReader:
    """A box of another process, which may be dead."""

    def __init__(self, mapped: mmap.mmap) -> None:
        self._map = mapped

    @property
    def beat_s(self) -> float:
        """The last heartbeat, on the monotonic scale; 0 before the first, negative once the process drains."""
        return float(_HEAD.unpack_from(self._map)[2])

    def running(self) -> tuple[Digest, ...]:
        """The digests of the executions under way, each once."""
        numbers = struct.unpack_from(f"<{_PLACES}H", self._map, _HEAD.size)
        found = []
        for number in sorted({n for n in numbers if 0 < n <= _DIGESTS}):
            at = _TABLE_AT + (number - 1) * _DIGEST_BYTES
            text = self._map[at : at + _DIGEST_BYTES].rstrip(b"\0").decode("ascii", "replace")
            found.append(Digest(text))
        return tuple(found)

    def close(self) -> None:
        self._map.close()


def open_box(path: Path, pid: int) -> BoxReader | None:
    """The box at `path` where that process wrote it; None where it has not made one (yet)."""
    try:
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), _SIZE, access=mmap.ACCESS_READ)
    except (OSError, ValueError):  # no file, or one of another size
        return None
    magic, writer, _ = _HEAD.unpack_from(mapped)
    if magic != _MAGIC or writer != pid:
        mapped.close()
        return None
    return BoxReader(mapped)

"""Files of lines that never grow beyond their bounds. Used by the request log; written by one thread."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from seaway.monitor import open_files

_NAME: Final = re.compile(r"requests-(\d+)-(\d+)\.(?:(\d+)\.)?jsonl\Z")
_TAIL_BYTES: Final = 64 * 1024


class LogFiles:
    """`DIRECTORY/requests-SLOT-PID.jsonl` and, when that is full, `requests-SLOT-PID.N.jsonl`; the oldest are removed.

    All the slot's files count, also those of workers that ended.
    """

    def __init__(self, directory: Path, slot: int, pid: int, file_bytes: int, files: int) -> None:
        self._directory = directory
        self._slot = slot
        self._path = directory / f"requests-{slot}-{pid}.jsonl"
        self._file_bytes = file_bytes
        self._files = files
        self._file: int | None = None
        self._size = 0

    def append(self, lines: Sequence[bytes]) -> None:
        """Write whole lines, or none of those that do not fit: then `OSError`."""
        at = 0
        while at < len(lines):
            file = self._open()
            size, data = self._size, bytearray()
            while at < len(lines) and (not size or size + len(lines[at]) <= self._file_bytes):
                data += lines[at]
                size += len(lines[at])
                at += 1
            self._write(file, data)
            if at < len(lines):
                self._roll()

    def reopen_if_moved(self) -> None:
        """Begin a new file where somebody else (logrotate) has moved or removed this one."""
        if self._file is not None and not open_files.stands(self._file, self._path):
            self.close()

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _write(self, file: int, data: bytearray) -> None:
        try:
            done = os.write(file, data)
            if done < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(file, self._size)
            raise
        self._size += len(data)

    def _open(self) -> int:
        if self._file is None:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_APPEND | os.O_CLOEXEC, 0o600)
            self._file, self._size = file, _drop_torn_line(file)
            self._remove_old()
        return self._file

    def _roll(self) -> None:
        """The file is full: it gets a number."""
        numbers = [number for _, number in self._all() if number is not None]
        rolled = self._path.with_suffix(f".{max(numbers, default=0) + 1}.jsonl")
        self.close()
        self._path.rename(rolled)

    def _remove_old(self) -> None:
        for path, _ in self._all()[: -self._files]:
            path.unlink(missing_ok=True)

    def _all(self) -> list[tuple[Path, int | None]]:
        """The slot's files, with their numbers, the oldest first."""
        found = []
        for path in self._directory.iterdir():
            match = _NAME.match(path.name)
            if match is not None and int(match[1]) == self._slot:
                with contextlib.suppress(OSError):
                    number = None if match[3] is None else int(match[3])
                    last = path == self._path
                    found.append((last, path.stat().st_mtime_ns, number or 0, path, number))
        return [(path, number) for _, _, _, path, number in sorted(found, key=lambda one: one[:4])]


def _drop_torn_line(file: int) -> int:
    """Cut off what a killed worker left of its last line; answers the file's size."""
    size = os.fstat(file).st_size
    start = max(0, size - _TAIL_BYTES)
    whole = start + os.pread(file, size - start, start).rfind(b"\n") + 1
    if whole < size:
        os.ftruncate(file, whole)
    return whole

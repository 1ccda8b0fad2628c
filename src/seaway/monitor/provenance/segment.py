"""One segment that is being written: appended to in blocks, with plain writes.

Not memory-mapped: on a full disk, or where somebody truncates the file, a write to a mapping kills the process, and a
plain write is an `OSError`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

from seaway.monitor import open_files
from seaway.monitor.provenance import layout as form
from seaway.monitor.provenance.names import Names


class Segment:
    """Has room for so many requests and answered rows. On one thread; raises `OSError`, after which it is as before."""

    def __init__(
        self, root: Path, slot: int, pid: int, number: int, requests_capacity: int, answers_capacity: int
    ) -> None:
        self.path = form.segment_path(root, slot, pid, number)
        self.number = number
        self.names = Names()
        self._capacity = requests_capacity
        self._header = form.new_header(slot, pid, number, requests_capacity, answers_capacity)
        self._names_at = 0
        flags = os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC
        with contextlib.ExitStack() as undo:
            self._file = os.open(self.path, flags, 0o600)
            undo.callback(os.close, self._file)
            undo.callback(self.path.unlink, missing_ok=True)
            names = form.names_path(self.path)
            self._names_file = os.open(names, flags, 0o600)
            undo.callback(os.close, self._names_file)
            undo.callback(names.unlink, missing_ok=True)
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._write_header(self._header)
            undo.pop_all()

    @property
    def first_s(self) -> float | None:
        """When its oldest request ended; None where it is empty."""
        header = self._header[0]
        return float(header["first_s"]) if header["requests"] else None

    @property
    def kept(self) -> int:
        """How many requests it holds."""
        return int(self._header["kept"][0])

    def has_room(self, requests: int, answers: int) -> bool:
        """Whether so many requests and answered rows fit."""
        header = self._header[0]
        return bool(
            header["requests"] + requests <= header["requests_capacity"]
            and header["answers"] + answers <= header["answers_capacity"]
        )

    def append(self, requests: npt.NDArray[np.void], answers: npt.NDArray[np.void], seen: int) -> None:
        """Keep requests `(n,)` and their answered rows `(m,)`, whose places in the requests count from 0 here."""
        header = self._header.copy()
        at, answers_at = int(header["requests"][0]), int(header["answers"][0])
        requests["first_answer"] += answers_at
        requests["check"] = form.check_words(requests)
        answers["check"] = form.check_words(answers)
        self._write_names()
        _write(
            self._file, form.answers_at(self._capacity) + answers_at * form.ANSWER.itemsize, answers.tobytes()
        )
        _write(self._file, form.requests_at(self._capacity) + at * form.REQUEST.itemsize, requests.tobytes())
        # The keys come last: what has one is written.
        _write(self._file, form.keys_at() + at * 8, form.keys_of(requests["id"]).tobytes())
        first_s, last_s = float(requests["at_s"].min()), float(requests["at_s"].max())
        header["first_s"] = min(header["first_s"][0], first_s) if at else first_s
        header["last_s"] = max(header["last_s"][0], last_s)
        header["requests"] += len(requests)
        header["answers"] += len(answers)
        header["kept"] += len(requests)
        header["seen"] += seen
        self._write_header(header)
        self._header = header

    def note_gone(self, until_s: float) -> None:
        """Of the requests until then, some were removed to make room."""
        header = self._header.copy()
        header["gone_until_s"] = np.maximum(header["gone_until_s"], until_s)
        self._write_header(header)
        self._header = header

    def stands(self) -> bool:
        """Whether both its files are still where they were made."""
        return open_files.stands(self._file, self.path) and open_files.stands(
            self._names_file, form.names_path(self.path)
        )

    def close(self, now_s: float) -> None:
        """Say that nothing was lost at its end, and free the lock. Called once."""
        header = self._header.copy()
        header["closed_s"] = now_s
        with contextlib.suppress(OSError):
            self._write_header(header)
        os.close(self._file)
        os.close(self._names_file)

    def _write_names(self) -> None:
        lines = self.names.lines
        if lines:
            data = b"".join(lines)
            _write(self._names_file, self._names_at, data)
            self._names_at += len(data)
            lines.clear()

    def _write_header(self, header: npt.NDArray[np.void]) -> None:
        header["check"] = form.check_words(header)
        _write(self._file, 0, header.tobytes())


def _write(file: int, at: int, data: bytes) -> None:
    """All of it; where the disk fills up midway, the next write that does not fit raises."""
    rest = memoryview(data)
    while rest:
        done = os.pwrite(file, rest, at)
        rest, at = rest[done:], at + done

"""The worker's log: whole lines to stderr, never a reason to fail, and never a flood."""

from __future__ import annotations

import sys
import threading
import time
import traceback
from typing import Final

from seaway.core.errors import SeawayError

_LINES: Final = 100
_SECOND_S: Final = 1.0


class Cap:
    """At most so many lines a second, then one that says how many were dropped. Any thread."""

    def __init__(self, lines: int) -> None:
        self._lines = lines
        self._lock = threading.Lock()
        self._since_s = float("-inf")
        self._taken = 0
        self._dropped = 0

    def admit(self, now_s: float) -> int | None:
        """None: drop the line. Else write it, after a word of the lines dropped since the last one."""
        with self._lock:
            if now_s - self._since_s >= _SECOND_S:
                self._since_s, self._taken = now_s, 0
            self._taken += 1
            if self._taken > self._lines:
                self._dropped += 1
                return None
            dropped, self._dropped = self._dropped, 0
            return dropped


_cap: Final = Cap(_LINES)


def write_line(text: str) -> None:
    """One line, at once. Whoever read the log may be gone (a dead supervisor's pipe), a full disk may hold it."""
    dropped = _cap.admit(time.monotonic())
    if dropped is None:
        return
    lost = f"seaway: {dropped} lines were dropped here: more than {_LINES} in a second\n" if dropped else ""
    try:
        sys.stderr.write(f"{lost}{text}\n")
        sys.stderr.flush()
    except OSError:
        pass  # serving matters more than its log


def write_error(what: str, error: SeawayError) -> None:
    """An error in one line; under a fault in Seaway itself, the trace of what raised it."""
    write_line(f"seaway: {what}: {error.code}: {error.message}")
    if error.code == "internal" and error.__cause__ is not None:
        write_line("".join(traceback.format_exception(error.__cause__)).rstrip())

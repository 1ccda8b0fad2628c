"""Processes that the supervisor keeps running: started, restarted with backoff, signalled, reaped."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Final

_BACKOFF_S: Final = (0.0, 0.1, 0.2, 0.5, 1.0, 2.0)
_STABLE_S: Final = 3.0


class Child:
    """One process that is kept running."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        descriptor: int | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """`env` is the process's environment; None means that of this process."""
        self.name = name
        self.obituary = ""
        """How it ended the last time."""
        self._command = command
        self._env = env
        self._descriptors = () if descriptor is None else (descriptor,)
        self._process: subprocess.Popen[bytes] | None = None
        self._started_s = 0.0
        self._failures = 0
        self._due_s = 0.0

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def tend(self, now_s: float) -> bool:
        """Start it if it does not run and its backoff is over; whether anything changed."""
        changed = self.ended(now_s) is not None
        if changed:
            self.tell(now_s)
        if self._process is None and now_s >= self._due_s:
            changed = self._start(now_s) or changed
        return changed

    def ended(self, now_s: float) -> int | None:
        """Its exit code where it has ended since the last look; the next start is due after the backoff."""
        if self._process is None:
            return None
        code = self._process.poll()
        if code is None:
            return None
        self._failures = 0 if self.stable(now_s) else self._failures + 1
        self._due_s = now_s + self._backoff_s
        self.obituary = f"{self.name} (process {self.pid}) {_end(code)}"
        self._process = None
        return code

    def tell(self, now_s: float) -> None:
        """Say that it ended, and when it starts again."""
        say(f"{self.obituary}; starting it again in {self._due_s - now_s:g} s")

    def stable(self, now_s: float) -> bool:
        """Whether it ran long enough for its end to be no part of a series."""
        return now_s - self._started_s >= _STABLE_S

    def due_in_s(self, now_s: float) -> float | None:
        """Seconds until it is to be started; None while it runs."""
        return max(0.0, self._due_s - now_s) if self._process is None else None

    def send(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def _start(self, now_s: float) -> bool:
        try:
            # A session of its own: Ctrl-C in a terminal reaches the supervisor alone, which stops the rest in order.
            # What a model prints goes nowhere: a flood must not fill a pipe or a disk. Logs go to stderr.
            self._process = subprocess.Popen(
                self._command,
                pass_fds=self._descriptors,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
                env=self._env,
            )
        except OSError as error:  # no memory, or too many processes: that may pass
            self._failures += 1
            self._due_s = now_s + self._backoff_s
            self.obituary = f"{self.name} cannot be started: {error.strerror}"
            self.tell(now_s)
            return False
        self._started_s = now_s
        return True

    @property
    def _backoff_s(self) -> float:
        return _BACKOFF_S[min(self._failures, len(_BACKOFF_S) - 1)]


def _end(code: int) -> str:
    if code >= 0:
        return f"ended with code {code}"
    names = {int(number): number.name for number in signal.Signals}
    return f"was ended by {names.get(-code, f'signal {-code}')}"


def say(line: str) -> None:
    """One line for the operator; where nothing can be written (a log on a full disk), serving goes on."""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"seaway: {line}\n")
        sys.stderr.flush()

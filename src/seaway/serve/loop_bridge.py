"""The way from grpcio's threads onto the event loop's: many calls of one tick share one wake-up."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from typing import Final, TypeVar

T = TypeVar("T")


class LoopBridge:
    """Runs functions on an event loop's thread, in the order in which they were given. Any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop: Final = loop
        self._waiting: deque[Callable[[], None]] = deque()
        self._woken = False

    def post(self, function: Callable[[], None]) -> None:
        """Have it run soon; it must not raise."""
        self._waiting.append(function)
        if not self._woken:
            self._woken = True
            self._loop.call_soon_threadsafe(self._run)

    def call(self, function: Callable[[], T]) -> T:
        """Have it run, and wait for what it returns or raises. Never on the loop's own thread."""
        done = threading.Lock()
        done.acquire()
        results: list[T] = []
        errors: list[Exception] = []

        def run() -> None:
            try:
                results.append(function())
            except Exception as error:  # noqa: BLE001 - it goes on to the caller's thread
                errors.append(error)
            done.release()

        self.post(run)
        done.acquire()
        if errors:
            raise errors[0]
        return results[0]

    def _run(self) -> None:
        # First, so that whoever adds one from now on wakes the loop again: none is left behind.
        self._woken = False
        waiting = self._waiting
        while waiting:
            waiting.popleft()()

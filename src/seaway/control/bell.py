"""Tells whoever waits on the event loop that something changed: the control loop, and clients that follow events."""

from __future__ import annotations

import asyncio
import contextlib


class Bell:
    """A counter that can be waited for. Made on the event loop that waits; rung from any thread.

    Take `rings` before looking at what may change, then wait with it: a ring in between is not missed.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._rung = asyncio.Event()
        self.rings = 0

    def ring(self) -> None:
        """Never blocks; without effect once the event loop is closed."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._ring)

    def _ring(self) -> None:
        self.rings += 1
        self._rung.set()
        self._rung = asyncio.Event()

    async def wait(self, rings: int, timeout_s: float) -> None:
        """Until it was rung since it had `rings`, or until the time is over."""
        if self.rings != rings:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._rung.wait()

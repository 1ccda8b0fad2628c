"""How much of the traffic the sinks may look at: a share of one core, turned into a sampling rate by what it costs."""

from __future__ import annotations

from typing import Final

SHARE: Final = 0.015
"""Of one core, for all sinks of a worker together."""
HOLDING_S: Final = 6e-6
"""What it costs the event loop that a drawn request stays in memory for a moment: its caches go cold, measured on *small*."""
_EVERY_S: Final = 10.0
_AT_FIRST_S: Final = 0.5
_SETTLED: Final = 8
_LOWEST: Final = 1e-4
_WEIGHT: Final = 0.5


class Budget:
    """The rate of the moment. It changes every 10 s, oftener at first, so that most windows have one rate.

    On the recorder's counting thread; `spent` is told by the other one, which only assigns.
    """

    def __init__(self, now_s: float, share: float = SHARE) -> None:
        self.rate = 1.0
        """The share of the requests that is to be drawn, each by itself."""
        self.drawing = 1.0
        """The one that is drawn with now: the loop takes over a new rate within some dozens of draws."""
        self._share = share
        self._seen = 0
        self._taken = 0
        self._cpu_s = 0.0
        self._cost_s: float | None = None
        self._since_s = now_s
        self._changes = 0

    def seen(self, requests: int) -> None:
        """So many requests ended."""
        self._seen += requests

    def spent(self, requests: int, cpu_s: float) -> None:
        """The sinks took that much processor time for so many drawn requests; that those were held is added."""
        self._taken += requests
        self._cpu_s += cpu_s + requests * HOLDING_S

    def adjust(self, now_s: float) -> None:
        """Choose the rate anew where it is time; `now_s` is on the monotonic scale."""
        passed_s = now_s - self._since_s
        if passed_s < (_AT_FIRST_S if self._changes < _SETTLED else _EVERY_S):
            return
        if self._taken:
            cost_s = self._cpu_s / self._taken
            known_s = self._cost_s
            self._cost_s = cost_s if known_s is None else known_s + _WEIGHT * (cost_s - known_s)
        if self._cost_s:
            wanted = self._cost_s * self._seen / passed_s
            self.rate = 1.0 if wanted <= self._share else max(self._share / wanted, _LOWEST)
            self._changes += 1
        self._seen, self._taken, self._cpu_s, self._since_s = 0, 0, 0.0, now_s

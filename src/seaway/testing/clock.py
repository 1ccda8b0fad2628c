"""A clock that stands still until it is told to go on."""

from __future__ import annotations


class VirtualClock:
    """See `core.ports.Clock`."""

    def __init__(self, now_s: float = 1_800_000_000.0) -> None:
        self._now_s = now_s

    def now_s(self) -> float:
        return self._now_s

    def monotonic_s(self) -> float:
        return self._now_s

    def advance(self, seconds: float) -> None:
        """Let this much time pass."""
        self._now_s += seconds

"""How much of the traffic the sinks may look at: a share of one core, turned into a sampling rate by what it costs."""

from __future__ import annotations

from typing import Final

SHARE: Final = 0.003
"""Of one core, for all sinks of a worker together, where the worker keeps its core busy."""
IDLE_SHARE: Final = 0.02
"""The same where the worker has nothing to do: between the two it follows how busy the worker was."""
HOLDING_S: Final = 6e-6
"""What it costs the event loop that a drawn request stays in memory for a moment: its caches go cold, measured on *small*."""
SAVED_S: Final = 1.0
"""An idle worker saves up so many seconds' share, so that a burst after a quiet time is drawn whole."""
_EVERY_S: Final = 1.0
_SPENDING_S: Final = 2.0
_FIRST_COST_S: Final = 20e-6
_WEIGHT: Final = 0.3
_MOST_JUMP: Final = 4.0
_FEW: Final = 20
_LEAST_PER_S: Final = 1.0


class Budget:
    """The rate of the moment; it changes once a second, with the traffic.

    On the recorder's counting thread; `spent` is told by the keeping thread, whose additions may be seen a second late.
    """

    def __init__(self, now_s: float, cpu_s: float) -> None:
        """`cpu_s` is the process's processor time so far."""
        self.rate = 1.0
        """The share of the requests that is to be drawn, each by itself."""
        self._share = IDLE_SHARE
        self._saved_s = IDLE_SHARE * SAVED_S
        self._cpu_s = cpu_s
        self._seen = 0
        self._taken = 0
        self._taking_s = 0.0
        self._fixed_s = 0.0
        self._cost_s = _FIRST_COST_S
        self._since_s = now_s

    def seen(self, requests: int) -> None:
        """So many requests ended."""
        self._seen += requests

    def spent(self, requests: int, cpu_s: float) -> None:
        """The sinks took that much processor time for so many drawn requests; that those were held is added.

        Without requests it is what they took to write: it counts, but drawing less would not save it.
        """
        if requests:
            self._taken += requests
            self._taking_s += cpu_s + requests * HOLDING_S
        else:
            self._fixed_s += cpu_s

    def adjust(self, now_s: float, cpu_s: float) -> None:
        """Choose the rate anew where it is time; `now_s` is on the monotonic scale, `cpu_s` the process's processor time."""
        passed_s = now_s - self._since_s
        if passed_s < _EVERY_S:
            return
        seen, taken, taking_s, fixed_s = self._seen, self._taken, self._taking_s, self._fixed_s
        self._seen, self._taken, self._taking_s, self._fixed_s = 0, 0, 0.0, 0.0
        self._since_s = now_s
        if taken >= _FEW:
            # What happens once (a library that is loaded, a machine that stands still) must not count as the usual cost.
            cost_s = min(taking_s / taken, self._cost_s * _MOST_JUMP)
            self._cost_s += _WEIGHT * (cost_s - self._cost_s)
        idle = min(max(1.0 - (cpu_s - self._cpu_s) / passed_s, 0.0), 1.0)
        self._cpu_s = cpu_s
        self._share = SHARE + (IDLE_SHARE - SHARE) * idle
        earned_s = self._share * passed_s
        most_s = self._share * SAVED_S
        self._saved_s = min(max(self._saved_s + earned_s - taking_s - fixed_s, -self._share), most_s)
        per_s = seen / passed_s
        allowed = max(self._share + self._saved_s / _SPENDING_S, 0.0) / self._cost_s
        least = _LEAST_PER_S / per_s if per_s else 1.0
        self.rate = min(1.0, max(allowed / per_s if per_s else 1.0, least))

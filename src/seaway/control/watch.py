"""Whether a worker still turns: judges its heartbeat, of which the supervisor takes a look now and then. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from seaway.core.bundles import Digest

LOOK_S: Final = 1.0
"""How often the supervisor looks."""
_START_S: Final = 60.0


class Pulse:
    """One worker process.

    Silence is added up look by look, and a look counts for two intervals at most: where the whole machine or the
    supervisor itself stood still, the worker gets time to show that it lives.
    """

    def __init__(self, hang_s: float) -> None:
        """`hang_s` is how long a worker that serves may go without a heartbeat."""
        self._hang_s = hang_s
        self._seen: tuple[float, Sequence[Digest]] = (0.0, ())
        self._looked_s: float | None = None
        self._silent_s = 0.0
        self.beating_since_s: float | None = None

    def hangs(self, now_s: float, beat_s: float, running: Sequence[Digest]) -> bool:
        """Whether it is to be ended. `beat_s` is 0 before the first heartbeat, negative once it drains.

        Before the first it is loading models, which may take any time; but a single one that runs for a minute hangs.
        """
        gap_s = 0.0 if self._looked_s is None else min(now_s - self._looked_s, 2 * LOOK_S)
        self._looked_s = now_s
        if beat_s < 0:
            return False  # the drain has its own end
        if beat_s > 0 and self.beating_since_s is None:
            self.beating_since_s = now_s
        seen = (beat_s, () if beat_s > 0 else running)
        turns = seen != self._seen or (beat_s == 0 and not running)
        self._seen = seen
        self._silent_s = 0.0 if turns else self._silent_s + gap_s
        return self._silent_s >= (self._hang_s if beat_s > 0 else _START_S)

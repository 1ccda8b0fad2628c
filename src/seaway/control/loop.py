"""The control loop: observe, decide, act, again; run by the control process, or by a verb when no server runs."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from seaway.control.bell import Bell
from seaway.control.effects import Effects
from seaway.core import reconciliation
from seaway.core.errors import SeawayError

_IDLE_S: Final = 1.0
_STUCK_S: Final = 0.1
_log = logging.getLogger(__name__)


class Loop:
    """Woken by its bell (a changed store, an ended preparation); workers that come and go are seen within a second."""

    def __init__(self, effects: Effects, bell: Bell) -> None:
        self._effects = effects
        self._bell = bell

    async def run(self) -> None:
        """Until cancelled. What fails is logged and tried again: the store or a worker may be away for a while."""
        last: reconciliation.Action | None = None
        while True:
            rings = self._bell.rings
            action, failed = await self._step()
            if action is None or failed:
                await self._bell.wait(rings, _IDLE_S)
            elif action == last:
                await asyncio.sleep(_STUCK_S)  # it was done and is asked for again: give it time to show
            last = action

    async def settle(self) -> None:
        """Act until nothing is left to do. Raises what an action raises."""
        last: reconciliation.Action | None = None
        while True:
            rings = self._bell.rings
            action = reconciliation.next_action(await self._effects.observe())
            if action is None and not self._effects.busy:
                return
            if action is None:
                await self._bell.wait(rings, _IDLE_S)
            else:
                await self._effects.apply(action)
                if action == last:
                    await asyncio.sleep(_STUCK_S)
            last = action

    async def _step(self) -> tuple[reconciliation.Action | None, bool]:
        action = None
        try:
            action = reconciliation.next_action(await self._effects.observe())
            if action is not None:
                _log.info("%s", action)
                await self._effects.apply(action)
        except SeawayError as error:
            _log.warning("%s: %s (%s)", type(action).__name__, error.message, error.code)
            return action, True
        if isinstance(action, reconciliation.Stored):
            self._bell.ring()  # those who follow events
        return action, False

"""The control process's chores: what has to be done now and then with the files of records, one after the other.

A chore that fails is said once and tried again when it is due; none can hold up another for longer than it runs.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

import msgspec

from seaway.core.ports import Clock

_log = logging.getLogger(__name__)


class Chore(msgspec.Struct, frozen=True):
    """`run` blocks, on a thread of its own; it gets the seconds since 1970."""

    name: str
    every_s: float
    run: Callable[[float], object]


class Upkeep:
    """Runs chores until cancelled."""

    def __init__(self, chores: Sequence[Chore], clock: Clock) -> None:
        self._chores = chores
        self._clock = clock
        self._failing: dict[str, str] = {}

    async def run(self) -> None:
        """Each chore at once, then again so long after it has ended. Until cancelled."""
        async with asyncio.TaskGroup() as group:
            for chore in self._chores:
                group.create_task(self._repeat(chore))

    async def _repeat(self, chore: Chore) -> None:
        while True:
            await self._do(chore)
            await asyncio.sleep(chore.every_s)

    async def _do(self, chore: Chore) -> None:
        try:
            await asyncio.to_thread(chore.run, self._clock.now_s())
        except Exception as error:  # noqa: BLE001 - the chore's edge: the others, and the control plane, go on
            if self._failing.get(chore.name) != str(error):
                _log.warning("%s: %s: %s", chore.name, type(error).__name__, error)
            self._failing[chore.name] = str(error)
        else:
            if self._failing.pop(chore.name, None) is not None:
                _log.warning("%s: works again", chore.name)

"""What a worker shows of itself and hands on: its heartbeat, the models that it must not run, what it has learned.

Made by `serve.worker`, on the event loop's thread; the supervisor is at the other end.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Set
from pathlib import Path
from typing import Final

from seaway.core.bundles import Digest, OpenedBundle
from seaway.core.errors import SeawayError
from seaway.core.ports import Clock, LoadedModel
from seaway.engine.blackbox import BlackBox
from seaway.engine.pool import Pool
from seaway.serve import log
from seaway.serve.learned import LearnedFile
from seaway.wire import isolation

_BEAT_S: Final = 0.1
_LOOK_S: Final = 1.0
_LEARNED_S: Final = 5.0


def isolated_in(run: Path) -> Set[Digest]:
    """The models that no worker of this run directory may hold in its own process."""
    return isolation.read(run / isolation.FILE).models.keys()


class Vitals:
    """Beats and obeys from `begin` until `rest`."""

    def __init__(
        self,
        box: BlackBox,
        pool: Pool,
        isolate: Callable[[OpenedBundle], LoadedModel],
        learned: LearnedFile,
        run: Path,
        clock: Clock,
    ) -> None:
        """`isolate` loads a bundle's model in a process of its own; blocking, raises `SeawayError`."""
        self._box = box
        self._pool = pool
        self._isolate = isolate
        self._learned = learned
        self._run = run
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._timers: dict[Callable[[], None], asyncio.TimerHandle] = {}
        self._moving: set[asyncio.Task[None]] = set()

    def begin(self) -> None:
        """The worker serves: from now on the supervisor may call it (SIGUSR1), and expects its heartbeat."""
        self._loop.add_signal_handler(signal.SIGUSR1, self._obey)
        for tick, every_s in ((self._beat, _BEAT_S), (self._look, _LOOK_S), (self._remember, _LEARNED_S)):
            self._repeat(tick, every_s)
        self._obey()  # what was written while this process started

    def rest(self) -> None:
        """The worker drains. Idempotent."""
        self._box.rest()
        self._remember()
        for timer in self._timers.values():
            timer.cancel()
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)

    def _repeat(self, tick: Callable[[], None], every_s: float) -> None:
        tick()
        self._timers[tick] = self._loop.call_later(every_s, self._repeat, tick, every_s)

    def _beat(self) -> None:
        self._box.beat(self._clock.monotonic_s())

    def _obey(self) -> None:
        for digest in isolated_in(self._run) - self._pool.isolated:
            self._move_out(digest)

    def _look(self) -> None:
        """A model whose run does not end goes into a process that can be killed; its thread here is lost."""
        for handle in self._pool.handles():
            digest = handle.revision.digest
            if handle.ready and handle.predictor.stuck and digest not in self._pool.isolated:
                log.write_line(f"seaway: {handle.revision.ref} does not return; it gets a process of its own")
                self._move_out(digest)

    def _remember(self) -> None:
        self._learned.write(self._pool.learned)

    def _move_out(self, digest: Digest) -> None:
        self._pool.isolated.add(digest)
        task = self._loop.create_task(self._replace(digest))
        self._moving.add(task)
        task.add_done_callback(self._moving.discard)

    async def _replace(self, digest: Digest) -> None:
        try:
            await self._pool.replace(digest, self._isolate)
        except SeawayError as error:
            log.write_error("a model's own process", error)

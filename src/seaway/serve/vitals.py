"""What a worker shows of itself and hands on: its heartbeat, the models that it must not run, what it has learned.

Made by `serve.worker`, on the event loop's thread; the supervisor is at the other end.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Set
from pathlib import Path
from typing import Final, Protocol

from seaway.core.bundles import Digest, OpenedBundle
from seaway.core.errors import SeawayError
from seaway.core.ports import Clock, LoadedModel
from seaway.engine.blackbox import BlackBox
from seaway.engine.pool import Handle, Pool
from seaway.serve import log
from seaway.serve.learned import LearnedFile
from seaway.wire import isolation

_BEAT_S: Final = 0.1
_LOOK_S: Final = 1.0
_LEARNED_S: Final = 5.0
_AGAIN_S: Final = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
"""How long after each failure in a row a model that has to run in a process of its own is loaded again."""


def isolated_in(run: Path) -> tuple[Set[Digest], Set[Digest]]:
    """The models that no worker of this run directory may hold in its own process, and those of them that may well be
    innocent: others ran beside them whenever a worker ended."""
    models = isolation.read(run / isolation.FILE).models
    return models.keys(), {digest for digest, known in models.items() if not known.alone}


class Absences(Protocol):
    """Who routes by what is there (`serve.plane.DataPlane`)."""

    @property
    def absent(self) -> frozenset[Digest]: ...

    def set_absent(self, digests: Set[Digest]) -> None:
        """Others answer for these models from now on, where somebody may."""


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
        absences: Absences,
    ) -> None:
        """`isolate` loads a bundle's model in a process of its own; blocking, raises `SeawayError`."""
        self._box = box
        self._pool = pool
        self._isolate = isolate
        self._learned = learned
        self._run = run
        self._clock = clock
        self._absences = absences
        self._loop = asyncio.get_running_loop()
        self._timers: dict[Callable[[], None], asyncio.TimerHandle] = {}
        self._moving: dict[Digest, asyncio.Task[None]] = {}
        self._failed: dict[tuple[str, int], tuple[int, float]] = {}
        """By endpoint and revision: how often in a row it could not be loaded, and when that is tried again."""

    def begin(self) -> None:
        """The worker serves: from now on the supervisor may call it (SIGUSR1), and expects its heartbeat."""
        self._loop.add_signal_handler(signal.SIGUSR1, self._obey)
        for tick, every_s in ((self._beat, _BEAT_S), (self._look, _LOOK_S), (self._remember, _LEARNED_S)):
            self._repeat(tick, every_s)
        self._obey()  # what was written while this process started

    def rest(self) -> None:
        """The worker drains. Idempotent."""
        self._box.rest()
        self._learned.write(self._pool.learned)
        for timer in self._timers.values():
            timer.cancel()
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)

    def _repeat(self, tick: Callable[[], None], every_s: float) -> None:
        tick()
        self._timers[tick] = self._loop.call_later(every_s, self._repeat, tick, every_s)

    def _beat(self) -> None:
        self._box.beat(self._clock.monotonic_s())

    def _obey(self) -> None:
        listed, suspects = isolated_in(self._run)
        for digest in listed - self._pool.isolated:
            self._move_out(digest, suspect=digest in suspects)

    def _look(self) -> None:
        """A model whose run does not end goes into a process that can be killed; its thread here is lost.

        One whose process could not be started gets another one: nobody else tries it where there is no control.
        """
        for handle in self._pool.handles():
            digest = handle.revision.digest
            self._try_again(handle)
            if handle.ready and handle.predictor.stuck and digest not in self._pool.isolated:
                log.write_line(f"seaway: {handle.revision.ref} does not return; it gets a process of its own")
                self._move_out(digest, suspect=False)

    def _try_again(self, handle: Handle) -> None:
        revision, key = handle.revision, (handle.endpoint, handle.revision.number)
        apart = revision.isolated or revision.digest in self._pool.isolated
        if handle.ready or handle.failure is None or not apart:
            self._failed.pop(key, None)
            return
        now_s = self._clock.monotonic_s()
        count, due_s = self._failed.get(key, (0, 0.0))
        if count and (now_s < due_s or revision.digest in self._moving):
            return
        self._failed[key] = count + 1, now_s + _AGAIN_S[min(count, len(_AGAIN_S) - 1)]
        if count:
            self._begin(
                revision.digest, self._replace(revision.digest) if handle.filled else self._load(handle)
            )

    def _remember(self) -> None:
        found = self._pool.learned()
        self._loop.run_in_executor(None, self._learned.write, lambda: found)  # the disk may take its time

    def _move_out(self, digest: Digest, *, suspect: bool) -> None:
        """A suspect answers for nothing while its process starts: that is not held against it."""
        self._pool.isolated.add(digest)
        if suspect:
            self._absences.set_absent(self._absences.absent | {digest})
        self._begin(digest, self._replace(digest))

    def _begin(self, digest: Digest, moving: Coroutine[None, None, None]) -> None:
        task = self._moving[digest] = self._loop.create_task(moving)
        task.add_done_callback(lambda _: self._moving.pop(digest, None))

    async def _replace(self, digest: Digest) -> None:
        try:
            await self._pool.replace(digest, self._isolate)
        except SeawayError as error:
            log.write_error("a model's own process", error)
        finally:
            if digest in self._absences.absent:
                self._absences.set_absent(self._absences.absent - {digest})

    async def _load(self, handle: Handle) -> None:
        try:
            await asyncio.to_thread(self._pool.load, handle.endpoint, handle.revision, handle.limits)
        except SeawayError as error:
            log.write_error("a model's own process", error)

"""The thread lane: models that the event loop must not wait for, batched as `Batcher` decides, on one thread."""

from __future__ import annotations

import asyncio
import heapq
import math
import threading
from collections import OrderedDict
from collections.abc import Callable
from itertools import count
from queue import SimpleQueue
from typing import Final

from seaway.core.errors import SeawayError, TemporaryError
from seaway.core.ports import Clock
from seaway.engine import batches
from seaway.engine.answers import Answers
from seaway.engine.batcher import Batcher
from seaway.engine.batches import Batch, Executor
from seaway.engine.jobs import Job

STUCK_S: Final = 5.0
"""A run that goes on for this long after its deadline, though told to end, will not end."""
_TIMER_S: Final = 0.001  # the event loop's timers are no finer


class ThreadLane:
    """Queue, deadlines and the thread that executes one batch after the other.

    Everything happens on the event loop's thread, except the execution. The thread starts with the first batch, dies
    with the process, and is never joined.
    """

    def __init__(
        self,
        executor: Executor,
        batcher: Batcher,
        clock: Clock,
        answers: Answers,
        learned: Callable[[], None],
    ) -> None:
        """`learned` is called when the cost model knows more."""
        self.stuck = False
        """The run of now does not end, though its deadline is long over: all is refused until it does."""
        self.open: OrderedDict[Job, None] = OrderedDict()
        """The jobs that wait or run, as they came; those of the endpoint's own deadline are in the order of it."""
        self._hurried: list[tuple[float, int, Job]] = []
        """A heap of those whose deadline comes before that of a job that came earlier."""
        self._count = count()
        self._last_deadline_s = 0.0
        self._executor = executor
        self._batcher = batcher
        self._now_s = clock.monotonic_s
        self._answers = answers
        self._learned = learned
        self._handed: SimpleQueue[tuple[asyncio.AbstractEventLoop, Batch] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._pumping = False
        self._deadlines: asyncio.TimerHandle | None = None
        self._look_at_s = 0.0
        self._resuming: asyncio.TimerHandle | None = None

    def refuse(self, caller: str, deadline_s: float) -> None:
        """Raise what `submit` would raise for every job of this caller: see `Batcher.refuse`."""
        try:
            self._batcher.refuse(caller, deadline_s, self._now_s())
        except TemporaryError:
            self._answers.counts.refused += 1
            raise

    def submit(self, job: Job) -> None:
        """Let a job wait for its batch. Raises `TemporaryError` (`overloaded`, `deadline_exceeded`)."""
        if self.stuck:
            self._answers.counts.refused += 1
            raise TemporaryError("overloaded", "the model is stuck in an earlier request", "try again later")
        now_s = self._now_s()
        if job.deadline_s <= now_s:
            self._answers.counts.dropped_late += 1
            raise batches.late(job)
        try:
            out = self._batcher.admit(job, now_s)
        except TemporaryError:
            self._answers.counts.refused += 1
            raise
        if out is not None:
            self.drop(out, self._batcher.overloaded(job.deadline_s - now_s))
        self.open[job] = None
        if job.deadline_s >= self._last_deadline_s:
            self._last_deadline_s = job.deadline_s
        else:
            heapq.heappush(self._hurried, (job.deadline_s, next(self._count), job))
        if self._deadlines is None or job.deadline_s < self._look_at_s:
            self._expire_at(job.deadline_s, now_s)
        if not self._pumping and self._batcher.running is None:
            self._pumping = True
            asyncio.get_running_loop().call_soon(self._pump)

    def drop(self, job: Job, error: SeawayError | None) -> None:
        """The batcher lets a job go unrun."""
        self.open.pop(job, None)
        self._answers.drop(job, error)

    def close(self) -> list[Job]:
        """Take no more; returns the jobs that waited. Those that run are answered when they end. Idempotent."""
        self._closed = True
        waiting = [job for job in self.open if job.batch_rows == 0]
        for job in waiting:
            del self.open[job]
            self._batcher.backlog.remove(job)
        if self._resuming is not None:
            self._resuming.cancel()
        self._handed.put(None)
        return waiting

    def _pump(self) -> None:
        """Start the next batch, if it is time."""
        self._pumping = False
        batcher = self._batcher
        if batcher.running is not None or self._closed:
            return
        now_s = self._now_s()
        batch = batcher.take(now_s)
        if batch is not None:
            if self._resuming is not None:
                self._resuming.cancel()
                self._resuming = None
            self._start(batch)
        elif batcher.backlog.jobs and self._resuming is None:
            self._resuming = asyncio.get_running_loop().call_later(
                max(batcher.resume_s - now_s, 0.0), self._resume
            )

    def _resume(self) -> None:
        self._resuming = None
        self._pump()

    def _start(self, batch: Batch) -> None:
        for job in batch.jobs:
            job.batch_rows = batch.rows
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="seaway-predict", daemon=True)
            self._thread.start()
        self._handed.put((asyncio.get_running_loop(), batch))

    def _run(self) -> None:
        """On the lane's own thread."""
        while (handed := self._handed.get()) is not None:
            loop, batch = handed
            self._executor.execute(batch)
            try:
                loop.call_soon_threadsafe(self._ended, batch)
            except RuntimeError:
                return  # the loop is closed: nobody waits any more
            del handed, batch  # while it waits for the next, it holds no request's memory

    def _ended(self, batch: Batch) -> None:
        """The thread has executed a batch: the next one starts before this one is answered."""
        self.stuck = False
        self._batcher.ended(batch, self._now_s())
        self._learned()
        self._pump()
        for job in batch.jobs:
            self.open.pop(job, None)
        self._answers.settle(batch)

    def _expire(self) -> None:
        """Answer those whose deadline has passed, waiting or running; then set the one timer for the next."""
        self._deadlines = None
        now_s = self._now_s()
        running = self._batcher.running
        if running is not None and now_s >= running.deadline_s + STUCK_S:
            self.stuck = True
        hurried = self._hurried
        while hurried and (hurried[0][0] <= now_s or hurried[0][2] not in self.open):
            job = heapq.heappop(hurried)[2]
            if job in self.open:
                self._give_up(job)
        while self.open and (job := next(iter(self.open))).deadline_s <= now_s:
            self._give_up(job)
        next_s = math.inf
        if self.open:
            next_s = next(iter(self.open)).deadline_s
        if hurried:
            next_s = min(next_s, hurried[0][0])
        if running is not None and not self.stuck:
            next_s = min(next_s, running.deadline_s + STUCK_S)
        if next_s < math.inf:
            self._expire_at(next_s, now_s)

    def _give_up(self, job: Job) -> None:
        """Answer a job whose deadline has passed."""
        del self.open[job]
        if job.batch_rows == 0:
            self._batcher.backlog.remove(job)
            self._answers.late(job)
        else:
            self._answers.fail(job, batches.late(job))

    def _expire_at(self, at_s: float, now_s: float) -> None:
        """Set the one timer."""
        if self._deadlines is not None:
            self._deadlines.cancel()
        self._look_at_s = at_s
        self._deadlines = asyncio.get_running_loop().call_later(max(at_s - now_s, _TIMER_S), self._expire)

"""The inline lane: cheap models run on the event loop's thread, all jobs of one tick as one batch."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Final

from seaway.core.ports import Clock
from seaway.core.tensors import Signature
from seaway.core.traffic import Limits
from seaway.engine import batches
from seaway.engine.answers import Answers
from seaway.engine.batcher import Batcher
from seaway.engine.batches import Batch, Executor
from seaway.engine.jobs import Job

CHEAP_S: Final = 0.0003
"""A model whose single row takes less than this may run inline."""
BUDGET_S: Final = 0.001
"""The most predicted time of one inline batch, and of all of one tick."""
_LEAVES_AT: Final = 1.5
"""A model goes to the thread at this multiple of CHEAP_S, so that it does not go to and fro."""
OVERRUN_S: Final = 0.003
"""A batch that computes longer than this is an overrun."""
STOP_S: Final = 0.1
"""A run is stopped after this time, and begins anew in the thread lane."""
_BLOCKED_OFTEN: Final = 3
"""A model that was stopped so often without computing waits for something, or the machine stands still at times."""
_PAUSE_S: Final = 60.0
_LONGEST_PAUSE_S: Final = 3600.0
"""A model that left for what may have been noise comes back after a pause, twice as long each time."""
_OBSERVE_EVERY: Final = 16
_MOST_WAITING: Final = 1_000_000


class InlineLane:
    """Runs jobs between two ticks of the event loop.

    A model that computes too long leaves: for good where it had to be stopped, for a pause where it was not.
    """

    __slots__ = (
        "_alike",
        "_answers",
        "_back_at_s",
        "_batcher",
        "_blocked",
        "_execute",
        "_key",
        "_limits",
        "_most_waiting",
        "_now_s",
        "_overflow",
        "_until_observed",
        "allowed",
        "left",
        "most_rows",
        "open",
        "waiting",
    )

    def __init__(
        self,
        signature: Signature,
        executor: Executor,
        batcher: Batcher,
        limits: Limits,
        clock: Clock,
        answers: Answers,
        overflow: Callable[[Job], None],
        allowed: bool,
        left: int,
    ) -> None:
        """`overflow` takes a job that is to run on a thread instead. The cost model is the batcher's."""
        self.allowed = allowed
        """Whether the model may ever be here."""
        self.left = left
        """How often it left for a pause, in predecessors of this process too; a fresh process tries it at once."""
        self.open = False
        self.most_rows = 0
        self.waiting: list[Job] = []
        """The jobs of this tick."""
        self._key = batches.shape_key(signature)
        self._alike = all(-1 not in spec.shape[1:] for spec in signature.inputs)
        self._execute = executor.execute
        self._batcher = batcher
        self._limits = limits
        self._now_s = clock.monotonic_s
        self._answers = answers
        self._overflow = overflow
        self._blocked = 0
        self._most_waiting = 0
        self._until_observed = 1
        self._back_at_s = 0.0
        self.choose()

    def take(self, job: Job) -> bool:
        """Take a job for this tick's batch; False where too much waits already."""
        waiting = self.waiting
        if len(waiting) >= self._most_waiting:
            return False
        if not waiting:
            asyncio.get_running_loop().call_soon(self._flush)
        waiting.append(job)
        return True

    def choose(self) -> None:
        """Open or close the lane by what is known of the model's speed now."""
        cost = self._batcher.cost
        bar_s = CHEAP_S * _LEAVES_AT if self.open else CHEAP_S
        # Who asks for a wait gets it, and the event loop's thread cannot wait.
        waits = bool(self._limits.wait_s)
        self.open = self.allowed and not waits and cost.samples > 0 and cost.seconds(1) < bar_s
        if self.open and self._back_at_s:
            self.open = self._now_s() >= self._back_at_s
        if not self.open:
            return
        self._back_at_s = 0.0
        together = self._batcher.together
        most = min(cost.rows_within(BUDGET_S), self._limits.max_rows) if together else self._limits.max_rows
        self.most_rows = max(1, int(most))
        each_s = cost.seconds(self.most_rows) / self.most_rows if together else cost.seconds(1)
        # Half of the time, since the event loop does more for each job than to run it.
        longest_s = min(self._limits.queue_s, self._limits.deadline_s) / 2
        self._most_waiting = int(longest_s / each_s) if each_s * _MOST_WAITING > longest_s else _MOST_WAITING

    def close(self) -> list[Job]:
        """Close for good; returns the jobs that waited."""
        self.allowed = self.open = False
        waiting, self.waiting = self.waiting, []
        return waiting

    def _flush(self) -> None:
        """Run the jobs of this tick in as few batches as the limits allow."""
        jobs, self.waiting = self.waiting, []
        if len(jobs) == 1:
            self._run(jobs, jobs[0].rows)
            return
        if not self._alike:
            groups: dict[object, list[Job]] = {}
            for job in jobs:
                groups.setdefault(self._key(job), []).append(job)
            jobs = [job for group in groups.values() for job in group]
        start = 0
        spent_s = 0.0
        while start < len(jobs):
            if not self.open:
                for job in jobs[start:]:
                    self._overflow(job)
                return
            if spent_s >= BUDGET_S:  # others on this loop come first; the rest is run in its next tick
                if not self.waiting:
                    asyncio.get_running_loop().call_soon(self._flush)
                self.waiting = jobs[start:] + self.waiting
                return
            end, rows = self._chunk(jobs, start)
            self._run(jobs[start:end], rows)
            spent_s += self._batcher.cost.seconds(rows)
            start = end

    def _chunk(self, jobs: list[Job], start: int) -> tuple[int, int]:
        """Where the batch ends that begins at `start`, and how many rows it has."""
        first = jobs[start]
        rows = first.rows
        end = start + 1
        if first.alone or not self._batcher.together:
            return end, rows
        most, alike, key = self.most_rows, self._alike, self._key(first)
        while end < len(jobs):
            job = jobs[end]
            if job.alone or rows + job.rows > most or not (alike or self._key(job) == key):
                break
            rows += job.rows
            end += 1
        return end, rows

    def _run(self, jobs: list[Job], rows: int) -> None:
        now_s = self._now_s()
        for job in jobs:
            if job.cancelled or job.deadline_s <= now_s:
                jobs = self._still_wanted(jobs, now_s)
                rows = sum([job.rows for job in jobs])
                break
        if not jobs:
            return
        batch = Batch(jobs, rows)
        batch.deadline_s = jobs[0].deadline_s if len(jobs) == 1 else max([job.deadline_s for job in jobs])
        self._execute(batch, STOP_S)
        self._until_observed -= 1
        if self._until_observed <= 0 or batch.took_s > BUDGET_S or batch.runs > 1:
            self._judge(batch)
        if batch.cut_off:
            for job in jobs:
                self._overflow(job)
        else:
            self._answers.settle(batch)

    def _judge(self, batch: Batch) -> None:
        """Learn from a batch, and whether the model may stay. Time in which the thread did not run does not count."""
        self._until_observed = _OBSERVE_EVERY
        if batch.cpu_s > OVERRUN_S:
            again = batch if batch.cut_off else self._again(batch)
            if again.cut_off:
                self.allowed = False
            elif again.cpu_s > OVERRUN_S:
                self._leave()
        # Else it was stopped for the deadline of a caller who is in a hurry.
        elif batch.cut_off and batch.deadline_s >= batch.started_s + STOP_S:
            self._blocked += 1
            if self._blocked >= _BLOCKED_OFTEN:
                self._leave()
        self._batcher.learn(batch, min(batch.took_s, batch.cpu_s))
        self.choose()

    def _leave(self) -> None:
        """Leave for a pause, since the machine may be to blame."""
        self._blocked = 0
        self.left += 1
        pause_s = min(_PAUSE_S * 2.0 ** min(self.left - 1, 10), _LONGEST_PAUSE_S)
        self._back_at_s = self._now_s() + pause_s

    def _again(self, batch: Batch) -> Batch:
        """The same batch once more: a garbage collection or a host that takes its core away does not come twice."""
        again = Batch(batch.jobs, batch.rows)
        again.deadline_s = math.inf
        self._execute(again, STOP_S)
        return again

    def _still_wanted(self, jobs: list[Job], now_s: float) -> list[Job]:
        wanted = []
        for job in jobs:
            if job.cancelled:
                continue
            if job.deadline_s <= now_s:
                self._answers.late(job)
            else:
                wanted.append(job)
        return wanted

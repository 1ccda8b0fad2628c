"""What the thread lane runs next, and what it refuses: a queue bounded by time and adaptive greedy batching.

Decides only: time is an argument, nothing here runs a model, waits or reads a clock. The predictor carries out.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Hashable
from typing import Final

from seaway.core.errors import SeawayError, TemporaryError
from seaway.core.traffic import Limits
from seaway.engine import batches
from seaway.engine.backlog import Backlog
from seaway.engine.batches import Batch
from seaway.engine.cost import CostModel
from seaway.engine.jobs import Job

_WAIT_SHARE: Final = 0.15
"""Of the last execution: how long an idle lane waits for those just answered to come back."""
_LONGEST_WAIT_S: Final = 0.003
_HANDOVER_S: Final = 0.0001
"""What a batch costs beside the model: two changes of thread."""
_GAINED: Final = 0.95
"""A batch is not made larger than what reaches this share of the throughput of an endless one."""
_TRY_EVERY: Final = 32
"""One in so many batches may be larger than it is worth by t(n), in case that is wrong: else what never runs in
batches would never be seen to gain from them."""
_TRY_ROWS: Final = 4
"""How much larger."""
_MARGIN: Final = 1.1
"""Predicted times are taken for this much longer where a deadline is at stake."""
_AHEAD_MARGIN: Final = 1.5
"""The same for all that waits before a job: a machine that becomes slower makes every one of them later, and who was
let in would then be refused only after the wait."""


class Batcher:
    """The queue of one model's thread lane; on the event loop's thread only.

    *Greedy*: an idle lane runs what is there at once. *Adaptive*: after a batch of more than one, it waits a small
    share of the last execution for the callers just answered, and only until as many rows are there as before.
    By t(n), a request is refused at once where it would wait longer than `limits.queue_s` or be answered after its
    deadline, and one that waited is dropped unrun where its batch would end after its deadline: under overload the
    model works only for answers that come in time. One that finds the lane free always runs, so that t(n) follows a
    model that becomes faster.
    """

    __slots__ = (
        "_cap",
        "_cap_at",
        "_drop",
        "_expected_rows",
        "_free_run",
        "_limits",
        "_until_try",
        "backlog",
        "cost",
        "resume_s",
        "running",
        "together",
    )

    def __init__(
        self,
        limits: Limits,
        cost: CostModel,
        key: Callable[[Job], Hashable],
        together: bool,
        drop: Callable[[Job, SeawayError | None], None],
    ) -> None:
        """`drop` gets each job that leaves unrun, None as its error where it was cancelled."""
        self.cost = cost
        self.together = together
        self.backlog = Backlog(key)
        self.running: Batch | None = None
        self.resume_s = 0.0
        """Until when an idle lane waits for more rows."""
        self._limits = limits
        self._drop = drop
        self._expected_rows = 0
        self._free_run: Job | None = None
        self._cap = limits.max_rows
        self._cap_at = -1
        self._until_try = _TRY_EVERY

    def admit(self, job: Job, now_s: float) -> Job | None:
        """Let a job wait for its batch; returns the job that was put out for it, if any.

        Raises `TemporaryError("overloaded")`, with the predicted wait in `retry_after_s`, spread so that those who
        were refused together do not come back together.
        """
        backlog = self.backlog
        if self.running is None and backlog.jobs == 0:
            self._free_run = job
            backlog.add(job)
            if self._limits.wait_s:
                self.resume_s = now_s + self._limits.wait_s
                self._expected_rows = self.most_rows()
            return None
        wait_s = self.wait_s(backlog.rows, backlog.jobs, now_s)
        if self._in_time(job, wait_s, backlog.rows, now_s):
            backlog.add(job)
            return None
        out = self._less_deserving(job, now_s)
        if out is None:
            raise self.overloaded(wait_s)
        backlog.remove(out)
        backlog.add(job)
        return out

    def refuse(self, caller: str, deadline_s: float, now_s: float) -> None:
        """Raise what `admit` would raise for every job of this caller, however small: asked before one is decoded, so
        that under overload a refusal costs next to nothing."""
        backlog = self.backlog
        if self.running is None and backlog.jobs == 0:
            return
        wait_s = self.wait_s(backlog.rows, backlog.jobs, now_s)
        if wait_s <= self._limits.queue_s and now_s + _MARGIN * (wait_s + self.cost.seconds(1)) <= deadline_s:
            return
        own = backlog.rows_of(caller)
        callers = backlog.callers + (own == 0)
        if callers == 1 or (own + 1) * callers > backlog.rows:
            raise self.overloaded(wait_s)

    def take(self, now_s: float) -> Batch | None:
        """The batch to run now; None where nothing waits, or where it is better to wait until `resume_s`."""
        backlog = self.backlog
        cap = self.most_rows()
        if now_s < self.resume_s and backlog.rows < min(cap, self._expected_rows):
            return None
        together = self.together
        need_s = self.cost.seconds(min(cap, backlog.rows)) if together else 0.0

        def unfit(job: Job) -> bool:
            if job.cancelled:
                self._drop(job, None)
            elif job.deadline_s <= now_s:
                self._drop(job, batches.late(job))
            elif (
                job.deadline_s - now_s < max(need_s, self.cost.seconds(job.rows))
                and job is not self._free_run
            ):
                self._drop(job, self.overloaded(need_s))
            else:
                return False
            return True

        jobs = backlog.take(self._tried(cap) if together else cap, together, unfit)
        return self._begin(jobs, now_s) if jobs else None

    def ended(self, batch: Batch, now_s: float) -> None:
        """The running batch has ended: learn from it, and decide how long to wait for more."""
        self.running = None
        self.learn(batch, batch.took_s)
        wait_s = self._limits.wait_s
        if wait_s is None:
            wait_s = 0.0
            if len(batch.jobs) > 1:
                wait_s = min(_WAIT_SHARE * batch.took_s, _LONGEST_WAIT_S, self.cost.a_s)
        self.resume_s = now_s + wait_s
        self._expected_rows = batch.rows + self.backlog.rows

    def learn(self, batch: Batch, took_s: float) -> None:
        """Take what an executed batch tells of the model; `took_s` is what to hold it to."""
        if batch.mixed:
            self.together = False
            self._cap_at = -1
        elif batch.cut_off:
            # What its deadline cut off would have taken longer: it can raise the prediction, never lower it.
            if took_s > self.cost.seconds(batch.rows):
                self.cost.observe(batch.rows, took_s)
        elif batch.runs == 1 and not isinstance(batch.results[0], SeawayError):
            self.cost.observe(batch.rows, took_s)

    def most_rows(self) -> int:
        """The largest batch worth making: by the limits, by what rows gain from company, and by half the deadline."""
        cost = self.cost
        if self._cap_at == cost.samples:
            return self._cap
        self._cap_at = cost.samples
        most = float(self._limits.max_rows)
        if cost.b_s > 0:
            gain = (cost.a_s + _HANDOVER_S) / cost.b_s * _GAINED / (1 - _GAINED)
            most = min(most, gain, cost.rows_within(self._limits.deadline_s / 2))
        self._cap = max(1, math.ceil(most)) if self.together else 1
        return self._cap

    def _tried(self, cap: int) -> int:
        """The cap of the next batch: now and then a larger one, where the limits and half the deadline allow it."""
        if self.backlog.rows <= cap:
            return cap
        self._until_try -= 1
        if self._until_try > 0:
            return cap
        self._until_try = _TRY_EVERY
        within = self.cost.rows_within(self._limits.deadline_s / 2)
        return int(max(cap, min(cap * _TRY_ROWS, self._limits.max_rows, within)))

    def wait_s(self, rows: int, jobs: int, now_s: float) -> float:
        """When a job behind so many rows of so many jobs would be run: the rest of the running batch, and all before."""
        return self._rest_s(now_s) + self._ahead_s(rows, jobs)

    def overloaded(self, wait_s: float) -> TemporaryError:
        """The refusal of a job that would wait so long."""
        retry_s = max(wait_s, _HANDOVER_S) * random.uniform(1.0, 2.0)
        return TemporaryError(
            "overloaded", "too many requests wait for this model", "try again later", retry_after_s=retry_s
        )

    def _begin(self, jobs: list[Job], now_s: float) -> Batch:
        rows = sum([job.rows for job in jobs])
        batch = Batch(jobs, rows)
        batch.started_s = now_s
        batch.deadline_s = max([job.deadline_s for job in jobs])
        batch.predicted_s = self.cost.seconds(rows)
        self.running = batch
        self._free_run = None
        return batch

    def _rest_s(self, now_s: float) -> float:
        """What is left of the running batch. One that is late by some time is taken to need as much again."""
        if self.running is None:
            return 0.0
        return abs(self.running.started_s + self.running.predicted_s - now_s)

    def _ahead_s(self, rows: int, jobs: int) -> float:
        """The time of all full batches ahead; the rest shares the new job's own batch."""
        if not self.together:
            return jobs * self.cost.a_s + rows * self.cost.b_s
        cap = self.most_rows()
        return rows // cap * self.cost.seconds(cap)

    def _in_time(self, job: Job, wait_s: float, rows: int, now_s: float) -> bool:
        if wait_s > self._limits.queue_s:
            return False
        own = job.rows + rows % self.most_rows() if self.together else job.rows
        rest_s = self._rest_s(now_s)
        needs_s = _MARGIN * (rest_s + self.cost.seconds(own)) + _AHEAD_MARGIN * (wait_s - rest_s)
        return now_s + needs_s <= job.deadline_s

    def _less_deserving(self, job: Job, now_s: float) -> Job | None:
        """The job to put out for this one: the newest of the caller with the most rows, where the caller of this one
        has less than its share and would be served in time."""
        backlog = self.backlog
        own = backlog.rows_of(job.caller) + job.rows
        callers = backlog.callers + (own == job.rows)
        if callers == 1 or own * callers > backlog.rows:
            return None
        # In the worst case every other caller has as much before it.
        ahead = min(backlog.rows, own * callers)
        if not self._in_time(job, self.wait_s(ahead, min(backlog.jobs, ahead), now_s), ahead, now_s):
            return None
        return backlog.newest_of_longest(own)

"""How jobs get their answers, and what is counted of them; shared by the two lanes of one predictor."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol

import numpy as np

from seaway.core.answers import AnswerSpec
from seaway.core.errors import SeawayError
from seaway.core.tensors import Array, Tensors
from seaway.engine import batches
from seaway.engine.batches import Batch
from seaway.engine.facts import Counts
from seaway.engine.jobs import Job, Screen

_MOST_BATCHES: Final = 8192


class Rows(Protocol):
    """A request, as far as its rows are counted."""

    @property
    def rows(self) -> int: ...


class Given:
    """What a model has answered since the recorder last took it: exact, and kept by the batch, which costs next to nothing.

    On the event loop's thread only. Where nobody takes it, it stops growing and counts on.
    """

    __slots__ = ("_answer", "answers", "invalid", "rows", "unread")

    def __init__(self, answer: AnswerSpec | None) -> None:
        self._answer = None if answer is None else answer.output
        self.answers: list[Array] = []
        """The output that holds the answer, `(rows, …)`, of each batch."""
        self.rows = 0
        self.unread = 0
        """Of the rows, those that `answers` does not hold."""
        self.invalid = 0
        """Requests with an answer that is none: NaN or infinite."""

    def add(self, outputs: Tensors, jobs: Sequence[Rows]) -> None:
        """A batch was answered."""
        found = None if self._answer is None else outputs.get(self._answer)
        if found is None:
            self.rows += sum([job.rows for job in jobs])
            return
        if not found.ndim:  # one answer for all rows: not what its Signature says
            self.rows += 1
            self.unread += 1
            return
        rows = len(found)
        self.rows += rows
        if len(self.answers) < _MOST_BATCHES:
            self.answers.append(found)
        else:
            self.unread += rows
        if found.dtype.kind == "f" and not np.isfinite(found).all():
            self.invalid += _invalid(found, jobs)

    def take(self) -> tuple[list[Array], int, int, int]:
        """Answers, rows, unread rows and invalid requests since the last time."""
        taken = self.answers, self.rows, self.unread, self.invalid
        self.answers, self.rows, self.unread, self.invalid = [], 0, 0, 0
        return taken


def _invalid(found: Array, jobs: Sequence[Rows]) -> int:
    """How many of these jobs, whose rows these are in order, have one that is not finite."""
    finite = np.asarray(np.isfinite(found), dtype=np.bool_)
    if len(jobs) == 1:
        return 1
    bad = np.asarray(~finite.reshape(len(found), -1).all(axis=1), dtype=np.bool_)
    ends = np.cumsum([job.rows for job in jobs])
    return sum(bool(bad[end - job.rows : end].any()) for job, end in zip(jobs, ends.tolist(), strict=True))


class Answers:
    """Calls `job.done` once for each job that still waits; on the event loop's thread only."""

    __slots__ = ("_screen", "counts", "given")

    def __init__(self, screen: Screen, answer: AnswerSpec | None = None) -> None:
        """`answer` says which output is the model's answer, for `given`."""
        self.counts = Counts()
        self.given = Given(answer)
        self._screen = screen

    def settle(self, batch: Batch) -> None:
        """Answer the jobs of an executed batch, except those that were answered or cancelled while it ran."""
        counts = self.counts
        started_s, took_s, rows, cpu_s = batch.started_s, batch.took_s, batch.rows, batch.cpu_s
        counts.ran(rows, took_s)
        if batch.crashed:
            self._screen.crashed(batch.crashed)
        outputs = batch.outputs
        for job in batch.jobs:
            if job.cancelled or job.error is not None:
                outputs = None
                break
        if outputs is not None:
            self.given.add(outputs, batch.jobs)
        else:  # who got no answer, or had his error before, is not counted as answered
            for job, result in zip(batch.jobs, batch.results, strict=True):
                if not (isinstance(result, SeawayError) or job.cancelled or job.error is not None):
                    self.given.add(result, (job,))
        for job, result in zip(batch.jobs, batch.results, strict=True):
            job.queue_s = queue_s = started_s - job.received_s
            counts.waited(queue_s)
            if job.cancelled or job.error is not None:
                continue
            job.batch_rows = rows
            job.run_s = took_s
            job.batch_cpu_s = cpu_s
            if isinstance(result, SeawayError):
                job.error = result
            else:
                job.outputs = result
            self._done(job)

    def fail(self, job: Job, error: SeawayError) -> None:
        """Answer a job with an error, unless it was cancelled."""
        if not job.cancelled:
            job.error = error
            self._done(job)

    def drop(self, job: Job, error: SeawayError | None) -> None:
        """Let go of a job unrun: with its refusal, or None where it was cancelled.

        The answer is given in the next tick, so that it never runs inside the submission of another job.
        """
        if error is None:
            return
        if error.code == "overloaded":
            self.counts.refused += 1
        else:
            self.counts.dropped_late += 1
        asyncio.get_running_loop().call_soon(self.fail, job, error)

    def late(self, job: Job) -> None:
        """Answer a job whose deadline passed before it ran."""
        self.counts.dropped_late += 1
        self.fail(job, batches.late(job))

    def _done(self, job: Job) -> None:
        try:
            job.done(job)
        except Exception as fault:  # noqa: BLE001 - an edge: a fault in one answer must not keep others from theirs
            asyncio.get_running_loop().call_exception_handler(
                {"message": "an answer could not be given", "exception": fault}
            )

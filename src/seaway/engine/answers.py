"""How jobs get their answers, and what is counted of them; shared by the two lanes of one predictor."""

from __future__ import annotations

import asyncio

from seaway.core.errors import SeawayError
from seaway.engine import batches
from seaway.engine.batches import Batch
from seaway.engine.facts import Counts
from seaway.engine.jobs import Job, Screen


class Answers:
    """Calls `job.done` once for each job that still waits; on the event loop's thread only."""

    __slots__ = ("_screen", "counts")

    def __init__(self, screen: Screen) -> None:
        self.counts = Counts()
        self._screen = screen

    def settle(self, batch: Batch) -> None:
        """Answer the jobs of an executed batch, except those that were answered or cancelled while it ran."""
        counts = self.counts
        started_s, took_s, rows, cpu_s = batch.started_s, batch.took_s, batch.rows, batch.cpu_s
        counts.ran(rows, took_s)
        if batch.crashed:
            self._screen.crashed(batch.crashed)
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

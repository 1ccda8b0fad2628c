"""Several jobs run as one batch: their rows put together, the outputs taken apart, failures kept to their own job.

Called by both lanes. `Executor.execute` blocks, and is the only place where a model is called to answer requests.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable, Sequence

import numpy as np

from seaway.core.bundles import Digest
from seaway.core.errors import PermanentError, SeawayError, TemporaryError
from seaway.core.ports import Clock, LoadedModel
from seaway.core.tensors import Array, Signature, Tensors
from seaway.engine.jobs import Job, Watcher


class Batch:
    """Jobs that run together, and what became of them: `results` has one entry for each job, in order.

    A plain class with slots: one is made per execution.
    """

    __slots__ = (
        "cpu_s",
        "crashed",
        "cut_off",
        "deadline_s",
        "jobs",
        "mixed",
        "outputs",
        "predicted_s",
        "results",
        "rows",
        "runs",
        "started_s",
        "took_s",
    )

    def __init__(self, jobs: list[Job], rows: int) -> None:
        self.jobs = jobs
        self.rows = rows
        self.results: Sequence[Tensors | SeawayError] = ()
        self.outputs: Tensors | None = None
        """Of all jobs together, where they ran as one."""
        self.deadline_s = 0.0
        """When nobody waits any more."""
        self.predicted_s = 0.0
        self.started_s = 0.0
        self.took_s = 0.0
        self.cpu_s = 0.0
        self.runs = 0
        """How often the model was called: 1, or one more for each job that then ran by itself."""
        self.cut_off = False
        """A run that its deadline ended."""
        self.crashed: list[Job] = []
        """The jobs of the run in which the model's process ended."""
        self.mixed = False
        """An output's first axis is not the rows: this model cannot run batches."""


def shape_key(signature: Signature) -> Callable[[Job], Hashable]:
    """What jobs must agree in to share a batch: all axes but the first. The same for all where none of them is free."""
    names = [spec.name for spec in signature.inputs if -1 in spec.shape[1:]]
    if not names:
        return lambda job: None
    return lambda job: tuple([job.tensors[name].shape[1:] for name in names])


def batchable(signature: Signature) -> bool:
    """Whether the Signature says that rows can be put together, and that the outputs have a row for each."""
    return signature.batched and all(spec.shape[:1] == (-1,) for spec in signature.outputs)


def gather(jobs: Sequence[Job]) -> Tensors:
    """The rows of all jobs, in order, under each input's name."""
    return {name: np.concatenate([job.tensors[name] for job in jobs]) for name in jobs[0].tensors}


def scatter(outputs: Tensors, jobs: Sequence[Job], rows: int) -> list[Tensors] | None:
    """Each job's own rows as views; None where an output's first axis is not the rows."""
    for array in outputs.values():
        if array.shape[:1] != (rows,):
            return None
    parts: list[Tensors] = []
    start = 0
    for job in jobs:
        end = start + job.rows
        own: dict[str, Array] = {name: array[start:end] for name, array in outputs.items()}
        parts.append(own)
        start = end
    return parts


def late(job: Job) -> TemporaryError:
    """The answer of a job whose deadline has passed."""
    allowed_s = job.deadline_s - job.received_s
    return TemporaryError("deadline_exceeded", f"no answer within the endpoint's deadline of {allowed_s:g} s")


class Executor:
    """Calls one model for batches, on whatever thread, and tells the watcher of every call."""

    __slots__ = ("_clock", "_digest", "_model", "_watcher")

    def __init__(self, model: LoadedModel, digest: Digest, clock: Clock, watcher: Watcher) -> None:
        self._model = model
        self._digest = digest
        self._clock = clock
        self._watcher = watcher

    def execute(self, batch: Batch, stop_s: float = math.inf) -> None:
        """Run the batch and fill in its results, the times of its first run, and what was found out. Never raises.

        A batch that fails is run again job by job, so that one bad row fails its own request only. `stop_s` ends a
        run before its deadline.
        """
        jobs = batch.jobs
        batch.started_s = started_s = self._clock.monotonic_s()
        cpu_s = time.thread_time()
        found = self._run(jobs, min(batch.deadline_s - started_s, stop_s))
        batch.cpu_s = time.thread_time() - cpu_s
        batch.took_s = self._clock.monotonic_s() - started_s
        batch.runs = 1
        if not isinstance(found, SeawayError):
            parts = [found] if len(jobs) == 1 else scatter(found, jobs, batch.rows)
            if parts is not None:
                batch.results = parts
                batch.outputs = found
                return
            batch.mixed = True
        elif isinstance(found, TemporaryError) or len(jobs) == 1:
            batch.cut_off = found.code == "deadline_exceeded"
            if found.code == "engine_crashed":
                batch.crashed = jobs
            batch.results = [found] * len(jobs)
            return
        batch.results = [self._alone(batch, job) for job in jobs]

    def _alone(self, batch: Batch, job: Job) -> Tensors | SeawayError:
        left_s = job.deadline_s - self._clock.monotonic_s()
        if left_s <= 0 or job.cancelled:
            return late(job)
        batch.runs += 1
        found = self._run((job,), left_s)
        if isinstance(found, SeawayError) and found.code == "engine_crashed":
            batch.crashed.append(job)
        return found

    def _run(self, jobs: Sequence[Job], timeout_s: float) -> Tensors | SeawayError:
        place = self._watcher.enter(self._digest)
        try:
            found = self._model.predict(jobs[0].tensors if len(jobs) == 1 else gather(jobs), timeout_s)
            for array in found.values():
                array.shape  # noqa: B018 - what is no array is found out here and not by those who take it apart
            return found
        except SeawayError as error:
            return error
        except Exception as error:  # noqa: BLE001 - the lane's edge: a fault of one runtime must not end it for all
            fault = PermanentError(
                "internal", f"the runtime failed: {type(error).__name__}", "see the worker's log"
            )
            fault.__cause__ = error
            return fault
        finally:
            self._watcher.leave(place)

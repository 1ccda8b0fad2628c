"""One request on its way through a model: what the doors hand to the predictor, and what they get back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from seaway.core.bundles import Digest
from seaway.core.errors import SeawayError
from seaway.core.tensors import Tensors


class Job:
    """The input tensors of one request, and in the end its outputs or its error.

    `received_s` is when the request came, on the clock's monotonic scale; `caller` is whom fairness counts it for;
    `done` is called once, on the event loop's thread, unless the job was cancelled before. A plain class with slots:
    one is made per request.
    """

    __slots__ = (
        "alone",
        "batch_cpu_s",
        "batch_rows",
        "caller",
        "cancelled",
        "checked",
        "deadline_s",
        "done",
        "error",
        "outputs",
        "queue_s",
        "received_s",
        "rows",
        "run_s",
        "tensors",
    )

    def __init__(
        self,
        tensors: Tensors,
        received_s: float,
        done: Callable[[Job], None],
        caller: str = "",
        checked: bool = False,
    ) -> None:
        """`checked` says that the door has refused missing values already: JSON cannot carry NaN."""
        self.tensors = tensors
        self.received_s = received_s
        self.done = done
        self.caller = caller
        self.checked = checked
        self.rows = 1
        self.deadline_s = 0.0
        self.alone = False
        self.cancelled = False
        self.outputs: Tensors | None = None
        self.error: SeawayError | None = None
        self.batch_rows = 0
        """Rows of the batch that it ran in; 0 where it did not run."""
        self.batch_cpu_s = 0.0
        self.queue_s = 0.0
        self.run_s = 0.0

    @property
    def cpu_s(self) -> float:
        """Its rows' share of the processor time that its batch took in the model."""
        return self.batch_cpu_s * self.rows / self.batch_rows if self.batch_rows else 0.0

    def begin_again(self) -> None:
        """It was submitted to another predictor, after one that failed: forget what that one made of it."""
        self.error = None
        self.outputs = None
        self.batch_rows = 0
        self.batch_cpu_s = self.queue_s = self.run_s = 0.0

    def cancel(self) -> None:
        """Nobody waits any more: it is dropped unrun if it still waits, and `done` is not called."""
        self.cancelled = True


class Watcher(Protocol):
    """Told of every execution in this process, so that whoever finds the process dead knows what ran."""

    def enter(self, digest: Digest) -> int:
        """A run begins; returns its place. Any thread; costs about a microsecond."""

    def leave(self, place: int) -> None:
        """The run at this place has ended."""


class Screen(Protocol):
    """Keeps requests away from a model whose process they have ended before."""

    def admit(self, job: Job) -> None:
        """Raises `UserError("quarantined")`; sets `job.alone` for a suspect, so that blame falls on one request."""

    def crashed(self, jobs: Sequence[Job]) -> None:
        """The model's process ended while it ran these jobs as one batch."""


class Unwatched:
    """A Watcher where nobody looks."""

    def enter(self, digest: Digest) -> int:
        return 0

    def leave(self, place: int) -> None: ...


class Unscreened:
    """A Screen that lets everything through."""

    def admit(self, job: Job) -> None: ...

    def crashed(self, jobs: Sequence[Job]) -> None: ...


class Learned(msgspec.Struct, frozen=True):
    """What a predictor has found out about its model; handed to the next process that runs it.

    A batch of n rows takes a_s + b_s·n seconds. A model that once held the event loop is not `inline_allowed` again,
    and one that left the inline lane so many times, perhaps for noise, stays away longer each time; one whose
    outputs have no row for each input row is not `batchable`.
    """

    a_s: float = 0.0
    b_s: float = 0.0
    samples: int = 0
    inline_allowed: bool = True
    batchable: bool = True
    inline_left: int = 0

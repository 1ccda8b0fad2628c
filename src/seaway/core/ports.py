"""What Seaway asks of the outside: each port has a conformance suite in `seaway.testing` that every adapter passes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol, runtime_checkable

import msgspec

from seaway.core.bundles import OpenedBundle, Task
from seaway.core.deployments import DeploymentState, Revision
from seaway.core.events import Event, NewEvent
from seaway.core.tables import Table
from seaway.core.tensors import Signature, Tensors


class Clock(Protocol):
    """Time, so that nothing reads it by itself."""

    def now_s(self) -> float:
        """Seconds since 1970-01-01 UTC; may jump when the machine's clock is set."""

    def monotonic_s(self) -> float:
        """Seconds from an arbitrary start; never goes back."""


class LoadedModel(Protocol):
    """A model in memory."""

    @property
    def signature(self) -> Signature: ...

    def predict(self, inputs: Tensors, timeout_s: float | None = None) -> Tensors:
        """Outputs by name, in the Signature's datatypes. `inputs` have passed `check_inputs`.

        Thread-safe and blocking. Stops by itself after `timeout_s` with `TemporaryError("deadline_exceeded")`.
        Raises `PermanentError("execution_failed")` where the model itself fails.
        """

    def close(self) -> None:
        """Give the memory back. Idempotent."""


@runtime_checkable
class StreamingModel(Protocol):
    """A LoadedModel that can also give its answer piece by piece."""

    def stream(self, inputs: Tensors, timeout_s: float | None = None) -> Iterator[Tensors]:
        """Replies one after the other, each outputs by name; every `next` blocks while one is made.

        `inputs` have passed `check_inputs`. Closing the iterator ends the work; `timeout_s` is for each reply, and
        past it `TemporaryError("deadline_exceeded")` is raised. One iterator belongs to one thread at a time.
        """


class Runtime(Protocol):
    """Loads bundles of the formats it names."""

    formats: Sequence[str]

    def load(self, bundle: OpenedBundle) -> LoadedModel:
        """Blocking. Raises `UserError("invalid_model")` where the file is no model that this runtime can run."""


class Candidate(Protocol):
    """One way to convert a source, such as with float32 or float64 arithmetic."""

    label: str
    onnx: bytes
    signature: Signature


class SourceModel(Protocol):
    """A live model of some framework: it can be converted, and it is what parity is measured against."""

    kind: str
    description: str
    versions: Mapping[str, str]
    task: Task
    classes: Sequence[str | int]

    def align(self, table: Table) -> Table:
        """The columns that the model takes, by its names and in its order. Raises `UserError("invalid_data")`."""

    def candidates(self, sample: Table) -> Iterator[Candidate]:
        """Conversions to try, the preferred first; made one at a time. `sample` is aligned.

        A candidate that cannot be made is left out; raises `UserError("unsupported_model")` where none can.
        """

    def predict(self, table: Table) -> Tensors:
        """The source's own answers to an aligned table, under the names of the candidates' outputs."""


class Converter(Protocol):
    """Opens the sources of one framework."""

    kind: str

    def open(self, source: object) -> SourceModel | None:
        """The source as a model, or None where it is not of this framework. `source` is a live object or a `Path`."""


class Idempotency(msgspec.Struct, frozen=True):
    """A caller's promise that two requests are one: `body_hash` tells whether they say the same."""

    key: str
    principal: str
    body_hash: str


class Change(msgspec.Struct, frozen=True):
    """One change of one endpoint, stored whole or not at all.

    `state` is the new state, whose generation is one above the stored one; a generation of 1 means that the endpoint
    must not exist yet. `revision` is new with it. `result` is what a repeated request with the same idempotency key
    is answered. Without a state, only events (a refused action) or the result (nothing to change) are stored.
    """

    events: tuple[NewEvent, ...]
    state: DeploymentState | None = None
    revision: Revision | None = None
    idempotency: Idempotency | None = None
    result: bytes = b""


class StateStore(Protocol):
    """Deployments, revisions and events. All methods block and are thread-safe.

    Raises `TemporaryError("store_unavailable")` where the database does not answer, `PermanentError("disk_full")`.
    """

    def claim(self) -> None:
        """Have this store for this process alone until `close`; whoever reconciles with it calls this first.

        Idempotent; may wait some seconds. Raises `UserError("already_running")` where another process has it. A
        claim that is lost later (its connection broke) makes every method raise `TemporaryError("store_unavailable")`
        until it is taken again, which each of them tries.
        """

    def states(self) -> tuple[DeploymentState, ...]:
        """Every endpoint that ever was, deleted ones too, by name."""

    def state(self, endpoint: str) -> DeploymentState | None: ...

    def revisions(self, endpoint: str) -> tuple[Revision, ...]:
        """By number; empty for an unknown endpoint."""

    def revision(self, endpoint: str, number: int) -> Revision | None: ...

    def apply(self, change: Change) -> tuple[Event, ...]:
        """Store a change, durable when this returns, and answer its events with their numbers.

        Raises `UserError("generation_conflict")` unless `change.state.generation` is one above the stored one, and
        `UserError("idempotency_conflict")` where the key of `change.idempotency` is taken, by whatever body: a caller
        that lost a race reads `remembered` again.
        """

    def remembered(self, idempotency: Idempotency) -> bytes | None:
        """The result stored under this key, None if it is new.

        Raises `UserError("idempotency_conflict")` where the key was used with another body.
        """

    def events(self, after: int = 0, endpoint: str | None = None, limit: int = 1000) -> tuple[Event, ...]:
        """Events with `seq` above `after`, oldest first; of one endpoint or of all."""

    def last_seq(self) -> int:
        """The number of the newest event, 0 if there is none."""

    def close(self) -> None:
        """Idempotent."""


class TableReader(Protocol):
    """Reads the data files of one binary format."""

    magic: bytes
    """What every file of the format begins with."""

    def read(self, path: str) -> Table:
        """Blocking. Raises `UserError` (`invalid_data`, `missing_extra`)."""

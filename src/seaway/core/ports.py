"""What Seaway asks of the outside: each port has a conformance suite in `seaway.testing` that every adapter passes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from seaway.core.bundles import OpenedBundle, Task
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

    def candidates(self, sample: Table) -> Iterator[Candidate]:
        """Conversions to try, the preferred first; made one at a time. Raises `UserError("unsupported_model")`."""

    def predict(self, table: Table) -> Tensors:
        """The source's own answers, under the names of the candidates' outputs."""


class Converter(Protocol):
    """Opens the sources of one framework."""

    kind: str

    def open(self, source: object) -> SourceModel | None:
        """The source as a model, or None where it is not of this framework. `source` is a live object or a `Path`."""

"""What a gate looks at: the candidate, its model in memory, and what was found out about it, each found out once."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from seaway.bundle import asking, datafiles
from seaway.core import tables
from seaway.core.bundles import OpenedBundle
from seaway.core.checks import Measurement
from seaway.core.errors import TemporaryError, UserError
from seaway.core.ports import Clock, LoadedModel, Runtime
from seaway.core.tables import Table
from seaway.core.tensors import Array, Signature, Tensors, placeholder_inputs
from seaway.engine import memory
from seaway.validate import answers, bootstrap
from seaway.validate.answers import Answers
from seaway.validate.bootstrap import Estimate
from seaway.validate.metrics import Judged

T = TypeVar("T")
PROBE_ROWS: Final = 64


class Deadlines(msgspec.Struct, frozen=True):
    """How long a gate waits for one load, and for one prediction of at most 512 rows.

    `grace_s` is what a runtime that stops by itself gets on top, before the gate goes on without it.
    """

    load_s: float = 120.0
    predict_s: float = 30.0
    grace_s: float = 5.0


class Subject:
    """One bundle under examination. Not thread-safe; `close` gives its model back."""

    def __init__(
        self,
        bundle: OpenedBundle,
        runtime: Runtime,
        clock: Clock,
        deadlines: Deadlines,
    ) -> None:
        self.bundle = bundle
        self.manifest = bundle.manifest
        self.clock = clock
        self.deadlines = deadlines
        self.memory: Measurement | None = None
        self.load_s: float | None = None
        self._runtime = runtime
        self._model: LoadedModel | None = None
        self._hung = False
        self._probe: Tensors | None = None
        self._golden: Table | None = None
        self._judged: Judged | None = None
        self._estimates: dict[str, Estimate] | None = None

    @property
    def signature(self) -> Signature:
        return self.manifest.signature

    @property
    def asked_blindly(self) -> bool:
        """Whether the model loaded, and only zeros could be asked of it, since it came without a sample."""
        return self._model is not None and self._probe is None

    def load(self) -> LoadedModel:
        """Load the model, measuring how much this process grew. Raises what the runtime raises, and `deadline_exceeded`."""
        if self._model is None:
            probe = self.probe_inputs()  # read before, so that its memory is not counted as the model's
            gc.collect()
            before, started = memory.resident_bytes(), self.clock.monotonic_s()
            model = self.guarded(lambda: self._runtime.load(self.bundle), self.deadlines.load_s)
            self._model = model
            self.load_s = self.clock.monotonic_s() - started
            self.predict(placeholder_inputs(self.signature) if probe is None else probe)
            grown = max(0, memory.resident_bytes() - before)
            self.memory = Measurement("memory_mb", grown / 2**20, n=1, unit="MB")
        return self._model

    def predict(self, inputs: Tensors) -> Tensors:
        """One prediction under the gate's deadline."""
        model = self._loaded()
        return self.guarded(lambda: model.predict(inputs, self.deadlines.predict_s), self.deadlines.predict_s)

    def ask(self, table: Table) -> dict[str, Array]:
        """The outputs for all rows of a table."""
        model = self._loaded()
        parts = 1 + table.rows // asking.rows_at_once(self.signature)
        return self.guarded(
            lambda: asking.predict(model, self.signature, table, self.deadlines.predict_s),
            self.deadlines.predict_s * parts,
        )

    def sample(self) -> Table | None:
        """Rows that the model should be able to answer: the sample, else the golden rows; None without either."""
        if self.manifest.sample is not None:
            return datafiles.read_table(Path(self.bundle.directory) / self.manifest.sample)
        golden = self.manifest.golden
        return None if golden is None else self.golden().without(golden.target)

    def probe_inputs(self) -> Tensors | None:
        """The input tensors of a few sample rows, None without a sample."""
        if self._probe is None:
            sample = self.sample()
            if sample is None or sample.rows == 0:
                return None
            rows = PROBE_ROWS if self.signature.batched else asking.rows_at_once(self.signature)
            self._probe = tables.table_to_tensors(sample.take(slice(0, rows)), self.signature)
        return self._probe

    def golden(self) -> Table:
        """The golden set with its target. Raises `UserError("invalid_data")` where there is none, or it is empty."""
        if self._golden is None:
            golden = self.manifest.golden
            if golden is None:
                raise UserError("invalid_data", "the version has no golden set", "package it with --golden")
            table = datafiles.read_table(Path(self.bundle.directory) / golden.path)
            if golden.target not in table.columns:
                raise UserError("invalid_data", f"the golden set lacks its target {golden.target!r}")
            if table.rows == 0:
                raise UserError("invalid_data", "the golden set has no rows")
            self._golden = table
        return self._golden

    def truth(self) -> Array:
        """The golden set's column of truth, `(rows,)`."""
        golden = self.manifest.golden
        if golden is None:
            raise UserError("invalid_data", "the version has no golden set", "package it with --golden")
        return self.golden().columns[golden.target]

    def answer(self, table: Table) -> Answers:
        """What this version answers for the rows of a table (which may hold columns that it does not need)."""
        return answers.read(self.manifest, self.ask(table))

    def judged(self) -> Judged:
        """Golden answers beside the truth."""
        if self._judged is None:
            golden = self.manifest.golden
            table = self.golden()
            found = self.answer(table.without(golden.target) if golden else table)
            self._judged = answers.judge(found, self.truth())
        return self._judged

    def estimates(self) -> dict[str, Estimate]:
        """The golden metrics with their intervals."""
        if self._estimates is None:
            self._estimates = bootstrap.intervals(self.judged())
        return self._estimates

    def sibling(self, bundle: OpenedBundle, runtime: Runtime) -> Subject:
        """Another version under the same clock, reader and deadlines."""
        return Subject(bundle, runtime, self.clock, self.deadlines)

    def close(self) -> None:
        if self._model is not None and not self._hung:
            self._model.close()
        self._model = None

    def _loaded(self) -> LoadedModel:
        return self._model if self._model is not None else self.load()

    def guarded(self, call: Callable[[], T], seconds: float) -> T:
        """A call of the model under a deadline. After one that never came back, all later ones are refused."""
        if self._hung:
            raise TemporaryError("deadline_exceeded", "not asked again: the model did not come back before")
        try:
            return within(seconds + self.deadlines.grace_s, call)
        except _Hung:
            self._hung = True
            raise


class _Hung(TemporaryError):
    """The call is still running in its thread, and cannot be stopped from here."""


def within(seconds: float, call: Callable[[], T]) -> T:
    """What `call` gives, or `TemporaryError("deadline_exceeded")` after so many seconds.

    A call that does not come back keeps its (daemon) thread: whoever runs a gate should be a process that ends.
    """
    outcome: list[T] = []
    raised: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(call())
        except BaseException as error:  # noqa: BLE001 - carried over to the waiting thread and raised there
            raised.append(error)

    thread = threading.Thread(target=run, name="seaway-gate", daemon=True)
    thread.start()
    thread.join(seconds)
    if raised:
        raise raised[0]
    if not outcome:
        raise _Hung("deadline_exceeded", f"no answer within {seconds:g} s")
    return outcome[0]

"""Provenance: what is kept of single requests, to explain one (`seaway explain`) and to join many with their outcomes.

`monitor.provenance.sink` keeps it, `monitor.provenance.files` reads it, `control`, `cli` and feedback use what is read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from seaway.core.records import Chosen

SLICES: Final = 4
"""Values of so many of `RecordRules.slices` are kept with each row; the columns after them are left out."""
OVERFLOW: Final = "…"
"""Stands for every text beyond what a segment's table of names holds."""


class AnsweredBy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The revision that answered; `slices` names the columns whose values are kept with each row."""

    endpoint: str
    revision: int
    digest: str
    ref: str = ""
    slices: tuple[str, ...] = ()


class AnsweredRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One answered row: a class by its name (as `core.answers` reads it), or a number.

    `slices` are the values of `AnsweredBy.slices`, "" where a row had none.
    """

    answer: str | float
    confidence: float | None = None
    slices: tuple[str, ...] = ()


class Outcome(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What came true of one row of a request, as feedback told it, `at_s` since 1970."""

    row: int
    outcome: str | float
    at_s: float


class RolloutThen(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The rollout that sent a request to its revision: the candidate's number, and its share in percent at that time.

    `flags` are, of a request that a flag sent, those that lead to the same revision.
    """

    candidate: int
    stable: int
    percent: float
    flags: tuple[str, ...] = ()


class Explanation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is known of one request.

    `at_s` (since 1970) is when it ended, `took_s` runs from its receipt until then, `queue_s` and `run_s` are parts of
    it, `cpu_s` is its rows' share of the batch's processor time. `rate` is the share of requests that was drawn when it
    was (those that failed with 5xx are all kept). `rows_kept` of its `rows` have their answers kept; `answers` are the
    first of these. `outcomes` are those that feedback told. `chosen` says why the revision of `by` got the request; None
    where that was not kept yet. `rollout` is the one that chose it, where the history still tells.
    """

    request_id: str
    trace_id: str | None
    at_s: float
    by: AnsweredBy
    door: str
    slot: int
    pid: int
    code: str
    caller: str
    rows: int
    batch_rows: int
    queue_s: float
    run_s: float
    cpu_s: float
    took_s: float
    rate: float
    chosen: Chosen | None = None
    rollout: RolloutThen | None = None
    rows_kept: int = 0
    answers: tuple[AnsweredRow, ...] = ()
    outcomes: tuple[Outcome, ...] = ()


OutcomesOf: TypeAlias = Callable[[AnsweredBy, str], tuple[Outcome, ...]]
"""The outcomes known of a request id of an endpoint; blocking. Feedback has it, wiring passes it in."""


class Kept(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much is kept: of all requests that ended since `complete_since_s`, `kept` of `seen` (sampled, see `rate`),
    but for what `killed` says.

    `complete_since_s` is None where nothing was ever recorded; older requests may be gone.
    """

    complete_since_s: float | None
    seen: int
    kept: int
    space_bytes: int
    segments: int
    damaged: int = 0
    """Segments that cannot be read, and are left out."""
    killed: int = 0
    """Workers that were killed while they wrote: of each, up to the last two seconds are missing, and in no count."""
    killed_at_s: float | None = None
    """When the last request ended that the latest of them kept."""

    @property
    def rate(self) -> float:
        return self.kept / self.seen if self.seen else 1.0


class Explained(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The requests of one id, the newest first (a client's retries share one), and how much is kept of all."""

    requests: tuple[Explanation, ...]
    kept: Kept


class Joined(msgspec.Struct, frozen=True):
    """What was answered to each of n request ids, as columns: a million of them are joined in about two seconds.

    `by[i]` is the place of request i's revision in `subjects`, -1 where the request is not kept (then nothing else is
    said of it). Its kept rows are `first[i]` to `first[i] + rows[i]` of the columns below (m rows in all; the same id
    asked twice shares them); `rows` is 0 where it failed, or where its answers are of no kind that is kept. A class has
    its place in `texts` in `classes` and NaN in `numbers`; a number has -1 in `classes`. `slices` `(m, SLICES)` are
    places in `texts` in the order of `AnsweredBy.slices`, -1 where there is none. A missing confidence is NaN. `units[i]`
    says whether request i was a unit of a rollout's verdicts (`core.ledger.Second.units`).
    """

    subjects: tuple[AnsweredBy, ...]
    texts: tuple[str, ...]
    by: npt.NDArray[np.int32]
    at_s: npt.NDArray[np.float64]
    rate: npt.NDArray[np.float64]
    units: npt.NDArray[np.bool_]
    first: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    numbers: npt.NDArray[np.float64]
    classes: npt.NDArray[np.int32]
    confidences: npt.NDArray[np.float32]
    slices: npt.NDArray[np.int32]

    def row(self, place: int) -> AnsweredRow:
        """One of the m rows as a value."""
        kind, sure = int(self.classes[place]), float(self.confidences[place])
        found = tuple("" if code < 0 else self.texts[code] for code in self.slices[place].tolist())
        answer = float(self.numbers[place]) if kind < 0 else self.texts[kind]
        return AnsweredRow(answer, None if sure != sure else sure, found)

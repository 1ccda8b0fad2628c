"""What a replay finds: recorded requests run on a candidate offline, beside what was live; made by `validate.replay`."""

from __future__ import annotations

import msgspec

from seaway.core.checks import Verdict


class Share(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`count` of so many; `low` and `high` bound the share at 95 % (Wilson)."""

    count: int
    of: int
    low: float
    high: float

    @property
    def value(self) -> float:
        return self.count / self.of if self.of else 0.0


class MovedRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row whose answer changed. `by` is the difference of numbers, for classes the confidence of the new answer (None
    where the model gives none); `truth` is the outcome where it is known."""

    request_id: str
    row: int
    live: str | float
    candidate: str | float
    by: float | None = None
    truth: str | float | None = None


class SliceMoved(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Requests of one slice: the share that differs, bounded at 95 % over all slices that were looked at together.

    `certain`: it differs more often than requests do on the whole, and that is no chance.
    """

    column: str
    where: str
    requests: int
    share: float
    low: float
    high: float
    certain: bool


class Cost(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Processor time in the model for the same `rows`, asked request by request on this machine."""

    rows: int
    live_s: float
    candidate_s: float

    @property
    def live_per_thousand_s(self) -> float:
        return 1000 * self.live_s / self.rows

    @property
    def candidate_per_thousand_s(self) -> float:
        return 1000 * self.candidate_s / self.rows


class Numbers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How far numbers moved: the means of both, and quantiles of the absolute difference."""

    live_mean: float
    candidate_mean: float
    p50: float
    p90: float
    largest: float


class Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """So many rows that went from one class to another."""

    live: str
    candidate: str
    rows: int


class LabelledPairs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Requests whose outcome is known, one row of each: who of the two was right (for numbers: nearer).

    `verdict` and `reason` are those of the quality check's paired evidence (docs/statistics.md).
    """

    requests: int
    only_live_right: int
    only_candidate_right: int
    verdict: Verdict
    reason: str


class LeftOut(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Requests that say nothing here, and why."""

    why: str
    requests: int


class ReplayReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that one replay found. Times are UTC, ISO 8601.

    `compared_with` says what the candidate's answers stand beside. `differ` counts requests by one drawn row of each, and
    is what the interval is about; `rows_differ` all rows. `failed` requests are those that the candidate could not answer.
    """

    endpoint: str
    candidate: str
    digest: str
    compared_with: str
    first_at: str
    last_at: str
    at: str
    requests: int
    rows: int
    differ: Share
    rows_differ: int
    failed: int
    failures: tuple[LeftOut, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    numbers: Numbers | None = None
    changes: tuple[Change, ...] = ()
    moved: tuple[MovedRow, ...] = ()
    slices: tuple[SliceMoved, ...] = ()
    slices_seen: int = 0
    cost: Cost | None = None
    labelled: LabelledPairs | None = None
    warnings: tuple[str, ...] = ()
    report_version: int = 1

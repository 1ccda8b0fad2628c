"""Check → Measurement → Verdict: one form for the gate before, the analysis during and the alarm after."""

from __future__ import annotations

import enum
import math
import operator
import re
from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from seaway.core.errors import UserError


class Verdict(enum.StrEnum):
    """What a check found: inconclusive is too little evidence, errored a broken check, which says nothing of the model."""

    PASSED = "passed"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"
    ERRORED = "errored"


class Measurement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One number that a check saw. `low` and `high` bound it at `confidence`; `n` is what it was measured on.

    `unit` is "", "s", "ms", "bytes", "MB" or "percent". A value that could not be measured is None.
    """

    metric: str
    value: float | None
    n: int
    low: float | None = None
    high: float | None = None
    confidence: float | None = None
    unit: str = ""


class CheckResult(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one check found. `reason` is one sentence for a person; `missing` says what an inconclusive one lacks."""

    check: str
    verdict: Verdict
    reason: str
    measurements: tuple[Measurement, ...] = ()
    missing: str | None = None


class ReliabilityBin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rows whose stated chance fell into one bin: how many, the mean chance stated, the share that came true."""

    low: float
    high: float
    rows: int
    stated: float
    came_true: float


class GoldenFigures(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the pictures of a report are drawn from; each part is empty where it does not apply.

    `confusion` counts the true class (row) by the answered one (column), in the order of `classes`;
    `residuals` are pairs (answer, answer - truth) of at most a few hundred golden rows.
    """

    rows: int
    classes: tuple[str, ...] = ()
    confusion: tuple[tuple[int, ...], ...] = ()
    reliability: tuple[ReliabilityBin, ...] = ()
    residuals: tuple[tuple[float, float], ...] = ()


class GateReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All checks of one version at one time. `baseline` is the digest it was compared with; `at` is UTC, ISO 8601."""

    digest: str
    ref: str
    verdict: Verdict
    results: tuple[CheckResult, ...]
    at: str
    baseline: str | None = None
    baseline_ref: str | None = None
    figures: GoldenFigures | None = None
    report_version: int = 1

    @property
    def failed_checks(self) -> tuple[str, ...]:
        return tuple(r.check for r in self.results if r.verdict in (Verdict.FAILED, Verdict.ERRORED))


def overall(verdicts: Iterable[Verdict]) -> Verdict:
    """The verdict of a gate: failed beats errored beats inconclusive beats passed."""
    found = set(verdicts)
    for verdict in (Verdict.FAILED, Verdict.ERRORED, Verdict.INCONCLUSIVE):
        if verdict in found:
            return verdict
    return Verdict.PASSED


_OPERATORS: Final[dict[str, Callable[[float, float], bool]]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_REQUIREMENT = re.compile(r"\s*([a-z0-9_]+)\s*(>=|<=|>|<)\s*(\S+)\s*\Z")


class Requirement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A threshold on one metric, written `accuracy>=0.80`."""

    metric: str
    op: str
    bound: float

    @classmethod
    def parse(cls, text: str) -> Requirement:
        """Raises `UserError("invalid_requirement")`."""
        match = _REQUIREMENT.match(text)
        if match is None:
            raise UserError("invalid_requirement", f"{text!r} is not a requirement", "such as accuracy>=0.80")
        try:
            bound = float(match.group(3))
        except ValueError as error:
            raise UserError("invalid_requirement", f"{match.group(3)!r} in {text!r} is no number") from error
        if not math.isfinite(bound):
            raise UserError("invalid_requirement", f"the bound of {text!r} is not finite")
        return cls(metric=match.group(1), op=match.group(2), bound=bound)

    def holds(self, value: float) -> bool:
        return _OPERATORS[self.op](value, self.bound)

    def __str__(self) -> str:
        return f"{self.metric}{self.op}{self.bound:g}"

"""Old against new on the same golden rows: the gate's baseline check and the plan read the same comparison."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final

from seaway.core.bundles import OpenedBundle
from seaway.core.checks import CheckResult, Measurement, Requirement, Verdict
from seaway.core.errors import UserError
from seaway.core.ports import Runtime
from seaway.validate import answers, bootstrap, metrics
from seaway.validate.bootstrap import CONFIDENCE, Estimate
from seaway.validate.metrics import METRICS, Judged, Metric
from seaway.validate.subject import Subject

FEWEST_ROWS: Final = 30
"""Below this many golden rows no difference is called certain."""


def against_baseline(baseline: OpenedBundle, runtime: Runtime) -> Callable[[Subject], CheckResult]:
    """The check `baseline`: is the candidate certainly not worse than the version now live, by more than a margin?

    Judged on the first golden metric that a requirement names, else accuracy or RMSE; the others are shown.
    """

    def check(subject: Subject) -> CheckResult:
        if baseline.digest == subject.bundle.digest:
            return CheckResult("baseline", Verdict.PASSED, f"it is {baseline.ref}, the version now live")
        other = subject.sibling(baseline, runtime)
        try:
            old, new = judged_pair(other, subject)
        finally:
            other.close()
        found = bootstrap.differences(old, new)
        metric = primary_metric(subject.manifest.requirements, found)
        verdict, reason, missing = decide(metric, found[metric.name], _value(old, metric.name), new.rows)
        ordered = sorted(found, key=lambda name: name != metric.name)
        return CheckResult(
            "baseline",
            verdict,
            f"{reason} against {baseline.ref}, {new.rows} rows",
            tuple(_difference(name, found[name], new.rows) for name in ordered),
            missing,
        )

    return check


def judged_pair(old: Subject, new: Subject) -> tuple[Judged, Judged]:
    """Both versions judged on the new version's golden rows, over the same classes.

    Raises `UserError` where the old version lacks an input there, or answers in another way (labels, numbers).
    """
    golden = new.manifest.golden
    table, truth = new.golden(), new.truth()
    asked = table if golden is None else table.without(golden.target)
    old_answers, new_answers = answers.in_common(old.answer(asked), new.answer(asked))
    return answers.judge(old_answers, truth), answers.judge(new_answers, truth)


def primary_metric(requirements: tuple[str, ...], found: Mapping[str, Estimate]) -> Metric:
    """The metric that decides a comparison: the first required one that both versions have, else accuracy or RMSE."""
    for text in requirements:
        try:
            name = Requirement.parse(text).metric
        except UserError:  # its own check says so
            continue
        if name in found and math.isfinite(found[name].value):
            return METRICS[name]
    return METRICS["accuracy" if "accuracy" in found else "rmse"]


def decide(metric: Metric, difference: Estimate, old: float, rows: int) -> tuple[Verdict, str, str | None]:
    """Verdict, reason and what is missing, from new minus old with its interval.

    Failed where the harm is certainly above the margin, passed where it is certainly below, else inconclusive.
    """
    margin = metric.margin * (abs(old) if metric.margin_is_relative else 1.0)
    sign = 1.0 if metric.higher_is_better else -1.0
    change = f"{metric.name} {difference.value:+.4g}"
    if not math.isfinite(difference.value) or difference.low is None or difference.high is None:
        return Verdict.ERRORED, f"{metric.name} is not defined for both versions", None
    gain = sign * difference.value
    worst, best = sorted((sign * difference.low, sign * difference.high))
    change += f" (between {difference.low:+.4g} and {difference.high:+.4g})"
    if rows < FEWEST_ROWS:
        return (
            Verdict.INCONCLUSIVE,
            f"{change}: too few golden rows to be sure of anything",
            f"{FEWEST_ROWS - rows} more golden rows at least",
        )
    if best < -margin:
        return Verdict.FAILED, f"{change}: worse by more than the margin of {margin:.3g}", None
    if worst >= -margin:
        return Verdict.PASSED, f"{change}: not worse by more than the margin of {margin:.3g}", None
    return (
        Verdict.INCONCLUSIVE,
        f"{change}: may or may not be worse by more than the margin of {margin:.3g}",
        _more_rows(gain, worst, best, margin, rows),
    )


def _more_rows(gain: float, worst: float, best: float, margin: float, rows: int) -> str:
    """An interval narrows with the root of the rows: how many it takes until it leaves the margin on one side."""
    distance = gain + margin
    half = gain - worst if distance > 0 else best - gain
    if abs(distance) < 0.05 * half:
        return "the estimate lies on the margin: more rows may not decide it"
    more = math.ceil(rows * (half / distance) ** 2) - rows
    return f"about {max(1, _two_digits(more)):,} more golden rows, if the difference stays as it is"


def _two_digits(number: int) -> int:
    scale = int(10 ** max(0, len(str(abs(number))) - 2))
    return math.ceil(number / scale) * scale


def _value(judged: Judged, metric: str) -> float:
    return metrics.values(judged)[metric]


def _difference(name: str, found: Estimate, rows: int) -> Measurement:
    finite = math.isfinite(found.value)
    return Measurement(
        metric=f"{name}_difference",
        value=found.value if finite else None,
        n=rows,
        low=found.low if finite else None,
        high=found.high if finite else None,
        confidence=CONFIDENCE if finite and found.low is not None else None,
    )

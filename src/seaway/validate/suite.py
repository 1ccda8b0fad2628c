"""The gate: a suite of checks on one version, each with what it measured and its verdict; run by `validate` and `deploy`.

The checks are `loads`, `signature`, `golden`, one per requirement (named as it is written), `baseline`, `latency` and
`memory`. `golden` and `baseline` are left out where there is nothing to judge by. The point estimate decides a
requirement, since that is what its author wrote down; the interval is shown beside it. A check that raises is
`errored` and the others still run, save that nothing else can be known of a version that does not load.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Final, TypeAlias

from seaway.core import checks
from seaway.core.bundles import OpenedBundle
from seaway.core.checks import CheckResult, GateReport, Measurement, Requirement, Verdict
from seaway.core.errors import SeawayError
from seaway.core.ports import Clock, Runtime
from seaway.validate import figures, metrics, probes
from seaway.validate.against import against_baseline
from seaway.validate.bootstrap import CONFIDENCE, Estimate
from seaway.validate.metrics import ClassAnswers
from seaway.validate.subject import Deadlines, Subject

Check: TypeAlias = Callable[[Subject], CheckResult]

_OF_THE_MODEL: Final = ("loads", "signature")  # what raises in these is the model's own fault
_BROKEN: Final = "execution_failed"  # so is this, whatever asked
PROBED: Final = ("latency_p50_ms", "latency_p99_ms", "rows_per_s", "memory_mb", "size_mb")


def requirement_metrics() -> tuple[str, ...]:
    """The metrics that a requirement can name."""
    return (*metrics.METRICS, *PROBED)


def run_gate(
    candidate: OpenedBundle,
    runtime: Runtime,
    clock: Clock,
    baseline: OpenedBundle | None = None,
    deadlines: Deadlines = Deadlines(),  # noqa: B008 - a frozen value
    on_result: Callable[[CheckResult], None] = lambda result: None,
    on_start: Callable[[str], None] = lambda check: None,
) -> GateReport:
    """Run all checks on a candidate, comparing it with `baseline`, the version that is live now, if there is one.

    Blocking, seconds for ordinary models; needs a thread-free caller only in that the memory probe watches this
    whole process. `on_start` is told of each check before it runs, `on_result` after. Raises nothing that a bundle can cause.
    """
    subject = Subject(candidate, runtime, clock, deadlines)
    found: list[CheckResult] = []
    try:
        for name, check in _suite(candidate, baseline, runtime):
            on_start(name)
            result = _run(name, check, subject)
            found.append(result)
            on_result(result)
            if name == "loads" and result.verdict in (Verdict.FAILED, Verdict.ERRORED):
                break
        answered = any(r.check == "golden" and r.measurements for r in found)
        pictures = figures.draw(subject) if answered else None
    finally:
        subject.close()
    return GateReport(
        digest=candidate.digest,
        ref=candidate.ref,
        verdict=checks.overall(result.verdict for result in found),
        results=tuple(found),
        at=datetime.datetime.fromtimestamp(clock.now_s(), datetime.UTC).isoformat(timespec="seconds"),
        baseline=None if baseline is None else baseline.digest,
        baseline_ref=None if baseline is None else baseline.ref,
        figures=pictures,
    )


def _suite(
    candidate: OpenedBundle, baseline: OpenedBundle | None, runtime: Runtime
) -> list[tuple[str, Check]]:
    suite: list[tuple[str, Check]] = [("loads", probes.loads), ("signature", probes.signature)]
    judged = candidate.manifest.golden is not None
    if judged:
        suite.append(("golden", golden))
    suite += [(text, _requirement(text)) for text in candidate.manifest.requirements]
    if judged and baseline is not None:
        suite.append(("baseline", against_baseline(baseline, runtime)))
    suite += [("latency", probes.latency), ("memory", probes.memory)]
    return suite


def _run(name: str, check: Check, subject: Subject) -> CheckResult:
    try:
        return check(subject)
    except SeawayError as error:
        hint = "" if error.hint is None else f" ({error.hint})"
        reason = f"{error.code}: {error.message}{hint}"
        broken = error.code == _BROKEN and name != "baseline"  # there it may be the other version that fails
        if subject.asked_blindly and broken:
            reason = f"an input of zeros breaks the model: {reason}; where it takes no zeros, package with --sample FILE"
        elif subject.asked_blindly and error.code != "deadline_exceeded":
            reason = f"an input of zeros is not answered: {reason}"
            return CheckResult(
                name, Verdict.INCONCLUSIVE, reason, missing="a sample: package with --sample FILE"
            )
        failed = broken or name in _OF_THE_MODEL
        return CheckResult(name, Verdict.FAILED if failed else Verdict.ERRORED, reason)
    except Exception as error:  # noqa: BLE001 - the edge of one check: a broken check must not hide the others
        return CheckResult(name, Verdict.ERRORED, f"the check itself broke: {type(error).__name__}: {error}")


def golden(subject: Subject) -> CheckResult:
    """The golden metrics with their intervals; failed where the model answers with NaN."""
    judged = subject.judged()
    measured = tuple(
        _measurement(name, estimate, judged.rows) for name, estimate in subject.estimates().items()
    )
    undefined = [m.metric for m in measured if m.value is None]
    reason = f"{judged.rows} golden rows"
    if isinstance(judged, ClassAnswers):
        reason += (
            f"; the positive class is {judged.classes[1]!r}"
            if len(judged.classes) == 2
            else f"; means over {len(judged.classes)} classes"
        )
    if figures.unanswered(judged):
        return CheckResult(
            "golden",
            Verdict.FAILED,
            f"{figures.unanswered(judged)} of {judged.rows} golden rows are answered with NaN or infinity",
            measured,
        )
    if undefined:
        reason += f"; not defined on these rows: {', '.join(undefined)}"
    return CheckResult("golden", Verdict.PASSED, reason, measured)


def _requirement(text: str) -> Check:
    def check(subject: Subject) -> CheckResult:
        required = Requirement.parse(text)
        measured = _measured(subject, required.metric)
        if isinstance(measured, str):
            return CheckResult(text, Verdict.ERRORED, measured)
        if measured.value is None:
            return CheckResult(
                text, Verdict.ERRORED, f"{required.metric} is not defined on the golden rows", (measured,)
            )
        holds = required.holds(measured.value)
        reason = f"{required.metric} is {measured.value:.6g}"
        if measured.low is not None and measured.high is not None:
            reason += f", between {measured.low:.4g} and {measured.high:.4g} with 95 % confidence"
            if measured.low < required.bound < measured.high:
                reason += "; more golden rows would make this surer"
        return CheckResult(text, Verdict.PASSED if holds else Verdict.FAILED, reason, (measured,))

    return check


def _measured(subject: Subject, metric: str) -> Measurement | str:
    """The measurement that a requirement names, or why there is none."""
    if metric in metrics.METRICS:
        if subject.manifest.golden is None:
            return "golden set missing: package the version with --golden FILE --target COLUMN"
        estimate = subject.estimates().get(metric)
        if estimate is None:
            return f"{metric} cannot be measured on this model: there are {', '.join(subject.estimates())}"
        return _measurement(metric, estimate, subject.judged().rows)
    if metric == "size_mb":
        return Measurement("size_mb", subject.bundle.size_bytes / 2**20, n=1, unit="MB")
    if metric in PROBED:
        source = probes.memory(subject) if metric == "memory_mb" else probes.latency(subject)
        found = next((m for m in source.measurements if m.metric == metric), None)
        return found if found is not None else f"{metric} was not measured: {source.reason}"
    return f"there is no metric {metric!r}; known: {', '.join(requirement_metrics())}"


def _measurement(name: str, estimate: Estimate, rows: int) -> Measurement:
    finite = estimate.value == estimate.value and abs(estimate.value) != float("inf")
    return Measurement(
        metric=name,
        value=estimate.value if finite else None,
        n=rows,
        low=estimate.low if finite else None,
        high=estimate.high if finite else None,
        confidence=CONFIDENCE if finite and estimate.low is not None else None,
    )

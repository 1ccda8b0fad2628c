"""Whether a version may be deployed: what its gate found, and what a person overrode. Pure; `control.deployments` asks."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from seaway.core.bundles import Version
from seaway.core.checks import GateReport, Verdict
from seaway.core.deployments import Deployment
from seaway.core.errors import UserError


class Judged(msgspec.Struct, frozen=True):
    """A version that may be deployed: its gate's report, and the reason given where it failed."""

    spec: Deployment
    version: Version
    report: GateReport
    override: str | None
    warnings: tuple[str, ...]


def judge(spec: Deployment, version: Version, report: GateReport, override: str | None) -> Judged:
    """Let a version through its gate, with warnings for what is inconclusive. Raises `UserError("gate_failed")`."""
    if report.verdict not in (Verdict.FAILED, Verdict.ERRORED):
        unsure = [result for result in report.results if result.verdict is Verdict.INCONCLUSIVE]
        warnings = tuple(f"{result.check} is inconclusive: {result.reason}" for result in unsure)
        return Judged(spec, version, report, None, (*warnings, *_too_slow(spec, report)))
    names = ", ".join(report.failed_checks)
    if override is None or not override.strip():
        raise UserError(
            "gate_failed",
            f"{report.ref} did not pass its gate: {_reasons(report)}",
            f"see why: seaway validate {report.ref}; or deploy it with --override 'REASON', which is recorded",
        )
    return Judged(
        spec, version, report, override, (f"the gate failed ({names}) and was overridden: {override}",)
    )


def _too_slow(spec: Deployment, report: GateReport) -> Iterator[str]:
    """That a row took longer than the endpoint's deadline. No refusal: the gate may run on a busy machine."""
    deadline_ms = spec.parsed_limits.deadline_s * 1e3
    measured = [m for result in report.results for m in result.measurements if m.metric == "latency_p50_ms"]
    if measured and measured[0].value is not None and measured[0].value > deadline_ms:
        yield (
            f"one row took {measured[0].value:,.0f} ms in the gate, and limits.deadline is {deadline_ms:,.0f} ms: "
            "requests get 504 until it is set higher"
        )


def _reasons(report: GateReport) -> str:
    failed = (result for result in report.results if result.check in report.failed_checks)
    return "; ".join(f"{result.check} {result.verdict.value} ({result.reason})" for result in failed)

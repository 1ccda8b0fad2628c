"""What a request means for an endpoint's state: pure, so that a lost race is decided again on what is then stored.

`control.deployments` reads the state, asks here what to change, and stores it by compare-and-set.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from seaway.control import auth
from seaway.core import events as log
from seaway.core import reconciliation as core
from seaway.core.bundles import Version
from seaway.core.checks import GateReport, Verdict
from seaway.core.deployments import Deployment, DeploymentState, Phase, Revision
from seaway.core.errors import UserError
from seaway.core.events import EventKind, NewEvent
from seaway.core.ports import Idempotency

ACTOR: Final = "seaway"
"""Who acts in the events of the loop."""


class Plan(msgspec.Struct, frozen=True):
    """The change of one request. `revision` is the one it is about; without events nothing has to be stored."""

    state: DeploymentState
    message: str
    revision: Revision | None = None
    events: tuple[NewEvent, ...] = ()
    new_revision: Revision | None = None
    warnings: tuple[str, ...] = ()


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


def deploy(
    state: DeploymentState | None, judged: Judged, endpoint: str, by: auth.Principal, at_s: float
) -> Plan:
    """A new revision, wanted from now on."""
    at, version = log.timestamp(at_s), judged.version
    if state is None:
        state = DeploymentState(endpoint=endpoint, generation=0, phase=Phase.PROGRESSING)
    revision = Revision(
        endpoint=endpoint,
        number=state.last + 1,
        digest=version.digest,
        ref=str(version.ref),
        spec=judged.spec,
        created_at=at,
        created_by=by.name,
        gate=judged.report.verdict,
        failed_checks=judged.report.failed_checks,
        override=judged.override,
    )
    details = {"gate": str(judged.report.verdict)}
    if judged.override is not None:
        details |= {"override": judged.override, "failed_checks": ", ".join(revision.failed_checks)}
    if judged.warnings:
        details["warnings"] = "; ".join(judged.warnings)
    message = f"revision {revision.number} of {endpoint} is {revision.ref}"
    event = about(EventKind.DEPLOY_REQUESTED, revision, by.name, at_s, message, details)
    return Plan(_wanted(state, revision.number), message, revision, (event,), revision, judged.warnings)


def rollback_target(state: DeploymentState, revisions: Sequence[Revision], to: int | None) -> int:
    """Which of an endpoint's `revisions` a rollback means.

    Without `to`: the live one where a newer one is on its way, else the newest one below it that was live and
    differs from it: after v1, v2, back to v1, v2 again, a rollback means v1 and not the first v2.
    Raises `UserError` (`revision_not_found`, `nothing_to_roll_back`).
    """
    if to is not None:
        if not 1 <= to <= state.last:
            known = f"it has revisions 1 to {state.last}"
            raise UserError("revision_not_found", f"{state.endpoint} has no revision {to}", known)
        if to not in state.proven:
            never = f"revision {to} of {state.endpoint} has never been live"
            raise UserError("nothing_to_roll_back", never, "deploy its version instead")
        return to
    if state.phase is Phase.PROGRESSING and state.desired is not None:
        if state.rollback:
            return state.desired
        if state.live is not None and state.desired != state.live:
            return state.live
    live = next((r for r in revisions if r.number == state.live), None)
    earlier = [
        r.number
        for r in revisions
        if live is not None and r.number in state.proven and r.number < live.number and not _alike(r, live)
    ]
    if not earlier:
        none = f"no earlier, other revision of {state.endpoint} has been live"
        raise UserError("nothing_to_roll_back", none, f"see: seaway history {state.endpoint}")
    return max(earlier)


def rollback(
    state: DeploymentState, revision: Revision, live: Revision | None, by: auth.Principal, at_s: float
) -> Plan:
    """An earlier revision, wanted again; the rollback is a stored fact from here on. `live` is the one now live."""
    if revision.number == state.desired:
        return Plan(state, f"revision {revision.number} is the desired one already", revision)
    message = f"back to revision {revision.number} ({revision.ref})"
    warnings = () if live is None else tuple(_recorded_otherwise(live.spec, revision.spec))
    details = {"warnings": "; ".join(warnings)} if warnings else None
    event = about(EventKind.ROLLBACK_REQUESTED, revision, by.name, at_s, message, details)
    new = msgspec.structs.replace(_wanted(state, revision.number), rollback=True)
    return Plan(new, message, revision, (event,), warnings=warnings)


def _recorded_otherwise(was: Deployment, becomes: Deployment) -> Iterator[str]:
    """What a return to a revision changes in what is recorded, which nobody asked for by name."""
    old, new = was.record.rules, becomes.record.rules
    changed = []
    if old.capture_percent != new.capture_percent:
        changed.append(f"capture is {new.capture_percent:g} % again (was {old.capture_percent:g} %)")
    if old.retain_s != new.retain_s:
        changed.append(f"retain is {becomes.record.retain} again (was {was.record.retain})")
    if old.subject != new.subject:
        changed.append(f"subject is {new.subject or 'none'} again (was {old.subject or 'none'})")
    for name, before, after in (("redact", old.redact, new.redact), ("slices", old.slices, new.slices)):
        if set(before) != set(after):
            changed.append(
                f"{name} is {', '.join(after) or 'none'} again (was {', '.join(before) or 'none'})"
            )
    if changed:
        yield f"recording follows the revision: {'; '.join(changed)}"


def delete(state: DeploymentState, by: auth.Principal, at_s: float) -> Plan:
    """The endpoint takes no traffic any more; the numbers of its revisions go on if it comes back."""
    endpoint = state.endpoint
    new = DeploymentState(
        endpoint=endpoint, generation=state.generation + 1, phase=Phase.DELETING, last=state.last
    )
    message = f"{endpoint} will be deleted"
    event = NewEvent(
        at=log.timestamp(at_s),
        kind=EventKind.DELETE_REQUESTED,
        principal=by.name,
        endpoint=endpoint,
        message=message,
    )
    return Plan(new, message, None, (event,))


def settle(
    action: core.Stored,
    state: DeploymentState,
    revision: Revision | None,
    now_s: float,
) -> tuple[DeploymentState, NewEvent]:
    """What the loop found to be true, as the new state and its event; `revision` is the one it is about."""
    match action:
        case core.MarkLive(number=number) if revision is not None:
            replaced = state.live if state.live not in (None, number) else None
            new = msgspec.structs.replace(
                state,
                phase=Phase.LIVE,
                live=number,
                previous=state.previous if replaced is None else replaced,
                warm_until_s=state.warm_until_s if replaced is None else now_s + revision.spec.rollout.bake_s,
                proven=tuple(sorted({*state.proven, number})),
            )
            message = f"revision {number} ({revision.ref}) answers"
            return new, about(EventKind.REVISION_LIVE, revision, ACTOR, now_s, message)
        case core.MarkFailed(number=number, code=code, reason=reason, stay=stay) if revision is not None:
            phase = Phase.FAILED if stay in (None, state.live) else Phase.PROGRESSING
            new = msgspec.structs.replace(state, phase=phase, desired=stay, failed=number, reason=reason)
            details = {"code": code}
            return new, about(EventKind.REVISION_FAILED, revision, ACTOR, now_s, reason, details)
        case core.MarkDeleted(endpoint=endpoint):
            new = msgspec.structs.replace(state, phase=Phase.DELETED)
            return new, NewEvent(log.timestamp(now_s), EventKind.ENDPOINT_DELETED, ACTOR, endpoint)
        case core.EndBake() if revision is not None:
            new = msgspec.structs.replace(state, warm_until_s=None)
            message = f"revision {revision.number} need not stay loaded any longer"
            return new, about(EventKind.REVISION_COOLED, revision, ACTOR, now_s, message)
    raise AssertionError(f"{action} does not fit {state}")


def same(current: Revision, spec: Deployment, version: Version) -> bool:
    """Whether deploying this would change nothing; how the version was written does not count."""
    return current.digest == version.digest and _bare(current.spec) == _bare(spec)


def _alike(a: Revision, b: Revision) -> bool:
    return a.digest == b.digest and _bare(a.spec) == _bare(b.spec)


def _bare(spec: Deployment) -> Deployment:
    """The settings without the name of the version, which can be written in two ways."""
    return msgspec.structs.replace(spec, serve=msgspec.structs.replace(spec.serve, bundle="any:v1"))


def about(
    kind: EventKind,
    revision: Revision,
    by: str,
    at_s: float,
    message: str,
    details: dict[str, str] | None = None,
) -> NewEvent:
    """An event of one revision."""
    return NewEvent(
        at=log.timestamp(at_s),
        kind=kind,
        principal=by,
        endpoint=revision.endpoint,
        revision=revision.number,
        digest=revision.digest,
        ref=revision.ref,
        message=message,
        details=details or {},
    )


def promise(by: auth.Principal, key: str | None, said: object) -> Idempotency | None:
    """The promise of an Idempotency-Key, None without one. `said` is all that makes two requests the same."""
    if key is None:
        return None
    if not 0 < len(key) <= 200:
        raise UserError("invalid_request", "an Idempotency-Key has 1 to 200 characters")
    return Idempotency(key, by.name, hashlib.sha256(msgspec.json.encode(said)).hexdigest())


def _wanted(state: DeploymentState, number: int) -> DeploymentState:
    return msgspec.structs.replace(
        state,
        generation=state.generation + 1,
        phase=Phase.PROGRESSING,
        desired=number,
        last=max(state.last, number),
        rollback=False,
        failed=None,
        reason=None,
    )

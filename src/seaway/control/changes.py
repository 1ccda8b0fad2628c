"""What a request means for an endpoint's state: pure, so that a lost race is decided again on what is then stored.

`control.deployments` reads the state, asks here what to change, and stores it by compare-and-set.
"""

from __future__ import annotations

import hashlib

import msgspec

from seaway.control import auth
from seaway.core import events as log
from seaway.core.bundles import Version
from seaway.core.checks import GateReport, Verdict
from seaway.core.deployments import Deployment, DeploymentState, Phase, Revision
from seaway.core.errors import UserError
from seaway.core.events import EventKind, NewEvent
from seaway.core.ports import Idempotency


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
        return Judged(spec, version, report, None, warnings)
    names = ", ".join(report.failed_checks)
    if override is None or not override.strip():
        raise UserError(
            "gate_failed",
            f"{report.ref} did not pass its gate: {names}",
            f"see why: seaway validate {report.ref}; or deploy it with --override 'REASON', which is recorded",
        )
    return Judged(
        spec, version, report, override, (f"the gate failed ({names}) and was overridden: {override}",)
    )


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


def rollback_target(state: DeploymentState, to: int | None) -> int:
    """Which revision a rollback means.

    Without `to`: the live one where a newer one is on its way, else the newest one below it that was live.
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
    earlier = [number for number in state.proven if state.live is not None and number < state.live]
    if not earlier:
        none = f"no earlier revision of {state.endpoint} has been live"
        raise UserError("nothing_to_roll_back", none, f"see: seaway history {state.endpoint}")
    return max(earlier)


def rollback(state: DeploymentState, revision: Revision, by: auth.Principal, at_s: float) -> Plan:
    """An earlier revision, wanted again; the rollback is a stored fact from here on."""
    if revision.number == state.desired:
        return Plan(state, f"revision {revision.number} is the desired one already", revision)
    message = f"back to revision {revision.number} ({revision.ref})"
    event = about(EventKind.ROLLBACK_REQUESTED, revision, by.name, at_s, message)
    new = msgspec.structs.replace(_wanted(state, revision.number), rollback=True)
    return Plan(new, message, revision, (event,))


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


def same(current: Revision, spec: Deployment, version: Version) -> bool:
    """Whether deploying this would change nothing; how the version was written does not count."""

    def bare(one: Deployment) -> Deployment:
        return msgspec.structs.replace(one, serve=msgspec.structs.replace(one.serve, bundle=str(version.ref)))

    return current.digest == version.digest and bare(current.spec) == bare(spec)


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

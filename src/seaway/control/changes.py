"""What a request means for an endpoint's state: pure, so that a lost race is decided again on what is then stored.

`control.deployments` reads the state, asks here what to change, and stores it by compare-and-set.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from seaway.control import auth
from seaway.control.gating import Judged
from seaway.core import events as log
from seaway.core import reconciliation as core
from seaway.core.bundles import Version
from seaway.core.deployments import Deployment, DeploymentState, Phase, Revision
from seaway.core.errors import UserError
from seaway.core.events import EventKind, NewEvent
from seaway.core.ports import Idempotency
from seaway.core.rollouts.state import RolloutPhase, RolloutState

ACTOR: Final = "seaway"
"""Who acts in the events of the loop."""


class Plan(msgspec.Struct, frozen=True):
    """The change of one request. `revision` is the one it is about; without events nothing has to be stored. `superseded`
    is the rollout that it puts an end to by another one, as it stood."""

    state: DeploymentState
    message: str
    revision: Revision | None = None
    events: tuple[NewEvent, ...] = ()
    new_revision: Revision | None = None
    warnings: tuple[str, ...] = ()
    superseded: RolloutState | None = None


def deploy(
    state: DeploymentState | None,
    judged: Judged,
    endpoint: str,
    by: auth.Principal,
    at_s: float,
    *,
    desired: Revision | None = None,
    force: str | None = None,
) -> Plan:
    """A new revision, wanted from now on: by its rollout where another one is live, else all at once.

    `desired` is the revision that was wanted before, None where none was. `force` is the reason for giving the new one all
    traffic without a rollout. A rollout that is not over is superseded.
    """
    at, version, events = log.timestamp(at_s), judged.version, []
    if state is None:
        state = DeploymentState(endpoint=endpoint, generation=0, phase=Phase.PROGRESSING)
    unfinished = state.rollback and state.phase is Phase.PROGRESSING
    if unfinished and desired is not None and desired.number != state.live:
        # A rollback is never undone: what it goes back to counts as live, also where it has not moved the traffic yet.
        state = _live(state, desired, at_s)
        message = f"revision {desired.number} ({desired.ref}) answers again once the rollback to it is done"
        events.append(about(EventKind.REVISION_LIVE, desired, ACTOR, at_s, message))
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
    warnings = judged.warnings
    stable = state.live if judged.spec.rollout.gradual else None
    if force is not None:
        details["force"] = force
        if stable is not None:
            warnings = (*warnings, f"it takes all traffic without its rollout: {force}")
        stable = None
    if warnings:
        details["warnings"] = "; ".join(warnings)
    message = f"revision {revision.number} of {endpoint} is {revision.ref}"
    events.append(about(EventKind.DEPLOY_REQUESTED, revision, by.name, at_s, message, details))
    superseded = state.judged_rollout
    if superseded is not None:
        why = f"revision {revision.number} was deployed"
        events.append(_ended(state, EventKind.ROLLOUT_SUPERSEDED, by.name, at_s, why))
    rollout = None
    if stable is not None:
        rollout = RolloutState(revision.number, stable, RolloutPhase.WAITING, at_s)
        steps = ", ".join(f"{share:g} %" for share in judged.spec.rollout.steps_percent)
        began = f"revision {revision.number} is compared with revision {stable} in steps to {steps}"
        told = {"stable": str(stable), "steps": steps}
        events.append(about(EventKind.ROLLOUT_STARTED, revision, by.name, at_s, began, told))
    new = msgspec.structs.replace(wanted(state, revision.number), rollout=rollout)
    return Plan(new, message, revision, tuple(events), revision, warnings, superseded)


def rollback_target(state: DeploymentState, revisions: Sequence[Revision], to: int | None) -> int:
    """Which of an endpoint's `revisions` a rollback means.

    Without `to`: the stable one of a rollout that is not over, the live one where a newer one is on its way, else the
    newest one below it that was live and differs from it: after v1, v2, back to v1, v2 again, a rollback means v1 and
    not the first v2.
    Raises `UserError` (`revision_not_found`, `nothing_to_roll_back`).
    """
    if to is not None:
        if not 1 <= to <= state.last:
            known = f"it has revisions 1 to {state.last}"
            raise UserError("revision_not_found", f"{state.endpoint} has no revision {to}", known)
        if to not in state.proven:
            never = f"revision {to} of {state.endpoint} has not been live, or failed its rollout"
            raise UserError("nothing_to_roll_back", never, "deploy its version instead")
        return to
    if (rollout := state.judged_rollout) is not None:
        return rollout.stable
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
    state: DeploymentState,
    revision: Revision,
    live: Revision | None,
    by: auth.Principal,
    at_s: float,
    reason: str | None = None,
) -> Plan:
    """An earlier revision, wanted again; the rollback is a stored fact from here on. `live` is the one now live.

    It ends a rollout that is not over. `reason` is what a person gave, None for nothing.
    """
    if revision.number == state.desired:
        return Plan(state, f"revision {revision.number} is the desired one already", revision)
    message = f"back to revision {revision.number} ({revision.ref})"
    warnings = () if live is None else tuple(_recorded_otherwise(live.spec, revision.spec))
    details = {} if reason is None else {"reason": reason}
    if warnings:
        details["warnings"] = "; ".join(warnings)
    events = [about(EventKind.ROLLBACK_REQUESTED, revision, by.name, at_s, message, details)]
    rollout = state.rollout
    if rollout is not None and rollout.judged:
        why = reason or f"{by.name} went back to revision {revision.number}"
        events.append(_ended(state, EventKind.ROLLOUT_ROLLED_BACK, by.name, at_s, why))
        rollout = ended(rollout, RolloutPhase.ROLLED_BACK, by.name, at_s, why)
    new = msgspec.structs.replace(wanted(state, revision.number), rollback=True, rollout=rollout)
    return Plan(new, message, revision, tuple(events), warnings=warnings)


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
    if state.judged_rollout is not None:
        return Plan(
            new, message, None, (event, _ended(state, EventKind.ROLLOUT_ABORTED, by.name, at_s, message))
        )
    return Plan(new, message, None, (event,))


def settle(
    action: core.Stored, state: DeploymentState, revision: Revision | None, now_s: float
) -> tuple[DeploymentState, tuple[NewEvent, ...]]:
    """What the loop found to be true, as the new state and its events; `revision` is the one it is about."""
    match action:
        case core.MarkLive() if revision is not None:
            message = f"revision {revision.number} ({revision.ref}) answers"
            event = about(EventKind.REVISION_LIVE, revision, ACTOR, now_s, message)
            return _live(state, revision, now_s), (event,)
        case core.MarkFailed(number=number, code=code, reason=reason, stay=stay) if revision is not None:
            phase = Phase.FAILED if stay in (None, state.live) else Phase.PROGRESSING
            events = [about(EventKind.REVISION_FAILED, revision, ACTOR, now_s, reason, {"code": code})]
            rollout = state.rollout
            if rollout is not None and rollout.open and rollout.candidate == number:
                events.append(_ended(state, EventKind.ROLLOUT_ROLLED_BACK, ACTOR, now_s, reason))
                rollout = ended(rollout, RolloutPhase.ROLLED_BACK, ACTOR, now_s, reason)
            new = msgspec.structs.replace(
                state, phase=phase, desired=stay, failed=number, reason=reason, rollout=rollout
            )
            return new, tuple(events)
        case core.MarkDeleted(endpoint=endpoint):
            new = msgspec.structs.replace(state, phase=Phase.DELETED)
            return new, (NewEvent(log.timestamp(now_s), EventKind.ENDPOINT_DELETED, ACTOR, endpoint),)
        case core.EndBake() if revision is not None:
            new = msgspec.structs.replace(state, warm_until_s=None)
            message = f"revision {revision.number} need not stay loaded any longer"
            return new, (about(EventKind.REVISION_COOLED, revision, ACTOR, now_s, message),)
    raise AssertionError(f"{action} does not fit {state}")


def _live(state: DeploymentState, revision: Revision, now_s: float) -> DeploymentState:
    """What was live before stays warm for the bake; a candidate that has all traffic bakes in its rollout."""
    number, rollout = revision.number, state.rollout
    if rollout is not None and rollout.open and rollout.candidate == number:
        rollout = msgspec.structs.replace(rollout, phase=RolloutPhase.BAKING, why=None, cause=None)
    replaced = state.live if state.live not in (None, number) else None
    return msgspec.structs.replace(
        state,
        phase=Phase.LIVE if number == state.desired else state.phase,
        live=number,
        previous=state.previous if replaced is None else replaced,
        warm_until_s=state.warm_until_s if replaced is None else now_s + revision.spec.rollout.bake_s,
        proven=tuple(sorted({*state.proven, number})),
        rollout=rollout,
    )


def ended(
    rollout: RolloutState, phase: RolloutPhase, by: str, at_s: float, why: str, cause: str | None = None
) -> RolloutState:
    """A rollout that is over without its candidate, which keeps no share."""
    return msgspec.structs.replace(
        rollout, phase=phase, percent=0.0, why=why, cause=cause, by=by, ended_s=at_s
    )


def _ended(state: DeploymentState, kind: EventKind, by: str, at_s: float, why: str) -> NewEvent:
    """The event of a rollout that something else has ended."""
    assert state.rollout is not None
    return NewEvent(
        at=log.timestamp(at_s),
        kind=kind,
        principal=by,
        endpoint=state.endpoint,
        revision=state.rollout.candidate,
        message=why,
        details=rollout_details(state.rollout) | {"why": why},
    )


def rollout_details(rollout: RolloutState) -> dict[str, str]:
    """What every event says of a rollout: where it stood."""
    return {"stable": str(rollout.stable), "step": str(rollout.step), "percent": f"{rollout.percent:g}"}


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


def wanted(state: DeploymentState, number: int) -> DeploymentState:
    """The next generation of a state, in which another revision is desired."""
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

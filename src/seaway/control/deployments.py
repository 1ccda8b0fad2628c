"""The use cases of the control plane: deploy, rollback, delete, status, history; called by the API and by verbs.

Each takes the principal first, is authorised first, and leaves exactly one event when it is refused. They record what
is wanted; `control.loop` makes it so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

import msgspec

from seaway.control import auth, changes, gating, views
from seaway.control.commits import ABSENT, Commits, conflict, not_found
from seaway.core import events as log
from seaway.core.bundles import ModelRef, OpenedBundle, Version, parse_name
from seaway.core.checks import GateReport
from seaway.core.deployments import Deployment, DeploymentState, Phase, Revision, deployment_of, unavailable
from seaway.core.errors import UserError
from seaway.core.events import Event, LiveAt
from seaway.core.ports import Clock, StateStore

_PAGE: Final = 1000


class Bundles(Protocol):
    """What control asks of the bundle store."""

    def resolve(self, ref: ModelRef) -> Version:
        """Raises `UserError` (`model_not_found`, `version_not_found`)."""

    def open(self, version: Version) -> OpenedBundle:
        """The verified bundle on disk. Blocking; raises `PermanentError("digest_mismatch")`."""


Gate = Callable[[Version, Version | None], GateReport]
"""Runs the checks of a version against the one now live (None if there is none). Blocking."""


CheckRecords = Callable[[Deployment, Version, Version | None], tuple[str, ...]]
"""Whether what a Deployment wants recorded of a version, and compared with the one now live, can be: warnings. Blocking; raises
`UserError` (`invalid_spec`, `missing_extra`)."""


class Deployments:
    """The use cases over one state store. Methods block and are thread-safe; `wake` is called after each change."""

    def __init__(
        self,
        store: StateStore,
        bundles: Bundles,
        gate: Gate,
        clock: Clock,
        wake: Callable[[], None],
        check_records: CheckRecords,
    ) -> None:
        self._store = store
        self._bundles = bundles
        self._gate = gate
        self._clock = clock
        self._commits = Commits(store, clock, wake)
        self._check_records = check_records

    def deploy(
        self, principal: auth.Principal, endpoint: str, request: views.DeployRequest, key: str | None = None
    ) -> views.Accepted:
        """Record that a version shall answer for an endpoint, once its gate passed.

        It takes traffic by its rollout where another revision is live; all at once with `request.force`, which is
        recorded. `key` makes the call idempotent. Raises `UserError` (`gate_failed`, `not_available`, `invalid_spec`,
        `generation_conflict`, `idempotency_conflict` and those of the bundle store).
        """
        with self._commits.refusals(principal, auth.Action.DEPLOY, endpoint):
            promise = changes.promise(principal, key, ["deploy", endpoint, request])
            if (done := self._commits.done(promise)) is not None:
                return done
            first = self._store.state(parse_name(endpoint))
            if request.force is not None and not request.force.strip():
                raise UserError("invalid_request", "force is the reason for it, which is recorded")
            spec = self._spec(endpoint, first, request)
            if missing := unavailable(spec):
                raise UserError(
                    "not_available",
                    f"not built yet: {'; '.join(missing)}",
                    "leave these out of the endpoint file",
                )
            version = self._bundles.resolve(ModelRef.parse(spec.serve.bundle or ""))
            current = self._desired(first)
            forced = request.force is not None and first is not None and first.phase is Phase.PROGRESSING
            if (
                first is not None
                and current is not None
                and changes.same(current, spec, version)
                and not forced
            ):
                known = "is live already" if first.phase is not Phase.PROGRESSING else "is on its way already"
                plan = changes.Plan(first, f"{version.ref} {known}: nothing to do", current)
                return self._commits.store(plan, promise)
            live = self._baseline(first)
            notes = self._check_records(spec, version, live if request.force is None else None)
            report = self._gate(version, live)
            judged = gating.judge(spec, version, report, request.override)
            judged = msgspec.structs.replace(judged, warnings=(*judged.warnings, *notes))

            def plan_deploy(state: DeploymentState | None) -> changes.Plan:
                if _wish(state) != _wish(first):
                    raise conflict(endpoint)  # the gate's baseline is no longer what this would replace
                at_s = self._clock.now_s()
                return changes.deploy(
                    state, judged, endpoint, principal, at_s, desired=current, force=request.force
                )

            return self._commits.commit(endpoint, promise, plan_deploy)

    def rollback(
        self,
        principal: auth.Principal,
        endpoint: str,
        to: int | None = None,
        key: str | None = None,
        reason: str | None = None,
    ) -> views.Accepted:
        """Record that an earlier revision shall answer again; which one, says `changes.rollback_target`.

        `key` makes the call idempotent, `reason` is recorded. Raises `UserError` (`endpoint_not_found`,
        `revision_not_found`, `nothing_to_roll_back`).
        """
        with self._commits.refusals(principal, auth.Action.ROLLBACK, endpoint):
            # Without a reason it is what it was before there were any: a key that was used then stays used.
            said = ["rollback", endpoint, to] if reason is None else ["rollback", endpoint, to, reason]
            promise = changes.promise(principal, key, said)
            if (done := self._commits.done(promise)) is not None:
                return done

            def plan_rollback(state: DeploymentState | None) -> changes.Plan:
                if state is None or state.phase in ABSENT:
                    raise not_found(endpoint)
                number = changes.rollback_target(state, self._store.revisions(endpoint), to)
                revision = self._store.revision(endpoint, number)
                if revision is None:
                    raise UserError("revision_not_found", f"{endpoint} has no revision {number}")
                live = None if state.live is None else self._store.revision(endpoint, state.live)
                return changes.rollback(state, revision, live, principal, self._clock.now_s(), reason)

            return self._commits.commit(endpoint, promise, plan_rollback)

    def delete(self, principal: auth.Principal, endpoint: str, key: str | None = None) -> views.Accepted:
        """Record that an endpoint shall go; its models and its history stay. Raises `UserError("endpoint_not_found")`."""
        with self._commits.refusals(principal, auth.Action.DELETE, endpoint):
            promise = changes.promise(principal, key, ["delete", endpoint])
            if (done := self._commits.done(promise)) is not None:
                return done

            def plan_delete(state: DeploymentState | None) -> changes.Plan:
                if state is None or state.phase in ABSENT:
                    raise not_found(endpoint)
                return changes.delete(state, principal, self._clock.now_s())

            return self._commits.commit(endpoint, promise, plan_delete)

    def status(self, principal: auth.Principal) -> tuple[views.EndpointStatus, ...]:
        """All endpoints that are not deleted."""
        auth.authorize(principal, auth.Action.READ, "endpoints")
        return tuple(self._view(state) for state in self._store.states() if state.phase is not Phase.DELETED)

    def get(self, principal: auth.Principal, endpoint: str) -> views.EndpointStatus:
        """One endpoint. Raises `UserError("endpoint_not_found")`."""
        auth.authorize(principal, auth.Action.READ, f"endpoints/{endpoint}")
        state = self._store.state(endpoint)
        if state is None or state.phase is Phase.DELETED:
            raise not_found(endpoint)
        return self._view(state)

    def history(self, principal: auth.Principal, endpoint: str | None = None) -> tuple[Event, ...]:
        """Every event, oldest first; of a deleted endpoint too. Raises `UserError("endpoint_not_found")`."""
        auth.authorize(principal, auth.Action.READ, "endpoints")
        found = tuple(self._commits.log(endpoint))
        if endpoint is not None and not found:
            raise not_found(endpoint)
        return found

    def live_at(self, principal: auth.Principal, at: str, endpoint: str | None = None) -> tuple[LiveAt, ...]:
        """What answered at a time (ISO 8601), by endpoint. Raises `UserError("invalid_request")`."""
        auth.authorize(principal, auth.Action.READ, "endpoints")
        return log.live_at(self._commits.log(endpoint), log.parse_time(at))

    def events(self, principal: auth.Principal, after: int) -> tuple[Event, ...]:
        """Some events after this number, oldest first; empty when there are none yet."""
        auth.authorize(principal, auth.Action.READ, "events")
        return self._store.events(after=after, limit=_PAGE)

    def record_refusal(
        self, principal: auth.Principal, action: auth.Action, endpoint: str | None, code: str, message: str
    ) -> None:
        """Append the one event that a refused action leaves."""
        self._commits.record_refusal(principal, action, endpoint, code, message)

    def _desired(self, state: DeploymentState | None) -> Revision | None:
        if state is None or state.desired is None:
            return None
        return self._store.revision(state.endpoint, state.desired)

    def _spec(self, endpoint: str, state: DeploymentState | None, request: views.DeployRequest) -> Deployment:
        if (request.spec is None) == (request.bundle is None):
            raise UserError(
                "invalid_request", "give either a spec or a bundle", 'such as {"bundle": "prices:v3"}'
            )
        if request.spec is not None:
            if request.spec.endpoint != endpoint:
                raise UserError(
                    "invalid_request", f"the spec is of {request.spec.endpoint!r}, not of {endpoint!r}"
                )
            return request.spec
        bundle = str(ModelRef.parse(request.bundle or ""))
        current = self._desired(state)
        if current is None:
            return deployment_of(endpoint, bundle)
        serve = current.spec.serve
        return msgspec.structs.replace(current.spec, serve=msgspec.structs.replace(serve, bundle=bundle))

    def _baseline(self, state: DeploymentState | None) -> Version | None:
        """The version now live; None where there is none, or none left in the bundle store."""
        live = (
            None if state is None or state.live is None else self._store.revision(state.endpoint, state.live)
        )
        if live is None:
            return None
        try:
            return self._bundles.resolve(ModelRef(name=ModelRef.parse(live.ref).name, digest=live.digest))
        except UserError:
            return None

    def _view(self, state: DeploymentState) -> views.EndpointStatus:
        shown = {state.desired, state.live, state.previous, state.failed}
        if state.rollout is not None:
            shown |= {state.rollout.candidate, state.rollout.stable}
        return views.EndpointStatus(
            endpoint=state.endpoint,
            phase=state.phase,
            generation=state.generation,
            desired=state.desired,
            live=state.live,
            previous=state.previous,
            rollback=state.rollback,
            warm_until=None if state.warm_until_s is None else log.timestamp(state.warm_until_s),
            failed=state.failed,
            reason=state.reason,
            revisions=tuple(r for r in self._store.revisions(state.endpoint) if r.number in shown),
            rollout=state.rollout,
        )


def _wish(state: DeploymentState | None) -> tuple[int | None, int]:
    """What users asked for, without what the loop has made of it."""
    return (None, 0) if state is None else (state.desired, state.last)

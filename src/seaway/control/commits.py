"""How a change of an endpoint is stored: by compare-and-set, once for each idempotency key, with one event for a refusal.

`control.deployments` and `control.rollouts.requests` say what to change; this is what their use cases share.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from seaway.control import auth, changes, views
from seaway.core import events as log
from seaway.core.deployments import DeploymentState, Phase
from seaway.core.errors import UserError
from seaway.core.events import Event, EventKind, NewEvent
from seaway.core.ports import Change, Clock, Idempotency, StateStore

ABSENT: Final = (Phase.DELETING, Phase.DELETED)
_TRIES: Final = 10
_PAGE: Final = 1000


class Commits:
    """Changes of one state store. Methods block and are thread-safe; `wake` is called after each change."""

    def __init__(self, store: StateStore, clock: Clock, wake: Callable[[], None]) -> None:
        self._store = store
        self._clock = clock
        self._wake = wake

    @contextlib.contextmanager
    def refusals(self, principal: auth.Principal, action: auth.Action, endpoint: str) -> Iterator[None]:
        """Authorise a change of an endpoint, and leave one event where it, or what is done inside, is refused."""
        try:
            auth.authorize(principal, action, f"endpoints/{endpoint}")
            yield
        except UserError as error:
            self.record_refusal(principal, action, endpoint[:63], error.code, error.message)
            raise

    def record_refusal(
        self, principal: auth.Principal, action: auth.Action, endpoint: str | None, code: str, message: str
    ) -> None:
        """Append the one event that a refused action leaves."""
        event = NewEvent(
            at=log.timestamp(self._clock.now_s()),
            kind=EventKind.ACTION_REFUSED,
            principal=principal.name,
            endpoint=endpoint,
            message=message,
            details={"action": str(action), "code": code},
        )
        self._store.apply(Change(events=(event,)))

    def log(self, endpoint: str | None) -> Iterator[Event]:
        """Every event, oldest first; of one endpoint or of all."""
        after = 0
        while page := self._store.events(after=after, endpoint=endpoint, limit=_PAGE):
            yield from page
            after = page[-1].seq

    def done(self, promise: Idempotency | None) -> views.Accepted | None:
        """What was answered to the same request under the same key; None where it is new, or has no key."""
        result = None if promise is None else self._store.remembered(promise)
        return None if result is None else msgspec.json.decode(result, type=views.Accepted)

    def commit(
        self,
        endpoint: str,
        promise: Idempotency | None,
        plan: Callable[[DeploymentState | None], changes.Plan],
    ) -> views.Accepted:
        """Plan on what is stored and store it; planned again where the state changed in between.

        Where the one who changed it was the same request under the same key, its result is this one's too.
        """
        for _ in range(_TRIES):
            try:
                return self.store(plan(self._store.state(endpoint)), promise)
            except UserError as error:
                if error.code != "generation_conflict":
                    raise
            if (done := self.done(promise)) is not None:
                return done
        raise conflict(endpoint)

    def store(self, plan: changes.Plan, promise: Idempotency | None) -> views.Accepted:
        """Store a plan; who lost a race with the same key gets the winner's result."""
        before = plan.superseded
        accepted = views.Accepted(
            endpoint=plan.state.endpoint,
            revision=None if plan.revision is None else plan.revision.number,
            digest=None if plan.revision is None else plan.revision.digest,
            ref=None if plan.revision is None else plan.revision.ref,
            generation=plan.state.generation,
            changed=bool(plan.events),
            after=self._store.last_seq(),
            message=plan.message,
            warnings=plan.warnings,
            superseded=None if before is None else views.Superseded(before.candidate, before.percent),
        )
        if not plan.events and promise is None:
            return accepted
        state = plan.state if plan.events else None
        result = b"" if promise is None else msgspec.json.encode(accepted)
        try:
            self._store.apply(Change(plan.events, state, plan.new_revision, promise, result))
        except UserError as error:
            if error.code == "idempotency_conflict" and (done := self.done(promise)) is not None:
                return done
            raise
        self._wake()
        return accepted


def not_found(endpoint: str) -> UserError:
    """The error for an endpoint that does not exist (any more)."""
    return UserError("endpoint_not_found", f"there is no endpoint {endpoint[:63]!r}", "see: seaway status")


def conflict(endpoint: str) -> UserError:
    """The error for a change that another one has overtaken."""
    return UserError(
        "generation_conflict",
        f"endpoint {endpoint!r} was changed by somebody else meanwhile",
        "look at its status, then try again",
    )

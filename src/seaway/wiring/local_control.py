"""The control plane inside a verb, for a home on which no server runs: the same use cases and the same loop.

A change is stored, and the next `seaway up` makes it so; workers that outlived their supervisor are brought up to
date at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property

import msgspec

from seaway.control import locks, peers, views, workers
from seaway.control.bell import Bell
from seaway.control.deployments import Deployments
from seaway.control.effects import PREPARE_S
from seaway.control.feedback import Feedback
from seaway.control.rollouts import views as rollouts
from seaway.control.rollouts.requests import Rollouts
from seaway.core.errors import TemporaryError
from seaway.core.events import Event, LiveAt
from seaway.core.feedback import FeedbackAnswer
from seaway.core.ports import StateStore
from seaway.core.quality import Quality
from seaway.wiring import control_parts
from seaway.wiring.erasing import open_erasing
from seaway.wiring.feedback import open_feedback
from seaway.wiring.home import Home


class LocalControl:
    """`wiring.control_access.Control` in this process; the caller holds HOME/lock."""

    running = False

    def __init__(self, home: Home, store: StateStore) -> None:
        self._home = home
        self._store = store
        self._deployments: Deployments = control_parts.deployments(home, store, lambda: None)
        self._rollouts: Rollouts = control_parts.rollouts(home, store, lambda: None)
        self._principal = peers.principal_of(os.geteuid(), os.geteuid())

    def deploy(self, endpoint: str, request: views.DeployRequest) -> views.Accepted:
        return self._settle(self._deployments.deploy(self._principal, endpoint, request))

    def rollback(self, endpoint: str, to: int | None = None, reason: str | None = None) -> views.Accepted:
        return self._settle(self._deployments.rollback(self._principal, endpoint, to, reason=reason))

    def delete(self, endpoint: str) -> views.Accepted:
        return self._settle(self._deployments.delete(self._principal, endpoint))

    def move(self, endpoint: str, move: rollouts.Move) -> views.Accepted:
        """Stored, and made so in workers that outlived their server; nothing judges the rollout, so it goes no further."""
        return self._settle(self._rollouts.move(self._principal, endpoint, move))

    def rollout(self, endpoint: str) -> rollouts.RolloutStatus:
        return self._rollouts.status(self._principal, endpoint)

    def rollout_record(self, endpoint: str, number: int) -> rollouts.RolloutRecord:
        return self._rollouts.record(self._principal, endpoint, number)

    def status(self) -> views.Status:
        return views.Status(self._deployments.status(self._principal), ())

    def history(self, endpoint: str | None = None) -> tuple[Event, ...]:
        return self._deployments.history(self._principal, endpoint)

    def live_at(self, at: str, endpoint: str | None = None) -> tuple[LiveAt, ...]:
        return self._deployments.live_at(self._principal, at, endpoint)

    def seconds(self, endpoint: str, after_s: int = 0) -> views.Seconds:
        """Raises `TemporaryError("control_unavailable")`: nothing answers requests here."""
        raise TemporaryError(
            "control_unavailable", "no server runs on this home: nothing to watch", "seaway up"
        )

    def feedback(self, body: bytes, content_type: str) -> FeedbackAnswer:
        return asyncio.run(self._feedback.take(self._principal, body, content_type))

    def quality(self, endpoint: str, asked: Mapping[str, str]) -> Quality:
        self._deployments.get(self._principal, endpoint)
        return asyncio.run(self._feedback.quality(self._principal, endpoint, **asked))

    def erase(self, request: views.EraseRequest) -> views.Erased:
        parts = self._home, self._store, self._deployments, self._feedback
        return asyncio.run(open_erasing(*parts).erase(self._principal, request))

    def close(self) -> None:
        """Write what waits. Idempotent."""
        if "_feedback" in self.__dict__:
            self._feedback.close()

    @cached_property
    def _feedback(self) -> Feedback:
        return open_feedback(self._home.paths.records, self._home.clock)

    def follow(self, after: int, beat: Callable[[], None] | None = None) -> Iterator[Event]:
        """The events there are: with no loop running, none will follow."""
        yield from self._deployments.events(self._principal, after)

    def _settle(self, accepted: views.Accepted) -> views.Accepted:
        if not accepted.changed:
            return accepted
        served = asyncio.run(asyncio.wait_for(self._drive(), PREPARE_S))
        return accepted if served else msgspec.structs.replace(accepted, deferred=True)

    async def _drive(self) -> bool:
        """Run the loop until nothing is left to do; whether any worker was there to take it."""
        bell = Bell()
        loop, effects = control_parts.loop(self._home, self._store, bell)
        try:
            await loop.settle()
            return bool(await workers.Workers(self._home.paths.run).observe())
        finally:
            await effects.close()


@contextlib.contextmanager
def open_local(home: Home, wait_s: float) -> Iterator[LocalControl]:
    """The control plane of a home without a server; waits up to `wait_s` for the home's lock.

    Raises `UserError("already_running")` where another process keeps it.
    """
    with locks.hold(home.directory / "lock", wait_s):
        store = control_parts.open_store(home)
        control = LocalControl(home, store)
        try:
            yield control
        finally:
            control.close()
            store.close()

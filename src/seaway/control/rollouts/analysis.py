"""Follows every rollout that is judged, once a second: observe, judge, decide, store. Run by the control process.

The control loop moves the traffic by what is stored here; `evidence_files` shows what was judged. Whatever happens to one
endpoint's analysis, the others' go on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from seaway.control import watching
from seaway.control.bell import Bell
from seaway.control.effects import Effects
from seaway.control.rollouts import floors, moves
from seaway.control.rollouts.following import Following, Moment
from seaway.control.rollouts.labels import Labels
from seaway.control.watching import Told
from seaway.core import routing
from seaway.core.answers import AnswerKind
from seaway.core.deployments import DeploymentState, Revision
from seaway.core.errors import UserError
from seaway.core.observed import Snapshot
from seaway.core.ports import Change, Clock, StateStore
from seaway.core.rollouts import decision
from seaway.core.rollouts.decision import RolloutAction
from seaway.core.rollouts.state import RolloutPhase, RolloutState
from seaway.wire.isolation import Isolated
from seaway.wire.worker_admin import Observed

LOOK_S: Final = 1.0
_SHORTEST_S: Final = 0.05
_MOST_S: Final = 10.0
_SOON_S: Final = 0.2
"""After a decision: by then the control loop has moved the traffic, mostly."""
_log = logging.getLogger(__name__)


class Analysis:
    """The rollouts of one home. Lives on one event loop; what blocks runs on threads."""

    def __init__(
        self,
        store: StateStore,
        effects: Effects,
        bell: Bell,
        clock: Clock,
        records: Path,
        rollouts: Path,
    ) -> None:
        """`records` and `rollouts` are HOME/records and HOME/rollouts."""
        self._store = store
        self._effects = effects
        self._bell = bell
        self._clock = clock
        self._records = records
        self._rollouts = rollouts
        self._followed: dict[str, Following] = {}
        self._failing: dict[str, str] = {}

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            began_s = self._clock.monotonic_s()
            acted = await self.look()
            took_s = self._clock.monotonic_s() - began_s
            await asyncio.sleep(_SOON_S if acted else max(_SHORTEST_S, LOOK_S - took_s))

    async def look(self) -> bool:
        """One look at every rollout, and whether something was decided. What fails is said once for each endpoint, and
        tried again."""
        seen = self._effects.seen
        if seen is None:
            return False
        judged = {s.endpoint: s for s in seen.states if s.rollout is not None and s.rollout.judged}
        for endpoint in self._followed.keys() - judged.keys():
            await asyncio.to_thread(self._followed.pop(endpoint).save)
        return any(await asyncio.gather(*(self._guarded(seen, state) for state in judged.values())))

    async def _guarded(self, seen: Snapshot, state: DeploymentState) -> bool:
        endpoint = state.endpoint
        try:
            acted = await self._look_at(seen, state)
        except Exception as error:  # noqa: BLE001 - the edge of one endpoint's analysis: the others' go on
            if self._failing.get(endpoint) != str(error):
                _log.warning("the rollout of %s: %s: %s", endpoint, type(error).__name__, error)
            self._failing[endpoint] = str(error)
            return False
        if self._failing.pop(endpoint, None) is not None:
            _log.warning("the rollout of %s: is followed again", endpoint)
        return acted

    async def _look_at(self, seen: Snapshot, state: DeploymentState) -> bool:
        rollout = state.rollout
        assert rollout is not None
        following = await self._following(state.endpoint, rollout)
        candidate = seen.revisions[state.endpoint, rollout.candidate]
        newest_s = int(self._clock.now_s()) - 2 * floors.BURST_S
        after_s = newest_s if following.through_s is None else min(following.through_s, newest_s)
        kind = self._effects.answer_kind(state.endpoint, rollout.stable)
        told = await watching.ask_workers(self._effects.workers, after_s, state.endpoint)
        now_s = self._clock.now_s()
        moment = Moment(
            now_s=now_s,
            rollout=rollout,
            spec=candidate.spec.rollout,
            told=told,
            numbers=kind is AnswerKind.NUMBER,
            longest_s=_longest_s(seen, state.endpoint, rollout),
        )
        # Before the list: a worker obeys what is written, so one that was put apart by the list is found in it.
        workers = self._effects.observed
        isolated = await asyncio.to_thread(self._effects.workers.isolated)
        listed = isolated.get(candidate.digest)
        floor = self._floor(following, state, workers, told, now_s, listed)
        # What the answers are is asked once, when the evidence begins: by a new control process that may be too early.
        early = following.through_s is None and kind is None and seen.opening(state.endpoint, rollout.stable)
        # A floor waits for no evidence, and holds where none can be had.
        waits = early or floor is not None
        judgement = None if waits else await asyncio.to_thread(following.look, moment)
        progress = routing.progress(seen, state)
        action = decision.next_action(
            decision.Snapshot(
                now_s=now_s,
                state=rollout,
                spec=moment.spec,
                ready=progress.ready,
                settled=progress.settled,
                judgement=judgement,
                floor=floor,
                bakes_until_s=state.warm_until_s,
            )
        )
        if action is None:
            return False
        await asyncio.to_thread(self._act, action, state, candidate, following)
        return True

    async def _following(self, endpoint: str, rollout: RolloutState) -> Following:
        known = self._followed.get(endpoint)
        if known is None or not known.is_of(rollout):
            labels = Labels(self._records)
            known = await asyncio.to_thread(
                Following, endpoint, rollout, self._rollouts, self._records, labels
            )
            self._followed[endpoint] = known
        return known

    def _floor(
        self,
        following: Following,
        state: DeploymentState,
        workers: Sequence[Observed],
        told: Told,
        now_s: float,
        listed: Isolated | None,
    ) -> str | None:
        """Which hard floor is broken. Before the first step the candidate is only being made ready."""
        rollout, endpoint = state.rollout, state.endpoint
        assert rollout is not None
        candidate = rollout.candidate
        if rollout.preparing or following.was_isolated is None:
            following.was_isolated = listed is not None or floors.isolated(workers, endpoint, candidate)
        if rollout.preparing:
            return None
        stable = None if rollout.phase is RolloutPhase.BAKING else rollout.stable
        return (
            floors.not_ready(workers, endpoint, candidate)
            or (None if following.was_isolated else floors.crash(workers, endpoint, candidate, listed))
            or floors.burst(told.pages, now_s, candidate, stable)
        )

    def _act(
        self, action: RolloutAction, state: DeploymentState, candidate: Revision, following: Following
    ) -> None:
        """Store what was decided; who changed the endpoint meanwhile goes first, and the next look decides again.

        The evidence is saved after that: a slow disk must not hold up a rollback.
        """
        plan = moves.apply(action, state, candidate, self._clock.now_s())
        try:
            self._store.apply(Change(plan.events, plan.state))
        except UserError as error:
            if error.code != "generation_conflict":
                raise
        self._bell.ring()
        following.save()


def _longest_s(seen: Snapshot, endpoint: str, rollout: RolloutState) -> float:
    """How long a request may take that was routed before a share changed; the few that take longer are let be."""
    deadlines = (seen.limits(endpoint, n).deadline_s for n in (rollout.stable, rollout.candidate))
    return min(max(deadlines), _MOST_S)

"""The simulated world with rollouts: candidates of known quality, the judgement that each one gets, and what people do."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from typing import Final

from control_world import ENDPOINTS, OPS, Decide, Op, World

from seaway.control import changes
from seaway.control.rollouts import moves
from seaway.core import reconciliation, routing
from seaway.core.checks import Verdict
from seaway.core.errors import SeawayError
from seaway.core.rollouts import decision
from seaway.core.rollouts.judgement import CheckJudgement, Judgement
from seaway.core.rollouts.spec import CheckName, Inconclusive, Rollout, RolloutCheck, Step
from seaway.core.rollouts.state import RolloutPhase, RolloutState

ROLLOUT_OPS = (
    *OPS,
    *("roll_out_good", "roll_out_harmful", "roll_out_silent", "roll_out_doubtful", "roll_out_flapping"),
    "roll_out_unloadable",
    *("force", "look", "tick", "tick", "tick", "tick", "floor", "lose_candidate"),
    *("promote", "promote_full", "pause", "resume", "abort", "approve", "traffic"),
)
DecideRollout = Callable[[decision.Snapshot], decision.RolloutAction | None]


class Quality(enum.StrEnum):
    """How a candidate is: the metric source of a `silent` one is dead, the answers of a `doubtful` one moved, which is no
    harm yet, a `flapping` one looks harmful every other minute."""

    GOOD = "good"
    HARMFUL = "harmful"
    SILENT = "silent"
    DOUBTFUL = "doubtful"
    FLAPPING = "flapping"


SPECS: Final = (
    Rollout(steps=("10%", "50%", "100%"), bake="60s", inconclusive=Inconclusive("10m", "rollback")),
    Rollout(steps=("0%", "100%"), bake="60s"),
    Rollout(steps=(Step("5%", approve=True), "100%"), bake="60s", inconclusive=Inconclusive("5m", "pause")),
    Rollout(steps=("25%", "100%"), hold="30s", bake="0s", inconclusive=Inconclusive("2m", "promote")),
    Rollout(
        steps=(Step("0%"), Step("50%", hold="10s"), "100%"),
        checks=("errors", RolloutCheck("predictions")),
        bake="60s",
        shadow="10%",
    ),
    Rollout(checks=("errors",), bake="60s"),
)
"""Canary, blue/green, approval, impatient, shadow first, and all at once with a judged bake."""


def judgement_of(quality: Quality, state: RolloutState, spec: Rollout, now_s: float) -> Judgement | None:
    """What the evidence says, once there is any."""
    if state.since_s is None or (quality is Quality.SILENT and int(now_s) % 2):
        return None
    if quality is Quality.FLAPPING:
        quality = Quality.HARMFUL if int(now_s / 60) % 2 else Quality.GOOD
    gating = () if state.step < 0 else tuple(check.check for check in spec.gating(state.step))
    verdicts: dict[CheckName, Verdict] = {check.check: Verdict.PASSED for check in spec.all_checks}
    cause: CheckName | None = None
    paused_by: CheckName | None = None
    if quality is Quality.SILENT:
        verdicts = dict.fromkeys(verdicts, Verdict.ERRORED)
    if quality is Quality.HARMFUL:
        cause = "errors"
    if quality is Quality.DOUBTFUL and "predictions" in verdicts and "predictions" not in state.accepted:
        paused_by = "predictions"
    if cause is not None or paused_by is not None:
        verdicts[cause or paused_by or "errors"] = Verdict.FAILED
    overall = Verdict.ERRORED if quality is Quality.SILENT else Verdict.PASSED
    if paused_by is not None:
        overall = Verdict.INCONCLUSIVE
    if cause is not None:
        overall = Verdict.FAILED
    return Judgement(
        step=state.step,
        through_s=math.ceil(now_s),
        looks=1,
        verdict=overall,
        checks=tuple(
            CheckJudgement(name, verdict, f"{name} {verdict}", name in gating, "rollback", 1.0, 0.0, 0.0)
            for name, verdict in verdicts.items()
        ),
        cause=cause,
        paused_by=paused_by,
        seen=quality is not Quality.SILENT,
    )


class RolloutWorld(World):
    """Everything that a rollout meets."""

    def __init__(self, decide_rollout: DecideRollout = decision.next_action) -> None:
        super().__init__()
        self.decide_rollout = decide_rollout
        self.quality: dict[tuple[str, int], Quality] = {}
        self.by_hand: set[tuple[str, int]] = set()
        """What a person has moved past its checks."""

    def happen(self, op: Op, decide: Decide) -> None:
        name, number = op
        endpoint, spec = ENDPOINTS[number % 2], SPECS[number % len(SPECS)]
        state = self.states.get(endpoint)
        match name:
            case "force":
                self.deploy(endpoint, name, spec, force="stable is broken")
            case "roll_out_unloadable":
                self.roll_out(endpoint, spec, Quality.GOOD, how="deploy_bad")
            case _ if name.startswith("roll_out_"):
                self.roll_out(endpoint, spec, Quality(name[9:]))
            case "promote" | "promote_full" | "pause" | "resume" | "abort" | "approve" | "traffic":
                self.user_move(endpoint, name, number)
            case "look" | "floor":
                self.now_s += number * 15.0
                self.look(endpoint, "6 crashes in 10 s" if name == "floor" else None)
            case "tick":
                self.settle(decide)
                self.look(endpoint)
                self.now_s += number * 15.0
            case "lose_candidate" if state is not None and state.rollout is not None:
                route, candidate = self.table.route(endpoint), state.rollout.candidate
                if route is not None and route.revision(candidate) is not None:
                    self.lose(endpoint, candidate)
            case _:
                super().happen(op, decide)

    def roll_out(self, endpoint: str, spec: Rollout, quality: Quality, how: str = "deploy") -> None:
        self.quality[endpoint, self.deploy(endpoint, how, spec)] = quality

    def user_move(self, endpoint: str, name: str, number: int) -> None:
        state = self.states.get(endpoint)
        if state is None or state.rollout is None:
            return
        candidate = self.revisions[endpoint, state.rollout.candidate]
        asked = state, candidate, "ada", self.now_s, None
        try:
            match name:
                case "promote" | "promote_full":
                    plan = moves.promote(*asked, full=name == "promote_full")
                case "pause":
                    plan = moves.pause(*asked)
                case "resume":
                    plan = moves.resume(*asked)
                case "abort":
                    plan = moves.abort(*asked)
                case "approve":
                    plan = moves.approve(*asked)
                case _:
                    plan = moves.traffic(*asked, percent=number * 20.0)
        except SeawayError as error:
            assert error.code in ("no_rollout", "rollout_not_ready", "invalid_request")
            return
        if name.startswith(("promote", "traffic")):
            self.by_hand.add((endpoint, candidate.number))
        self.commit(plan)

    def commit(self, plan: changes.Plan) -> None:
        """Compare-and-set, and what is never undone."""
        state = self.states[plan.state.endpoint]
        assert plan.state.generation == state.generation + bool(plan.state != state)
        before, after = state.rollout, plan.state.rollout
        assert before is not None and after is not None
        if before.phase in (RolloutPhase.ABORTED, RolloutPhase.ROLLED_BACK):
            assert after == before, "an end was not final"
        elif after.phase in (RolloutPhase.ABORTED, RolloutPhase.ROLLED_BACK):
            self.latched.add((state.endpoint, after.candidate))
            assert plan.state.desired == after.stable and plan.state.rollback
        self.states[state.endpoint] = plan.state

    def look(self, endpoint: str, floor: str | None = None) -> decision.RolloutAction | None:
        """One look of the analysis at one endpoint."""
        state = self.states.get(endpoint)
        if state is None or state.rollout is None:
            return None
        candidate = self.revisions[endpoint, state.rollout.candidate]
        progress = routing.progress(self.snapshot(), state)
        quality = self.quality[endpoint, candidate.number]
        judgement = judgement_of(quality, state.rollout, candidate.spec.rollout, self.now_s)
        action = self.decide_rollout(
            decision.Snapshot(
                now_s=self.now_s,
                state=state.rollout,
                spec=candidate.spec.rollout,
                ready=progress.ready,
                settled=progress.settled,
                judgement=judgement,
                floor=floor,
                bakes_until_s=state.warm_until_s,
            )
        )
        assert action is None or state.rollout.judged, "it acted after the end"
        harm = judgement is not None and judgement.verdict is Verdict.FAILED
        if state.rollout.judged and (harm or floor is not None):
            assert isinstance(action, decision.RollBack), "harm was let be"
        if isinstance(action, decision.RollBack):
            self.latched.add((endpoint, candidate.number))
        if action is not None:
            self.commit(moves.apply(action, state, candidate, self.now_s))
        return action

    def let_end(self, decide: Decide, endpoint: str) -> None:
        """Look once a minute until the rollout is over or waits for a person, who lets it go on."""
        for _ in range(100):
            self.settle(decide)
            state = self.states.get(endpoint)
            if state is None or state.rollout is None or not state.rollout.judged:
                return
            if self.look(endpoint) is None:
                self.user_move(endpoint, "approve", 0)
                self.now_s += 60.0
            elif self.states[endpoint].rollout.phase is RolloutPhase.PAUSED:  # type: ignore[union-attr]
                self.settle(decide)
                self.user_move(endpoint, "resume", 0)
        self.user_move(endpoint, "abort", 0)
        self.settle(decide)

    def check_end(self, endpoint: str, candidate: int) -> None:
        """A rollout that was left to itself."""
        state, key = self.states[endpoint], (endpoint, candidate)
        assert state.rollout is not None and state.rollout.candidate == candidate
        spec = self.revisions[key].spec.rollout
        gated = any(spec.gating(step) for step in range(len(spec.steps) - 1))
        route = self.table.route(endpoint)
        held = None if route is None else route.revision(candidate)
        quality = self.quality[key]
        if quality is Quality.HARMFUL:
            assert state.rollout.phase is RolloutPhase.ROLLED_BACK, "harm was not rolled back"
            assert held is None or held.percent == 0
        elif quality is Quality.SILENT and gated and key not in self.by_hand:
            assert state.rollout.phase is not RolloutPhase.PROMOTED, "promoted on nothing"
            assert held is None or held.percent == 0
        elif quality in (Quality.GOOD, Quality.DOUBTFUL) and self.revisions[key].digest not in self.bad:
            assert state.rollout.phase is RolloutPhase.PROMOTED, "what passed was not promoted"
            assert state.live == candidate and held is not None and held.percent == 100

    def finish(self, decide: Decide) -> None:
        """Rollouts are left to themselves, and end as they must."""
        self.come_up(decide)
        for endpoint, state in self.states.items():
            if state.rollout is not None and state.rollout.judged:
                if state.rollout.phase is RolloutPhase.PAUSED:
                    self.user_move(endpoint, "resume", 0)
                self.let_end(decide, endpoint)
                self.check_end(endpoint, state.rollout.candidate)
        super().finish(decide)
        for endpoint in self.states:
            assert self.look(endpoint) is None


def play_rollouts(ops: list[Op], decide_rollout: DecideRollout = decision.next_action) -> None:
    world = RolloutWorld(decide_rollout)
    for op in ops:
        world.happen(op, reconciliation.next_action)
    world.finish(reconciliation.next_action)

"""Whole lives of rollouts, and the wrong decisions that those lives must find out."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

import msgspec
import pytest
from control_world import Op
from hypothesis import given, settings
from hypothesis import strategies as st
from rollout_world import ROLLOUT_OPS, SPECS, DecideRollout, Quality, RolloutWorld, play_rollouts

from seaway.control.rollouts import moves
from seaway.core import reconciliation, routing
from seaway.core.errors import SeawayError
from seaway.core.rollouts import decision
from seaway.core.rollouts.decision import Finish, RollBack, Settle, Snapshot, TakeStep
from seaway.core.rollouts.state import Grounds, RolloutPhase, RolloutState

ROLL_OUTS = tuple(op for op in ROLLOUT_OPS if op.startswith("roll_out_"))
ONE_ROLLOUT = (
    *("tick",) * 12,
    "pause",
    "pause",
    "resume",
    "approve",
    "promote",
    "traffic",
    "floor",
    "kill",
    "start",
)
PRELUDE: list[Op] = [("start", 0), ("start", 1), ("deploy", 0), ("deploy", 1), ("settle", 0)]


def _life(seed: int, decide: DecideRollout) -> RolloutWorld:
    """A life of two endpoints, both live at its beginning. Raises AssertionError where a promise is broken."""
    dice, world = random.Random(seed), RolloutWorld(decide)
    ops: tuple[str, ...] = ROLLOUT_OPS
    first = PRELUDE
    if seed % 2:  # else rollouts follow each other so closely that few get far
        first = [*PRELUDE, *((dice.choice(ROLL_OUTS), 2 * dice.randrange(3) + end) for end in (0, 1))]
        ops = ONE_ROLLOUT
    for op in (*first, *((dice.choice(ops), dice.randrange(6)) for _ in range(30))):
        world.happen(op, reconciliation.next_action)
    world.finish(reconciliation.next_action)
    return world


def _survives(decide: DecideRollout) -> bool:
    for seed in range(60):
        try:
            _life(seed, decide)
        except (AssertionError, SeawayError):
            return False
    return True


def _always_hold(snapshot: Snapshot) -> decision.RolloutAction | None:
    return None


def _always_promote(snapshot: Snapshot) -> decision.RolloutAction | None:
    state = snapshot.state
    if not state.judged:
        return None
    if state.phase is RolloutPhase.BAKING:
        return Finish()
    if snapshot.settled and state.since_s is None:
        return Settle()
    if not snapshot.settled or state.step + 1 == len(snapshot.spec.steps):
        return None
    return TakeStep(state.step + 1, Grounds("time"))


def _forget_the_latch(snapshot: Snapshot) -> decision.RolloutAction | None:
    """What has gone back is taken for one that waits."""
    if snapshot.state.phase is RolloutPhase.ROLLED_BACK:
        waits = msgspec.structs.replace(snapshot.state, phase=RolloutPhase.WAITING, step=-1)
        return decision.next_action(msgspec.structs.replace(snapshot, state=waits))
    return decision.next_action(snapshot)


def _deaf_while_paused(snapshot: Snapshot) -> decision.RolloutAction | None:
    return None if snapshot.state.phase is RolloutPhase.PAUSED else decision.next_action(snapshot)


def _blind_to_silence(snapshot: Snapshot) -> decision.RolloutAction | None:
    """A dead metric source is taken for one that has nothing to say against it."""
    judged = snapshot.judgement
    if judged is None or not judged.seen:
        unchecked = msgspec.structs.replace(snapshot.spec, checks=())
        return decision.next_action(msgspec.structs.replace(snapshot, spec=unchecked, judgement=None))
    return decision.next_action(snapshot)


MUTANTS: dict[str, DecideRollout] = {
    "always hold": _always_hold,
    "always promote": _always_promote,
    "forget the latch": _forget_the_latch,
    "deaf while paused": _deaf_while_paused,
    "blind to silence": _blind_to_silence,
}


def _not_ended(rollout: RolloutState, *_: object, **__: object) -> RolloutState:
    return msgspec.structs.replace(rollout, phase=RolloutPhase.RUNNING, percent=0.0)


def _at_any_rate(snapshot: object, state: object, number: int, current: object) -> bool:
    return True


PATCHES: dict[str, tuple[object, str, Callable[..., object]]] = {
    "a rollback ends nothing": (moves, "ended", _not_ended),
    "a share rises at any rate": (routing, "_may_carry", _at_any_rate),
    "a candidate is dropped while one worker reloads it": (routing, "_stays_warm", lambda *_: False),
}


@given(st.lists(st.tuples(st.sampled_from(ROLLOUT_OPS), st.integers(0, 5)), max_size=40))
@settings(max_examples=300, deadline=None)
def test_whatever_happens_every_promise_is_kept(ops: list[Op]) -> None:
    """Splits sum to 100, no share rises on what is not ready, harm ends at 0 %, what passes is promoted, an end is final."""
    play_rollouts([*PRELUDE, *ops])


@pytest.mark.parametrize("seed", range(60))
def test_a_life_keeps_every_promise(seed: int) -> None:
    _life(seed, decision.next_action)


def test_those_lives_see_every_way_a_rollout_can_go() -> None:
    """Else they could not find a wrong decision out."""
    seen: Counter[str] = Counter()

    def watched(snapshot: Snapshot) -> decision.RolloutAction | None:
        action = decision.next_action(snapshot)
        assert action == decision.next_action(snapshot), "the same moment gave another action"
        seen[type(action).__name__] += 1
        seen[snapshot.state.phase] += 1
        return action

    for seed in range(60):
        _life(seed, watched)
    assert {"TakeStep", "Settle", "Pause", "RollBack", "Finish"} <= seen.keys()
    assert {*RolloutPhase} - {RolloutPhase.SUPERSEDED} <= seen.keys()  # a superseded one is replaced at once


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_of_the_decision_is_found_out(name: str) -> None:
    assert not _survives(MUTANTS[name])


@pytest.mark.parametrize("name", PATCHES)
def test_a_mutant_of_what_is_done_is_found_out(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(*PATCHES[name])
    assert not _survives(decision.next_action)


def _rolled_out(quality: Quality, spec: int = 0, minutes: int = 30) -> tuple[RolloutWorld, list[float]]:
    """A rollout over a live revision and two workers; the candidate's share after each look."""
    world, shares = RolloutWorld(), []
    for op in PRELUDE:
        world.happen(op, reconciliation.next_action)
    world.roll_out("a", SPECS[spec], quality)
    for _ in range(minutes):
        world.settle(reconciliation.next_action)
        world.look("a")
        world.settle(reconciliation.next_action)
        route = world.table.route("a")
        assert route is not None
        found = route.revision(2)
        shares.append(0.0 if found is None else found.percent)
        world.now_s += 60
    return world, shares


def test_t1_a_good_candidate_climbs_its_steps_and_is_promoted() -> None:
    world, shares = _rolled_out(Quality.GOOD)
    assert [share for share, after in zip(shares, [*shares[1:], None], strict=True) if share != after] == [
        0,
        10,
        50,
        100,
    ]
    state = world.states["a"]
    assert state.rollout is not None and state.rollout.phase is RolloutPhase.PROMOTED
    assert (state.live, state.previous, state.rollback) == (2, 1, False)


def test_a_harmful_candidate_goes_back_within_one_look_of_its_judgement() -> None:
    world, shares = _rolled_out(Quality.HARMFUL)
    assert shares[-1] == 0
    state = world.states["a"]
    assert (state.desired, state.live, state.failed, state.rollback) == (1, 1, 2, True)
    assert state.rollout is not None
    assert (state.rollout.phase, state.rollout.cause) == (RolloutPhase.ROLLED_BACK, "errors")


def test_c09_a_dead_metric_source_holds_and_ends_as_the_policy_says_never_promoted() -> None:
    world, shares = _rolled_out(Quality.SILENT)
    state = world.states["a"]
    assert max(shares) == 10 and shares[-1] == 0
    assert state.rollout is not None and state.rollout.phase is RolloutPhase.ROLLED_BACK
    for spec in (2, 3):  # pause, and promote, which is no promotion on nothing either
        world, shares = _rolled_out(Quality.SILENT, spec)
        paused = world.states["a"].rollout
        assert paused is not None and paused.phase is RolloutPhase.PAUSED
        assert paused.why is not None and "not decided within" in paused.why
        assert max(shares) == shares[-1] < 100


def test_what_takes_the_place_of_a_worker_makes_no_share_fall() -> None:
    """A worker that starts anew has to load the candidate first: meanwhile its share neither rises nor falls."""
    world = RolloutWorld()
    for op in PRELUDE:
        world.happen(op, reconciliation.next_action)
    world.roll_out("a", SPECS[0], Quality.GOOD)
    for _ in range(3):
        world.settle(reconciliation.next_action)
        world.look("a")
        world.now_s += 60
    world.settle(reconciliation.next_action)
    world.workers.pop(1)
    world.lose("a", 2)  # so that the new worker cannot load it
    world.start(1)
    for _ in range(3):
        world.settle(reconciliation.next_action)
        assert not isinstance(world.look("a"), TakeStep | RollBack)
        world.now_s += 60
    route = world.table.route("a")
    assert route is not None and [(r.number, r.percent) for r in route.revisions] == [(1, 90), (2, 10)]
    world.find_again()
    world.let_end(reconciliation.next_action, "a")
    found = world.states["a"].rollout
    assert found is not None and found.phase is RolloutPhase.PROMOTED

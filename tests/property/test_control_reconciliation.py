"""The decision of the control loop against simulated workers: whatever happens, it converges and never loses traffic."""

from __future__ import annotations

import random
from collections.abc import Callable
from types import ModuleType

import msgspec
import pytest
from control_world import OPS, Op, World, play
from hypothesis import given, settings
from hypothesis import strategies as st

from seaway.core import observed, routing
from seaway.core import reconciliation as core
from seaway.core.deployments import Phase
from seaway.core.traffic import RoutingTable


@given(st.lists(st.tuples(st.sampled_from(OPS), st.integers(0, 5)), max_size=40))
@settings(max_examples=300, deadline=None)
def test_it_converges_and_never_routes_to_what_is_not_ready(ops: list[Op]) -> None:
    play(ops, core.next_action)


@given(st.lists(st.tuples(st.sampled_from(OPS), st.integers(0, 5)), max_size=30))
@settings(max_examples=50, deadline=None)
def test_the_same_snapshot_gives_the_same_action(ops: list[Op]) -> None:
    def twice(snapshot: observed.Snapshot) -> core.Action | None:
        first = core.next_action(snapshot)
        assert first == core.next_action(snapshot)
        return first

    play(ops, twice)


def _without(kind: type) -> Callable[[observed.Snapshot], core.Action | None]:
    return lambda snapshot: None if isinstance(a := core.next_action(snapshot), kind) else a


def _failed_moves(snapshot: observed.Snapshot) -> core.Action | None:
    action = core.next_action(snapshot)
    return msgspec.structs.replace(action, stay=None) if isinstance(action, core.MarkFailed) else action


def _never_newer(snapshot: observed.Snapshot) -> core.Action | None:
    action = core.next_action(snapshot)
    if isinstance(action, core.WriteTable):
        return core.WriteTable(msgspec.structs.replace(action.table, generation=snapshot.table.generation))
    return action


PATCHES: dict[str, tuple[ModuleType, str, object]] = {
    "commit before prepare": (observed, "ready_everywhere", lambda s, _e, _r: bool(s.serving)),
    "ready without workers": (
        observed,
        "ready_everywhere",
        lambda s, e, r: all(w.has_ready(e, r) for w in s.serving),
    ),
    "forget failures": (core, "_failure", lambda *_: None),
    "forget to prepare": (core, "_preparation", lambda *_: None),
    "forget late workers": (core, "_bring_up_to_date", lambda *_: None),
    "keep nothing warm": (routing, "needed", lambda state: {state.desired} - {None}),
    "forget to retire": (core, "_retirement", lambda *_: None),
    "forget to try again": (core, "_retry", lambda *_: None),
    "try again without a pause": (observed, "pause_s", lambda _failures: 0.0),
}
MUTANTS: dict[str, Callable[[observed.Snapshot], core.Action | None]] = {
    "never write": _without(core.WriteTable),
    "never live": _without(core.MarkLive),
    "never deleted": _without(core.MarkDeleted),
    "never cool": _without(core.EndBake),
    "a failure moves traffic": _failed_moves,
    "generations stand still": _never_newer,
}


def _survives(decide: Callable[[observed.Snapshot], core.Action | None]) -> bool:
    for seed in range(300):
        dice = random.Random(seed)
        ops = [(dice.choice(OPS), dice.randrange(6)) for _ in range(25)]
        try:
            play(ops, decide)
        except AssertionError:
            return False
    return True


def test_the_original_survives_what_kills_the_mutants() -> None:
    assert _survives(core.next_action)


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_of_the_answer_is_killed(name: str) -> None:
    assert not _survives(MUTANTS[name])


@pytest.mark.parametrize("name", [name for name in PATCHES if name != "keep nothing warm"])
def test_a_mutant_of_the_decision_is_killed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(*PATCHES[name])
    assert not _survives(core.next_action)


def _live(bake: str = "60s") -> World:
    """Revision 2 is live over revision 1, which is warm."""
    world = World()
    world.happen(("start", 0), core.next_action)
    for _ in range(2):
        world.deploy("a", "deploy")
        world.settle(core.next_action)
    return world


def _rollback_needs_no_load() -> None:
    world = _live()
    world.user_change("a", "rollback")
    kinds = []
    while (action := world.step(core.next_action)) is not None:
        kinds.append(type(action))
    assert kinds[:3] == [core.WriteTable, core.Commit, core.MarkLive]
    assert world.states["a"].live == 1


def test_a_rollback_to_a_warm_revision_swaps_at_once() -> None:
    _rollback_needs_no_load()


def test_a_mutant_that_keeps_nothing_warm_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(*PATCHES["keep nothing warm"])
    with pytest.raises(AssertionError):
        _rollback_needs_no_load()


def test_p21_a_damaged_bundle_leaves_the_last_good_revision() -> None:
    world = _live()
    world.bundles["a", 2] = observed.Broken("digest_mismatch", "damaged")
    world.deploy("a", "deploy_unopened")
    world.finish(core.next_action)
    assert world.states["a"].live == world.states["a"].desired == 2
    assert world.states["a"].failed == 3
    route = world.table.route("a")
    assert route is not None and [(r.number, r.percent) for r in route.revisions] == [(2, 100)]


def test_while_a_large_bundle_is_opened_its_endpoint_waits_and_another_is_rolled_back() -> None:
    world = _live()
    world.deploy("b", "deploy_large")
    world.user_change("a", "rollback")
    world.settle(core.next_action)
    assert (world.states["a"].phase, world.states["a"].live) == (Phase.LIVE, 1)
    assert (world.states["b"].phase, world.states["b"].live) == (Phase.PROGRESSING, None)
    world.opened([("b", 1)])
    world.settle(core.next_action)
    assert (world.states["b"].phase, world.states["b"].live) == (Phase.LIVE, 1)


def test_a_rollback_to_a_warm_revision_does_not_wait_until_it_is_opened_again() -> None:
    world = _live()
    world.open_anew(list(world.bundles))
    world.user_change("a", "rollback")
    world.settle(core.next_action)
    assert (world.states["a"].phase, world.states["a"].live) == (Phase.LIVE, 1)


def test_a_lost_table_is_written_once_all_that_it_may_have_named_is_open() -> None:
    """Written sooner, it would take from the workers what they serve."""
    world = _live()
    world.deploy("b", "deploy")
    world.settle(core.next_action)
    world.table = RoutingTable()
    world.open_anew(list(world.bundles))
    world.opened([("a", 2)])
    assert world.step(core.next_action) is None
    world.opened(list(world.opening))
    written = world.step(core.next_action)
    assert isinstance(written, core.WriteTable)
    assert [route.endpoint for route in written.table.routes] == ["a", "b"]
    world.settle(core.next_action)


def test_an_endpoint_comes_back_after_delete_with_new_numbers() -> None:
    world = _live()
    world.user_change("a", "delete")
    world.settle(core.next_action)
    assert world.states["a"].phase is Phase.DELETED
    assert world.table.routes == ()
    world.deploy("a", "deploy")
    world.settle(core.next_action)
    assert world.states["a"].live == 3


def test_nothing_moves_while_no_worker_runs() -> None:
    world = World()
    world.deploy("a", "deploy")
    world.settle(core.next_action)
    assert world.table == RoutingTable()
    assert world.states["a"].phase is Phase.PROGRESSING

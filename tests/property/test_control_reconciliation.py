"""The decision of the control loop against simulated workers: whatever happens, it converges and never loses traffic."""

from __future__ import annotations

import random
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seaway.control import auth, changes
from seaway.core import reconciliation as core
from seaway.core.bundles import Digest, Version
from seaway.core.checks import GateReport, Verdict
from seaway.core.deployments import Backend, Deployment, DeploymentState, Phase, Revision, Rollout
from seaway.core.errors import UserError
from seaway.core.traffic import RoutingTable

ADA = auth.Principal("ada", auth.Role.OWNER)
ENDPOINTS = ("a", "b")
OPS = (
    "deploy",
    "deploy_bad",
    "deploy_unopened",
    "rollback",
    "delete",
    "kill",
    "start",
    "drain",
    "wait",
    "step",
    "settle",
)
Op = tuple[str, int]


class SimulatedWorker:
    """A worker that keeps the protocol: it starts with the written table, and refuses to commit what is not ready."""

    def __init__(self, slot: int, table: RoutingTable, bad: set[Digest]) -> None:
        self.slot, self.table, self.draining, self.bad = slot, table, False, bad
        self.loaded: dict[tuple[str, int], core.WorkerRevision] = {}
        self.loading: dict[tuple[str, int], int] = {}
        for route in table.routes:
            for revision in route.revisions:
                self.load(route.endpoint, revision.number, revision.digest)

    def begin(self, endpoint: str, number: int, digest: Digest) -> None:
        """Loading takes three looks of the loop; until then the revision is there, but not ready."""
        self.loaded[endpoint, number] = core.WorkerRevision(endpoint, number, digest, ready=False)
        self.loading[endpoint, number] = 3

    def tick(self) -> None:
        for key, left in list(self.loading.items()):
            self.loading[key] = left - 1
            if left == 0:
                del self.loading[key]
                self.load(*key, self.loaded[key].digest)

    def load(self, endpoint: str, number: int, digest: Digest) -> None:
        error = "it does not load" if digest in self.bad else None
        self.loaded[endpoint, number] = core.WorkerRevision(endpoint, number, digest, error is None, error)

    def commit(self, table: RoutingTable) -> None:
        for route in table.routes:
            for revision in route.revisions:
                held = self.loaded.get((route.endpoint, revision.number))
                assert held is not None and held.ready, "a commit named a revision that is not ready"
        self.table = table

    def retire(self, endpoint: str, number: int) -> None:
        route = self.table.route(endpoint)
        assert route is None or route.revision(number) is None, "a revision was retired that is routed"
        self.loaded.pop((endpoint, number), None)
        self.loading.pop((endpoint, number), None)

    def view(self) -> core.WorkerView:
        return core.WorkerView(self.slot, self.table.generation, self.draining, tuple(self.loaded.values()))


class World:
    """Everything that a Snapshot is taken of, and what may happen to it."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.states: dict[str, DeploymentState] = {}
        self.revisions: dict[tuple[str, int], Revision] = {}
        self.bundles: dict[tuple[str, int], str | core.Broken] = {}
        self.table = RoutingTable()
        self.bad: set[Digest] = set()
        self.workers: dict[int, SimulatedWorker] = {}
        self.versions = 0

    def snapshot(self) -> core.Snapshot:
        return core.Snapshot(
            now_s=self.now_s,
            states=tuple(s for _, s in sorted(self.states.items()) if s.phase is not Phase.DELETED),
            revisions=self.revisions,
            bundles=self.bundles,
            table=self.table,
            workers=tuple(w.view() for w in self.workers.values()),
        )

    def happen(self, op: Op, decide: Callable[[core.Snapshot], core.Action | None]) -> None:
        name, number = op
        endpoint, slot = ENDPOINTS[number % 2], number % 3
        match name:
            case "deploy" | "deploy_bad" | "deploy_unopened":
                self.deploy(endpoint, name)
            case "rollback" | "delete":
                self.user_change(endpoint, name)
            case "kill":
                self.workers.pop(slot, None)
            case "start" if slot not in self.workers:
                self.workers[slot] = SimulatedWorker(slot, self.table, self.bad)
            case "drain" if slot in self.workers:
                self.workers[slot].draining = True
            case "wait":
                self.now_s += number * 20.0
            case "step":
                self.step(decide)
            case "settle":
                self.settle(decide)
            case _:
                pass

    def deploy(self, endpoint: str, how: str) -> None:
        self.versions += 1
        digest = Digest(f"sha256:{self.versions:064x}")
        spec = Deployment(1, endpoint, Backend(bundle=f"m:v{self.versions}"), rollout=Rollout(bake="60s"))
        report = GateReport(digest, "m:v1", Verdict.PASSED, (), "")
        judged = changes.judge(spec, Version("m", self.versions, digest, 1, ""), report, None)
        plan = changes.deploy(self.states.get(endpoint), judged, endpoint, ADA, self.now_s)
        assert plan.revision is not None
        self.states[endpoint] = plan.state
        key = endpoint, plan.revision.number
        self.revisions[key] = plan.revision
        self.bundles[key] = (
            core.Broken("damaged") if how == "deploy_unopened" else f"/bundles/{self.versions}"
        )
        if how == "deploy_bad":
            self.bad.add(digest)

    def user_change(self, endpoint: str, name: str) -> None:
        state = self.states.get(endpoint)
        if state is None or state.phase in (Phase.DELETING, Phase.DELETED):
            return
        if name == "delete":
            self.states[endpoint] = changes.delete(state, ADA, self.now_s).state
            return
        try:
            target = changes.rollback_target(
                state, [r for (name, _), r in self.revisions.items() if name == endpoint], None
            )
        except UserError:
            return
        self.states[endpoint] = changes.rollback(
            state, self.revisions[endpoint, target], ADA, self.now_s
        ).state

    def carrying(self, table: RoutingTable, endpoint: str) -> int | None:
        route = table.route(endpoint)
        return None if route is None else next(r.number for r in route.revisions if r.percent == 100)

    def step(self, decide: Callable[[core.Snapshot], core.Action | None]) -> core.Action | None:
        for worker in self.workers.values():
            worker.tick()
        action = decide(self.snapshot())
        match action:
            case core.Prepare(slots=slots, endpoint=endpoint, revision=revision):
                for slot in slots:
                    self.workers[slot].begin(endpoint, revision.number, revision.digest)
            case core.WriteTable(table=table):
                self.check_table(table)
                self.table = table
            case core.Commit(slots=slots, table=table):
                assert table == self.table, "a table was committed that is not on disk"
                for slot in slots:
                    self.workers[slot].commit(table)
            case core.Retire(slot=slot, endpoint=endpoint, number=number):
                self.workers[slot].retire(endpoint, number)
            case None:
                pass
            case _:
                self.store(action)
        return action

    def store(self, action: core.Stored) -> None:
        state = self.states[action.endpoint]
        assert action.generation == state.generation
        if isinstance(action, core.MarkLive):
            assert self.carrying(self.table, action.endpoint) == action.number == state.desired
            assert any(w.table == self.table for w in self.workers.values()), (
                "called live, and no worker routes to it"
            )
        if isinstance(action, core.MarkFailed):
            routed = self.carrying(self.table, action.endpoint)
            assert action.stay == (state.live if routed is None else routed), "a failure moved the traffic"
        number = action.number if isinstance(action, core.MarkLive | core.MarkFailed) else state.previous
        revision = None if number is None else self.revisions[action.endpoint, number]
        new, _ = changes.settle(action, state, revision, self.now_s)
        self.states[action.endpoint] = msgspec.structs.replace(new, generation=state.generation + 1)

    def check_table(self, table: RoutingTable) -> None:
        assert table.generation > max(
            [self.table.generation, *(w.table.generation for w in self.workers.values())]
        )
        serving = [w for w in self.workers.values() if not w.draining]
        for route in table.routes:
            number = self.carrying(table, route.endpoint)
            assert sum(r.percent for r in route.revisions) == 100
            if number != self.carrying(self.table, route.endpoint):
                assert serving, "traffic moved while no worker ran"
                for worker in serving:
                    held = worker.loaded.get((route.endpoint, number or 0))
                    assert held is not None and held.ready, "traffic moved to a revision that a worker lacks"

    def settle(self, decide: Callable[[core.Snapshot], core.Action | None]) -> None:
        for _ in range(200):
            if self.step(decide) is None and not any(w.loading for w in self.workers.values()):
                return
        raise AssertionError("it does not come to rest")

    def finish(self, decide: Callable[[core.Snapshot], core.Action | None]) -> None:
        """Nothing more happens, and a worker runs: all must become as desired."""
        self.workers = {slot: w for slot, w in self.workers.items() if not w.draining}
        self.workers.setdefault(0, SimulatedWorker(0, self.table, self.bad))
        self.settle(decide)
        self.now_s += 10_000
        self.settle(decide)
        routed = {(r.endpoint, n.number): n.percent for r in self.table.routes for n in r.revisions}
        wanted = {(s.endpoint, s.desired): 100.0 for s in self.states.values() if s.desired is not None}
        assert routed == wanted, "the table is not as desired"
        for state in self.states.values():
            assert state.phase in (Phase.LIVE, Phase.FAILED, Phase.DELETED), f"{state.endpoint} is stuck"
            assert state.desired == state.live
            assert state.warm_until_s is None
        for worker in self.workers.values():
            assert worker.table == self.table, "a worker is behind"
            assert set(worker.loaded) == set(wanted), (
                "a worker holds what nobody needs, or lacks what is routed"
            )


def play(ops: list[Op], decide: Callable[[core.Snapshot], core.Action | None]) -> None:
    world = World()
    for op in ops:
        world.happen(op, decide)
    world.finish(decide)


@given(st.lists(st.tuples(st.sampled_from(OPS), st.integers(0, 5)), max_size=40))
@settings(max_examples=300, deadline=None)
def test_it_converges_and_never_routes_to_what_is_not_ready(ops: list[Op]) -> None:
    play(ops, core.next_action)


@given(st.lists(st.tuples(st.sampled_from(OPS), st.integers(0, 5)), max_size=30))
@settings(max_examples=50, deadline=None)
def test_the_same_snapshot_gives_the_same_action(ops: list[Op]) -> None:
    def twice(snapshot: core.Snapshot) -> core.Action | None:
        first = core.next_action(snapshot)
        assert first == core.next_action(snapshot)
        return first

    play(ops, twice)


def _without(kind: type) -> Callable[[core.Snapshot], core.Action | None]:
    return lambda snapshot: None if isinstance(a := core.next_action(snapshot), kind) else a


def _failed_moves(snapshot: core.Snapshot) -> core.Action | None:
    action = core.next_action(snapshot)
    return msgspec.structs.replace(action, stay=None) if isinstance(action, core.MarkFailed) else action


def _never_newer(snapshot: core.Snapshot) -> core.Action | None:
    action = core.next_action(snapshot)
    if isinstance(action, core.WriteTable):
        return core.WriteTable(msgspec.structs.replace(action.table, generation=snapshot.table.generation))
    return action


PATCHES: dict[str, tuple[str, object]] = {
    "commit before prepare": ("_ready_everywhere", lambda _e, _r, workers: bool(tuple(workers))),
    "ready without workers": (
        "_ready_everywhere",
        lambda e, r, workers: all((f := w.find(e, r)) is not None and f.ready for w in workers),
    ),
    "forget failures": ("_failure", lambda *_: None),
    "forget to prepare": ("_preparation", lambda *_: None),
    "forget late workers": ("_bring_up_to_date", lambda *_: None),
    "keep nothing warm": ("_warm_numbers", lambda state: ()),
    "forget to retire": ("_retirement", lambda *_: None),
}
MUTANTS: dict[str, Callable[[core.Snapshot], core.Action | None]] = {
    "never write": _without(core.WriteTable),
    "never live": _without(core.MarkLive),
    "never deleted": _without(core.MarkDeleted),
    "never cool": _without(core.EndBake),
    "a failure moves traffic": _failed_moves,
    "generations stand still": _never_newer,
}


def _survives(decide: Callable[[core.Snapshot], core.Action | None]) -> bool:
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
    function, mutant = PATCHES[name]
    monkeypatch.setattr(core, function, mutant)
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
    monkeypatch.setattr(core, *PATCHES["keep nothing warm"])
    with pytest.raises(AssertionError):
        _rollback_needs_no_load()


def test_p21_a_damaged_bundle_leaves_the_last_good_revision() -> None:
    world = _live()
    world.bundles["a", 2] = core.Broken("digest_mismatch")
    world.deploy("a", "deploy_unopened")
    world.finish(core.next_action)
    assert world.states["a"].live == world.states["a"].desired == 2
    assert world.states["a"].failed == 3
    assert world.carrying(world.table, "a") == 2


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

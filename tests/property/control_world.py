"""A simulated world for the decision of the control loop: workers, store and table, and what may happen to them."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

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
    "lose",
    "find",
)
Op = tuple[str, int]


class SimulatedWorker:
    """A worker that keeps the protocol: it starts with the written table, and refuses to commit what is not ready."""

    def __init__(self, slot: int, table: RoutingTable, bad: set[Digest]) -> None:
        self.slot, self.table, self.draining, self.bad = slot, table, False, bad
        self.loaded: dict[tuple[str, int], core.WorkerRevision] = {}
        self.loading: dict[tuple[str, int], int] = {}
        self.failures: dict[tuple[str, int], list[float]] = {}
        self.now_s = 0.0
        for route in table.routes:
            for revision in route.revisions:
                self.load(route.endpoint, revision.number, revision.digest)

    def begin(self, endpoint: str, number: int, digest: Digest) -> None:
        """Loading takes three looks of the loop; until then the revision is there, but not ready."""
        failed = self.failures.get((endpoint, number), [])
        assert not failed or self.now_s - failed[-1] >= core.pause_s(len(failed)), (
            "tried again without a pause"
        )
        self.loaded[endpoint, number] = core.WorkerRevision(endpoint, number, digest, ready=False)
        self.loading[endpoint, number] = 3

    def tick(self) -> None:
        for key, left in list(self.loading.items()):
            self.loading[key] = left - 1
            if left == 0:
                del self.loading[key]
                self.load(*key, self.loaded[key].digest)

    def load(self, endpoint: str, number: int, digest: Digest) -> None:
        bad = digest in self.bad
        if bad:
            self.failures.setdefault((endpoint, number), []).append(self.now_s)
        self.loaded[endpoint, number] = core.WorkerRevision(endpoint, number, digest, ready=not bad)

    def commit(self, table: RoutingTable) -> None:
        for route in table.routes:
            for revision in route.revisions:
                held = self.loaded.get((route.endpoint, revision.number))
                known = self.table.route(route.endpoint)
                routed = known is not None and known.revision(revision.number) is not None
                assert held is not None and (held.ready or routed), (
                    "a commit named a revision that is not ready"
                )
        self.table = table

    def retire(self, endpoint: str, number: int) -> None:
        route = self.table.route(endpoint)
        assert route is None or route.revision(number) is None, "a revision was retired that is routed"
        self.loaded.pop((endpoint, number), None)
        self.loading.pop((endpoint, number), None)
        self.failures.pop((endpoint, number), None)

    def view(self) -> core.WorkerView:
        loaded = tuple(
            msgspec.structs.replace(held, failure=self.failure(key)) for key, held in self.loaded.items()
        )
        return core.WorkerView(self.slot, self.table.generation, self.draining, loaded)

    def failure(self, key: tuple[str, int]) -> core.LoadFailure | None:
        failed = self.failures.get(key)
        if not failed or self.loaded[key].ready or key in self.loading:
            return None
        return core.LoadFailure("digest_mismatch", "it does not load", len(failed), self.now_s - failed[-1])


class World:
    """Everything that a Snapshot is taken of, and what may happen to it."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.states: dict[str, DeploymentState] = {}
        self.revisions: dict[tuple[str, int], Revision] = {}
        self.bundles: dict[tuple[str, int], str | core.Broken] = {}
        self.table = RoutingTable()
        self.bad: set[Digest] = set()
        self.lost: set[Digest] = set()
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
            deaths={},
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
                self.start(slot)
            case "drain" if slot in self.workers:
                self.workers[slot].draining = True
            case "wait":
                self.now_s += number * 20.0
            case "step":
                self.step(decide)
            case "settle":
                self.settle(decide)
            case "lose":
                self.lose(endpoint)
            case "find":
                self.find_again()
            case _:
                pass

    def start(self, slot: int) -> None:
        self.workers.setdefault(slot, SimulatedWorker(slot, self.table, self.bad))

    def lose(self, endpoint: str) -> None:
        """The files of what is live are removed: it cannot be loaded again until they are found."""
        state = self.states.get(endpoint)
        if state is not None and state.live is not None:
            digest = self.revisions[endpoint, state.live].digest
            if digest not in self.bad:
                self.lost.add(digest)
                self.bad.add(digest)

    def find_again(self) -> None:
        self.bad -= self.lost
        self.lost.clear()

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
            core.Broken("digest_mismatch", "damaged")
            if how == "deploy_unopened"
            else f"/bundles/{self.versions}"
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
            state, self.revisions[endpoint, target], None, ADA, self.now_s
        ).state

    def carrying(self, table: RoutingTable, endpoint: str) -> int | None:
        route = table.route(endpoint)
        return None if route is None else next(r.number for r in route.revisions if r.percent == 100)

    def step(self, decide: Callable[[core.Snapshot], core.Action | None]) -> core.Action | None:
        for worker in self.workers.values():
            worker.now_s = self.now_s
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
        self.start(0)
        self.settle(decide)
        self.find_again()
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
            assert all(held.ready for held in worker.loaded.values()), "what is routed does not answer"


def play(ops: list[Op], decide: Callable[[core.Snapshot], core.Action | None]) -> None:
    world = World()
    for op in ops:
        world.happen(op, decide)
    world.finish(decide)

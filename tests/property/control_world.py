"""A simulated world for the decisions of the control process: workers, store and table, and what may happen to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec
from simulated_workers import SimulatedWorker

from seaway.control import auth, changes, gating
from seaway.core import observed, routing
from seaway.core import reconciliation as core
from seaway.core.bundles import Digest, Version
from seaway.core.checks import GateReport, Verdict
from seaway.core.deployments import Backend, Deployment, DeploymentState, Phase, Revision
from seaway.core.errors import UserError
from seaway.core.rollouts.spec import Rollout
from seaway.core.traffic import Route, RoutingTable

ADA = auth.Principal("ada", auth.Role.OWNER)
ENDPOINTS = ("a", "b")
OPS = (
    "deploy",
    "deploy_bad",
    "deploy_unopened",
    "deploy_large",
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
    "restart",
    "opened",
)
Op = tuple[str, int]
Decide = Callable[[observed.Snapshot], core.Action | None]
PLAIN: Final = Rollout(bake="60s")


class World:
    """Everything that a Snapshot is taken of, and what may happen to it."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.states: dict[str, DeploymentState] = {}
        self.revisions: dict[tuple[str, int], Revision] = {}
        self.bundles: dict[tuple[str, int], str | observed.Broken | observed.Opening] = {}
        self.opening: dict[tuple[str, int], str | observed.Broken | observed.Opening] = {}
        """What will be found of those that are being opened."""
        self.table = RoutingTable()
        self.bad: set[Digest] = set()
        self.lost: set[Digest] = set()
        self.workers: dict[int, SimulatedWorker] = {}
        self.versions = 0
        self.latched: set[tuple[str, int]] = set()
        """What was taken back, which gets no more traffic unless somebody asks for it by name."""

    def snapshot(self) -> observed.Snapshot:
        return observed.Snapshot(
            now_s=self.now_s,
            states=tuple(s for _, s in sorted(self.states.items()) if s.phase is not Phase.DELETED),
            revisions=self.revisions,
            bundles=self.bundles,
            table=self.table,
            workers=tuple(w.view() for w in self.workers.values()),
            deaths={},
        )

    def happen(self, op: Op, decide: Decide) -> None:
        name, number = op
        endpoint, slot = ENDPOINTS[number % 2], number % 3
        match name:
            case "deploy" | "deploy_bad" | "deploy_unopened" | "deploy_large":
                self.deploy(endpoint, name)
            case "restart":
                self.open_anew(list(self.bundles))
            case "opened":
                self.opened(list(self.opening)[:number])
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
                state = self.states.get(endpoint)
                self.lose(endpoint, None if state is None else state.live)
            case "find":
                self.find_again()
            case _:
                pass

    def start(self, slot: int) -> None:
        self.workers.setdefault(slot, SimulatedWorker(slot, self.table, self.bad))

    def lose(self, endpoint: str, number: int | None) -> None:
        """The files of a revision are removed: it cannot be loaded again until they are found."""
        if number is not None:
            digest = self.revisions[endpoint, number].digest
            if digest not in self.bad:
                self.lost.add(digest)
                self.bad.add(digest)

    def open_anew(self, keys: list[tuple[str, int]]) -> None:
        """Bundles are opened again, as by a control process that was started anew."""
        for key in keys:
            self.opening.setdefault(key, self.bundles[key])
            self.bundles[key] = observed.Opening(f"m:v{key[1]}")

    def opened(self, keys: list[tuple[str, int]]) -> None:
        for key in keys:
            self.bundles[key] = self.opening.pop(key)

    def find_again(self) -> None:
        self.bad -= self.lost
        self.lost.clear()

    def deploy(
        self,
        endpoint: str,
        how: str,
        rollout: Rollout = PLAIN,
        force: str | None = None,
    ) -> int:
        self.versions += 1
        digest = Digest(f"sha256:{self.versions:064x}")
        spec = Deployment(1, endpoint, Backend(bundle=f"m:v{self.versions}"), rollout=rollout)
        report = GateReport(digest, "m:v1", Verdict.PASSED, (), "")
        judged = gating.judge(spec, Version("m", self.versions, digest, 1, ""), report, None)
        state = self.states.get(endpoint)
        desired = None if state is None else self.revisions.get((endpoint, state.desired or 0))
        plan = changes.deploy(state, judged, endpoint, ADA, self.now_s, desired=desired, force=force)
        assert plan.revision is not None
        self.states[endpoint] = plan.state
        key = endpoint, plan.revision.number
        self.revisions[key] = plan.revision
        self.bundles[key] = (
            observed.Broken("digest_mismatch", "damaged")
            if how == "deploy_unopened"
            else f"/bundles/{self.versions}"
        )
        if how == "deploy_bad":
            self.bad.add(digest)
        if how == "deploy_large":
            self.open_anew([key])
        return plan.revision.number

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
        if state.rollout is not None and state.rollout.judged:
            self.latched.add((endpoint, state.rollout.candidate))
        if state.live is not None:
            self.latched.add((endpoint, state.live))
        self.latched.discard((endpoint, target))  # a person wants it again

    def step(self, decide: Decide) -> core.Action | None:
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
        route = self.table.route(action.endpoint)
        answers = routing.carrier(route, state)
        rollout = state.rollout if state.rollout is not None and state.rollout.open else None
        if isinstance(action, core.MarkLive):
            assert answers is not None and (answers.number, answers.percent) == (action.number, 100)
            assert action.number == state.desired
            assert any(w.table == self.table for w in self.workers.values()), (
                "called live, and no worker routes to it"
            )
        if isinstance(action, core.MarkFailed):
            taken_back = answers is not None and (state.endpoint, answers.number) in self.latched
            assert action.stay == (state.live if answers is None or taken_back else answers.number), (
                "a failure moved the traffic"
            )
            assert rollout is None or action.stay == rollout.stable
            if state.rollback and action.stay is not None:
                self.latched.discard((state.endpoint, action.stay))  # there is nothing to go back to
        number = action.number if isinstance(action, core.MarkLive | core.MarkFailed) else state.previous
        revision = None if number is None else self.revisions[action.endpoint, number]
        new, _ = changes.settle(action, state, revision, self.now_s)
        self.states[action.endpoint] = msgspec.structs.replace(new, generation=state.generation + 1)

    def check_table(self, table: RoutingTable) -> None:
        assert table.generation > max(
            [self.table.generation, *(w.table.generation for w in self.workers.values())]
        )
        for route in table.routes:
            assert sum(r.percent for r in route.revisions) == 100
            assert all(0 <= r.percent <= 100 for r in route.revisions)
            for revision in route.revisions:
                self.check_share(route, revision.number, revision.percent)

    def check_share(self, route: Route, number: int, percent: float) -> None:
        """A share rises on what every worker has ready; what answered before may take back what another one had."""
        state, before = self.states[route.endpoint], self.table.route(route.endpoint)
        old = {} if before is None else {r.number: r.percent for r in before.revisions}
        if percent <= old.get(number, 0):
            return
        assert (route.endpoint, number) not in self.latched, "a rollback was undone"
        serving = [w for w in self.workers.values() if not w.draining]
        lacking = [w for w in serving if not w.ready(route.endpoint, number)]
        rollout = state.rollout
        candidate = rollout is not None and rollout.open and rollout.candidate == number
        if old.get(number, 0) > 0 and not candidate:
            return
        assert serving, "traffic moved while no worker ran"
        if not state.rollback or number not in old:
            assert not lacking, "traffic moved to a revision that a worker lacks"
        for worker in lacking:
            assert not any(worker.ready(route.endpoint, n) for n, share in old.items() if share > 0), (
                "a rollback took away what answered"
            )

    def settle(self, decide: Decide) -> None:
        for _ in range(200):
            if self.step(decide) is None and not any(w.loading for w in self.workers.values()):
                return
        raise AssertionError("it does not come to rest")

    def come_up(self, decide: Decide) -> None:
        """A worker runs, and what was lost is found again."""
        self.workers = {slot: w for slot, w in self.workers.items() if not w.draining}
        self.start(0)
        self.settle(decide)
        self.opened(list(self.opening))
        self.find_again()
        self.now_s += 100
        self.settle(decide)

    def finish(self, decide: Decide) -> None:
        """Nothing more happens: all must become as desired."""
        self.come_up(decide)
        self.now_s += 10_000
        self.settle(decide)
        routed = {(r.endpoint, n.number): n.percent for r in self.table.routes for n in r.revisions}
        wanted = {(s.endpoint, s.desired): 100.0 for s in self.states.values() if s.desired is not None}
        assert routed == wanted, "the table is not as desired"
        for state in self.states.values():
            assert state.phase in (Phase.LIVE, Phase.FAILED, Phase.DELETED), f"{state.endpoint} is stuck"
            assert state.desired == state.live
            assert state.warm_until_s is None
            assert state.rollout is None or not state.rollout.judged
        for worker in self.workers.values():
            assert worker.table == self.table, "a worker is behind"
            assert set(worker.loaded) == set(wanted), (
                "a worker holds what nobody needs, or lacks what is routed"
            )
            assert all(held.ready for held in worker.loaded.values()), "what is routed does not answer"


def play(ops: list[Op], decide: Decide) -> None:
    world = World()
    for op in ops:
        world.happen(op, decide)
    world.finish(decide)

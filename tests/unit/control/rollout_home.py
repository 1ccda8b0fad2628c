"""A control plane with workers that only count: rollouts from deploy to their end, on a virtual clock."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
from control_fakes import OWNER, FakeBundles, FakeGate, PatientWorkers, digest_of

from seaway import sockets
from seaway.control import views
from seaway.control.bell import Bell
from seaway.control.deployments import Deployments
from seaway.control.effects import Effects
from seaway.control.loop import Loop
from seaway.control.rollouts.analysis import Analysis
from seaway.control.rollouts.requests import Rollouts
from seaway.core.deployments import Deployment, DeploymentState
from seaway.core.ledger import Counts, Page, PairCounts, Second, SliceCounts
from seaway.core.records import RecordRules
from seaway.core.rollouts.state import RolloutState
from seaway.core.tensors import Signature
from seaway.core.traffic import RoutingTable
from seaway.monitor.recording.seconds import SecondsWriter
from seaway.monitor.sinks import RecordPaths, Subject
from seaway.testing.clock import VirtualClock
from seaway.testing.state_store import MemoryStateStore
from seaway.wire import worker_admin

NAME = "prices"
RATE = 400


class CountingWorker:
    """A worker's admin socket. It takes tables as a worker does, and counts what its table would have sent where."""

    def __init__(self, run: Path, slot: int, records: Path) -> None:
        self._path, self._slot = run / f"worker-{slot}.sock", slot
        self._writer = SecondsWriter(RecordPaths(str(records), slot, 1))
        self.table = RoutingTable()
        self.loaded: dict[tuple[str, int], worker_admin.LoadedRevision] = {}
        self.seconds: list[tuple[int, Second]] = []
        self.silent = False
        self.unlike = False
        """Whether all failures of a sticky rollout's stable revision are of users in the slice."""

    async def start(self) -> asyncio.Server:
        return await asyncio.start_unix_server(self._serve, sock=sockets.listen_unix(self._path))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            line = await reader.readline()  # none where who asked was cancelled
            if line and not self.silent:
                request = msgspec.json.decode(line, type=worker_admin.Request)
                writer.write(msgspec.json.encode(self._answer(request)) + b"\n")
        finally:
            writer.close()

    def _answer(self, request: worker_admin.Request) -> worker_admin.Reply:
        match request:
            case worker_admin.Prepare(endpoint=endpoint, revision=revision):
                ready = worker_admin.LoadedRevision(endpoint, revision.number, revision.digest, ready=True)
                self.loaded[endpoint, revision.number] = ready
            case worker_admin.Commit(table=table):
                self.table = table
            case worker_admin.Retire(endpoint=endpoint, number=number):
                self.loaded.pop((endpoint, number), None)
            case worker_admin.Seconds(after_s=after_s):
                return worker_admin.Reply(pages=self._pages(after_s))
            case worker_admin.Observe():
                loaded = tuple(self.loaded.values())
                generation = self.table.generation
                seen = worker_admin.Observed(self._slot, 100 + self._slot, generation, True, False, loaded)
                return worker_admin.Reply(observed=seen)
        return worker_admin.Reply()

    def _pages(self, after_s: int) -> tuple[Page, ...]:
        found: dict[int, list[Second]] = {}
        for number, second in self.seconds:
            if second.at_s > after_s:
                found.setdefault(number, []).append(second)
        return tuple(Page(NAME, n, digest_of(NAME, n), tuple(own)) for n, own in found.items())

    def count(self, at_s: int, bad: dict[int, float], keep: bool) -> None:
        """One second of traffic by the table's shares; `bad` is the share of failures of a revision, 1 % else."""
        route = self.table.route(NAME)
        for revision in () if route is None else route.revisions:
            n = round(RATE * revision.percent / 100)
            failed = round(n * bad.get(revision.number, 0.01))
            counts = Counts(finished=n, failed=failed, rows=n - failed, latency=((250, n - failed),))
            pairs = None
            if route.mirror is not None and route.mirror.number == revision.number:
                pairs = PairCounts(same=40)
            units = counts if route.record.judged else None
            part = None
            if units is not None and route.sticky is not None and revision is route.revisions[0]:
                own = round(RATE * min(100 - revision.percent, revision.percent / 2) / 100)
                part = SliceCounts(own, failed if self.unlike else round(failed * own / max(1, n)))
            second = Second(at_s, counts, units, pairs, part)
            if n or pairs:
                self.seconds.append((revision.number, second))
                if keep:
                    subject = Subject(
                        NAME, revision.number, revision.digest, "", Signature((), ()), None, RecordRules()
                    )
                    self._writer.write([(subject, second)], at_s)


class Home:
    """One home whose control process can be killed: `restart` forgets all that it held in memory."""

    def __init__(self, directory: Path, workers: int = 2) -> None:
        self.run, self.records, self.rollouts = (directory / name for name in ("run", "records", "rollouts"))
        for folder in (self.run, self.records):
            folder.mkdir()
        self.clock = VirtualClock(1_800_000_000.25)
        self.store = MemoryStateStore()
        self.workers = [CountingWorker(self.run, slot, self.records) for slot in range(workers)]
        self.bad: dict[int, float] = {}
        self.keeps = False
        self.bundles = FakeBundles()
        self.restart()

    def restart(self) -> None:
        """A new control process on the same home."""
        self.bell, bundles = Bell(), self.bundles
        self.effects = Effects(
            self.store, bundles, PatientWorkers(self.run), self.run / "table", self.clock, self.bell.ring
        )
        self.loop = Loop(self.effects, self.bell)
        self.analysis = Analysis(self.store, self.effects, self.bell, self.clock, self.records, self.rollouts)
        self.deployments = Deployments(
            self.store, bundles, FakeGate(), self.clock, self.bell.ring, lambda *_: ()
        )
        self.moves = Rollouts(self.store, self.clock, self.bell.ring, self.rollouts)

    def deploy(self, version: int, rollout: dict[str, object] | None = None) -> None:
        said = {
            "version": 1,
            "endpoint": NAME,
            "serve": {"bundle": f"{NAME}:v{version}"},
            **({} if rollout is None else {"rollout": rollout}),
        }
        spec = msgspec.convert(said, Deployment)
        self.deployments.deploy(OWNER, NAME, views.DeployRequest(spec=spec))

    async def second(self) -> None:
        """One more second: traffic, the control loop, one look."""
        at_s = int(self.clock.now_s())
        for worker in self.workers:
            worker.count(at_s, self.bad, self.keeps)
        self.clock.advance(1.0)
        await self.loop.settle()
        await self.analysis.look()
        await self.loop.settle()

    async def seconds(self, count: int) -> None:
        for _ in range(count):
            await self.second()

    @property
    def state(self) -> DeploymentState:
        state = self.store.state(NAME)
        assert state is not None
        return state

    @property
    def rollout(self) -> RolloutState:
        assert self.state.rollout is not None
        return self.state.rollout

    @property
    def shares(self) -> list[dict[int, float]]:
        """What each worker routes by."""
        routes = [worker.table.route(NAME) for worker in self.workers]
        return [{r.number: r.percent for r in route.revisions} for route in routes if route is not None]

    def kinds(self) -> list[str]:
        return [str(event.kind) for event in self.store.events()]


@contextlib.asynccontextmanager
async def home(directory: Path, workers: int = 2) -> AsyncIterator[Home]:
    """With revision 1 live and its workers answering."""
    found = Home(directory, workers)
    async with contextlib.AsyncExitStack() as held:
        for worker in found.workers:
            server = await worker.start()
            held.callback(server.close)
        found.deploy(1)
        await found.seconds(2)
        assert found.state.live == 1
        yield found

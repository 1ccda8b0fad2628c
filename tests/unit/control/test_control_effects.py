"""What the loop's effects remember: opened bundles, failed loads, workers that ended while they loaded."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path

import msgspec
import pytest
from control_fakes import DiskBundles, PatientWorkers, digest_of

from seaway import sockets
from seaway.control import table_file
from seaway.control.bell import Bell
from seaway.control.children import Child
from seaway.control.effects import Effects
from seaway.core import observed
from seaway.core import reconciliation as core
from seaway.core.answers import AnswerKind
from seaway.core.bundles import OpenedBundle, Version
from seaway.core.deployments import DeploymentState, Phase, Revision, deployment_of
from seaway.core.events import EventKind
from seaway.core.ports import Change
from seaway.core.rollouts.state import RolloutPhase, RolloutState
from seaway.core.tensors import DType, Meaning, Signature, TensorSpec
from seaway.core.traffic import Limits, Route, RoutedRevision, RoutingTable
from seaway.testing.clock import VirtualClock
from seaway.testing.state_store import MemoryStateStore, make_event
from seaway.wire import worker_admin

PREPARE = core.Prepare(
    (0,), "prices", RoutedRevision(1, digest_of("prices", 1), "/b", "prices:v1", 100.0), Limits()
)


def _revision(number: int = 1) -> Revision:
    ref = f"prices:v{number}"
    spec = deployment_of("prices", ref)
    return Revision("prices", number, digest_of("prices", number), ref, spec, "2026-11-22", "ada")


class Worker:
    """The control socket of a worker that ends, fails or succeeds when it is asked to prepare."""

    def __init__(self, run: Path, pid: int) -> None:
        self._path, self._pid = run / "worker-0.sock", pid
        self.failure: worker_admin.Failure | None = None
        self.ends = False
        self.successor: Worker | None = None
        self.loaded: tuple[worker_admin.LoadedRevision, ...] = ()
        self._server: asyncio.Server | None = None

    async def start(self) -> Worker:
        self._server = await asyncio.start_unix_server(self._serve, sock=sockets.listen_unix(self._path))
        return self

    def end(self) -> None:
        assert self._server is not None
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = msgspec.json.decode(await reader.readline(), type=worker_admin.Request)
        if self.ends and isinstance(request, worker_admin.Prepare):
            self.end()
            if self.successor is not None:
                await self.successor.start()
        else:
            failure = self.failure if isinstance(request, worker_admin.Prepare) else None
            observed = worker_admin.Observed(0, self._pid, 1, True, False, self.loaded)
            writer.write(msgspec.json.encode(worker_admin.Reply(failure, observed)) + b"\n")
        writer.close()


class Scene:
    """Effects over a store with revision 1 of `prices`, and one worker."""

    def __init__(self, root: Path) -> None:
        self.run, self.clock, self.store = root, VirtualClock(), MemoryStateStore()
        state = DeploymentState("prices", 1, Phase.PROGRESSING, desired=1, last=1)
        self.store.apply(Change((make_event(),), state, _revision()))
        self.bundles = DiskBundles(root / "cache")
        self.bell = Bell()
        self.effects = Effects(
            self.store, self.bundles, PatientWorkers(root), root / "table.json", self.clock, self.bell.ring
        )

    async def observe(self) -> observed.Snapshot:
        """What is known once no bundle is being opened."""
        async with asyncio.timeout(60):
            while True:
                rings = self.bell.rings
                snapshot = await self.effects.observe()
                if not any(snapshot.opening(*key) for key in snapshot.revisions):
                    return snapshot
                await self.bell.wait(rings, 60)

    async def prepare(self) -> observed.Snapshot:
        """Prepare once; what is known then."""
        await self.observe()
        await self.effects.apply(PREPARE)
        async with asyncio.timeout(60):
            while True:
                rings = self.bell.rings
                if not self.effects.busy:
                    break
                await self.bell.wait(rings, 60)
        return await self.observe()


def _play(root: Path, scene: Callable[[Scene], Coroutine[None, None, None]]) -> None:
    async def run() -> None:
        await scene(Scene(root))

    asyncio.run(run())


def test_workers_that_end_while_they_prepare_are_counted_until_the_revision_is_given_up(
    tmp_path: Path,
) -> None:
    async def scene(scene: Scene) -> None:
        for pid in (1, 2):
            worker = await Worker(scene.run, pid).start()
            worker.ends = True
            assert (await scene.prepare()).deaths == {("prices", 1): pid}
        action = core.next_action(await scene.observe())
        assert isinstance(action, core.MarkFailed)
        await scene.effects.apply(action)
        (failed,) = [e for e in scene.store.events() if e.kind is EventKind.REVISION_FAILED]
        assert failed.details == {"code": "execution_failed"}
        assert "2 workers ended" in failed.message
        await scene.observe()
        assert (await scene.observe()).deaths == {}

    _play(tmp_path, scene)


def test_a_worker_that_was_replaced_while_it_prepared_was_not_killed_by_the_revision(tmp_path: Path) -> None:
    async def scene(scene: Scene) -> None:
        worker = await Worker(scene.run, 1).start()
        worker.ends, worker.successor = True, Worker(scene.run, 2)
        assert (await scene.prepare()).deaths == {}
        worker.successor.end()

    _play(tmp_path, scene)


def test_failed_loads_are_counted_and_aged_and_the_bundle_is_opened_again(tmp_path: Path) -> None:
    async def scene(scene: Scene) -> None:
        worker = await Worker(scene.run, 1).start()
        worker.failure = worker_admin.Failure("digest_mismatch", "it is not there")
        for count in (1, 2):
            snapshot = await scene.prepare()
            (held,) = snapshot.workers[0].loaded
            assert held.failure == observed.LoadFailure("digest_mismatch", "it is not there", count, 0.0)
            scene.clock.advance(3.0)
        (held,) = (await scene.observe()).workers[0].loaded
        assert held.failure is not None and held.failure.age_s == 3.0
        assert scene.bundles.opens == 3
        await scene.effects.apply(core.Retire(0, "prices", 1))
        assert (await scene.observe()).workers[0].loaded == ()
        worker.end()

    _play(tmp_path, scene)


def test_a_load_that_failed_when_the_worker_started_is_tried_again(tmp_path: Path) -> None:
    async def scene(scene: Scene) -> None:
        routed = (msgspec.structs.replace(PREPARE.revision, bundle="/gone"),)
        table_file.write(scene.run / "table.json", RoutingTable(1, (Route("prices", routed),)))
        worker = await Worker(scene.run, 1).start()
        worker.loaded = (
            worker_admin.LoadedRevision(
                "prices", 1, digest_of("prices", 1), False, error_code="digest_mismatch", error="gone"
            ),
        )
        assert not isinstance(core.next_action(await scene.observe()), core.Prepare)
        scene.clock.advance(1.5)
        action = core.next_action(await scene.observe())
        if isinstance(action, core.WriteTable):  # the bundle lies elsewhere now
            await scene.effects.apply(action)
            action = core.next_action(await scene.observe())
        assert isinstance(action, core.Prepare)
        assert Path(action.revision.bundle).is_dir()
        worker.end()

    _play(tmp_path, scene)


def test_what_was_observed_last_is_kept_for_who_decides_beside_the_loop(tmp_path: Path) -> None:
    async def scene(scene: Scene) -> None:
        assert scene.effects.seen is None
        first = await scene.observe()
        assert scene.effects.seen is first
        state = scene.store.state("prices")
        assert state is not None
        rollout = RolloutState(candidate=2, stable=1, phase=RolloutPhase.BAKING, started_s=0.0)
        new = msgspec.structs.replace(state, generation=2, last=2, desired=2, rollout=rollout)
        scene.store.apply(Change((make_event(),), new, _revision(2)))
        second = await scene.observe()
        assert scene.effects.seen is second is not first
        assert second.revisions.keys() == {("prices", 1), ("prices", 2)}  # the stable one of a bake too

    _play(tmp_path, scene)


def test_a_child_that_cannot_be_started_is_tried_again_later(capsys: pytest.CaptureFixture[str]) -> None:
    child = Child("worker 0", ["/nonexistent/python"])
    assert not child.tend(0.0)
    assert child.pid is None
    assert "worker 0 cannot be started: No such file" in capsys.readouterr().err
    first, _ = child.due_in_s(0.0), child.tend(100.0)
    second = child.due_in_s(100.0)
    assert first is not None and second is not None and 0 < first < second


class Labelled(DiskBundles):
    """Every version answers with a class."""

    def open(self, version: Version) -> OpenedBundle:
        opened = super().open(version)
        label = TensorSpec("label", DType.INT64, (-1,), Meaning.LABEL)
        manifest = msgspec.structs.replace(opened.manifest, signature=Signature((), (label,)))
        return msgspec.structs.replace(opened, manifest=manifest)


def test_of_an_open_bundle_it_is_known_what_its_answers_are(tmp_path: Path) -> None:
    async def scene(scene: Scene) -> None:
        bundles = Labelled(tmp_path / "labelled")
        opened = threading.Semaphore(0)
        effects = Effects(
            scene.store, bundles, PatientWorkers(tmp_path), tmp_path / "t", scene.clock, opened.release
        )
        assert effects.answer_kind("prices", 1) is None  # nobody has opened it yet
        await effects.observe()
        assert effects.opening("prices") == ("prices:v1",)
        assert await asyncio.to_thread(opened.acquire, timeout=60)
        assert effects.answer_kind("prices", 1) is AnswerKind.CLASS
        await scene.observe()
        assert scene.effects.answer_kind("prices", 1) is None  # a model without outputs

    _play(tmp_path, scene)

"""How many mirrored endpoints of one worker have a process at a time, and what becomes of those that wait for one."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from engine_fakes import FakeModel, FakeRuntime, revision, sources

from seaway.core.agreement import Agreed
from seaway.core.bundles import OpenedBundle
from seaway.core.records import Chosen, MirroredAnswer
from seaway.core.tensors import Tensors
from seaway.core.traffic import Limits, Mirror, Route, RoutedRevision, RoutingTable
from seaway.engine.handle import Handle
from seaway.engine.pool import Pool
from seaway.engine.router import Router
from seaway.serve import admin
from seaway.serve.mirror import MOST_PROCESSES, NO_PROCESS, Mirrors
from seaway.testing.clock import VirtualClock

NAMES = [f"e{number}" for number in range(MOST_PROCESSES + 2)]


class Request:
    """`core.records.Answered`, as far as a mirror looks at it."""

    def __init__(self) -> None:
        self.request_id = b"r-1"
        self.tensors: Tensors = {"x": np.array([1.0], dtype=np.float32)}
        self.outputs: Tensors | None = {"y": np.array([2.0], dtype=np.float32)}
        self.rows, self.size, self.chosen = 1, 10, Chosen.ONLY


class Worker:
    """Endpoints whose second revision is mirrored to; `running` counts the processes, `most` how many there were."""

    def __init__(self) -> None:
        self.pool = Pool(sources(FakeRuntime()), VirtualClock())
        for name in NAMES:
            for number in (1, 2):
                self.pool.load(name, revision(number), Limits())
        self.router = Router(self.pool, RoutingTable(1))
        self.found: Counter[tuple[str, Agreed]] = Counter()
        self.models: list[FakeModel] = []
        self.most = 0
        self.may_load = threading.Event()
        self.may_load.set()
        self.mirrors = Mirrors(self.router, self, self.load)

    def load(self, bundle: OpenedBundle) -> FakeModel:
        model = FakeModel()
        self.models.append(model)
        self.most = max(self.most, self.running)
        assert self.may_load.wait(60)
        return model

    @property
    def running(self) -> int:
        return sum(not model.closed for model in self.models)

    def compared(self, handle: Handle, found: Agreed, user: bytes | None) -> None:
        self.found[handle.endpoint, found] += 1

    def mirrored(self, handle: Handle, told: MirroredAnswer) -> None:
        raise AssertionError("nobody wants the answers")

    def mirror(self, *names: str) -> None:
        live, candidate = revision(1), revision(2)
        candidate = RoutedRevision(2, candidate.digest, candidate.bundle, candidate.ref, 0.0)
        routes = tuple(
            Route(name, (live, candidate), mirror=Mirror(2, 100.0 if name in names else 0.0), salt="s")
            for name in NAMES
        )
        self.router.commit(RoutingTable(self.router.table.generation + 1, routes))
        self.mirrors.rules_changed()

    def handle(self, name: str, number: int = 2) -> Handle:
        handle = self.pool.get(name, number)
        assert handle is not None
        return handle

    @property
    def waiting(self) -> list[str]:
        return [name for name in NAMES if self.mirrors.waits(self.handle(name))]

    def ask(self, name: str) -> None:
        self.mirrors.answered(Request(), self.handle(name, 1))  # type: ignore[arg-type]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0)


def test_the_others_wait_drop_and_are_told_of_until_a_process_is_free(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def scene() -> None:
        worker = Worker()
        first, (fifth, sixth) = NAMES[:MOST_PROCESSES], NAMES[MOST_PROCESSES:]
        worker.mirror(sixth, *first)
        worker.mirror(*NAMES)
        await until(lambda: worker.running == MOST_PROCESSES)
        assert worker.waiting == [fifth, sixth]
        worker.ask(fifth)
        assert worker.found == {(fifth, Agreed.DROPPED): 1}
        assert worker.mirrors.counts == {(fifth, "2", NO_PROCESS): 1}
        told = {(one.endpoint, one.number): one.unmirrored for one in _observed(worker)}
        assert {key for key, unmirrored in told.items() if unmirrored} == {(fifth, 2), (sixth, 2)}
        worker.mirror(*NAMES[1:])
        await until(lambda: worker.waiting == [fifth])  # the sixth came first
        worker.mirror(*NAMES[2:])
        await until(lambda: worker.waiting == [])
        await until(lambda: worker.running == MOST_PROCESSES)

        def agreed() -> bool:
            worker.ask(fifth)
            return bool(worker.found[fifth, Agreed.SAME])

        await until(agreed)
        assert worker.most == MOST_PROCESSES
        worker.mirrors.close()

    asyncio.run(scene())
    assert capsys.readouterr().err.count("waits to be mirrored to") == 2


def test_a_process_that_is_still_being_started_counts_though_nobody_wants_it_any_more() -> None:
    async def scene() -> None:
        worker = Worker()
        worker.may_load.clear()
        worker.mirror(*NAMES[:MOST_PROCESSES])
        await until(lambda: len(worker.models) == MOST_PROCESSES)
        worker.mirror(*NAMES[MOST_PROCESSES:])
        assert worker.waiting == NAMES[MOST_PROCESSES:]
        worker.may_load.set()
        await until(lambda: worker.waiting == [])
        assert worker.most == MOST_PROCESSES
        worker.mirrors.close()

    asyncio.run(scene())


def test_one_that_is_not_mirrored_any_more_waits_no_longer() -> None:
    async def scene() -> None:
        worker = Worker()
        worker.mirror(*NAMES)
        worker.mirror(*NAMES[:MOST_PROCESSES])
        assert worker.waiting == []
        await until(lambda: worker.running == MOST_PROCESSES)
        worker.mirror()
        await until(lambda: worker.running == 0)
        assert len(worker.models) == MOST_PROCESSES
        worker.mirrors.close()

    asyncio.run(scene())


def _observed(worker: Worker) -> list[admin.LoadedRevision]:
    return [admin._loaded(handle, worker.mirrors) for handle in worker.pool.handles()]

"""A worker's heartbeat, the models that it gives away, and what it hands on when it drains."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Set
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from seaway.core.bundles import Digest, OpenedBundle
from seaway.core.errors import PermanentError
from seaway.engine import blackbox
from seaway.engine.blackbox import BlackBox
from seaway.engine.jobs import Learned
from seaway.engine.pool import Pool
from seaway.serve.learned import LearnedFile
from seaway.serve.vitals import Vitals
from seaway.testing.clock import VirtualClock
from seaway.wire import isolation
from seaway.wire.isolation import Isolated, IsolationList

A, B = Digest("sha256:" + "a" * 64), Digest("sha256:" + "b" * 64)


class FakePool:
    """Two models; `replace` is remembered."""

    def __init__(self) -> None:
        self.isolated: set[Digest] = set()
        self.replaced: list[Digest] = []
        self.failure: PermanentError | None = None
        self.stuck = {A: False, B: False}
        self.broken: dict[Digest, bool] = {}
        """Models that could not be loaded, and whether they were loaded before."""
        self.loaded: list[Digest] = []

    def handles(self) -> list[Any]:
        return [
            SimpleNamespace(
                endpoint="e",
                ready=digest not in self.broken,
                filled=self.broken.get(digest, True),
                failure=self.failure if digest in self.broken else None,
                limits=None,
                revision=SimpleNamespace(digest=digest, number=number, ref="m:v1", isolated=False),
                predictor=SimpleNamespace(stuck=stuck),
            )
            for number, (digest, stuck) in enumerate(self.stuck.items())
        ]

    def load(self, _endpoint: str, revision: Any, _limits: object) -> None:
        self.loaded.append(revision.digest)
        if self.failure is not None:
            raise self.failure

    def learned(self) -> dict[Digest, Learned]:
        return {A: Learned(0.001, 0.0, 5)}

    async def replace(self, digest: Digest, _load: Callable[[OpenedBundle], object]) -> None:
        self.replaced.append(digest)
        if self.failure is not None:
            raise self.failure


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.005)


def isolate(run: Path, *digests: Digest) -> None:
    listed = IsolationList({digest: Isolated(1, 0.0) for digest in digests})
    (run / isolation.FILE).write_bytes(msgspec.json.encode(listed))


class FakePlane:
    """Remembers what was absent, in order."""

    def __init__(self) -> None:
        self.absent: frozenset[Digest] = frozenset()
        self.told: list[Set[Digest]] = []

    def set_absent(self, digests: Set[Digest]) -> None:
        self.absent = frozenset(digests)
        self.told.append(digests)


def vitals(
    run: Path, pool: FakePool, clock: VirtualClock | None = None, plane: FakePlane | None = None
) -> Vitals:
    def refuse(_bundle: OpenedBundle) -> Any:
        raise AssertionError("the fake pool loads nothing")

    box = BlackBox(run / "w.box")
    learned, clock, plane = LearnedFile(run, 0), clock or VirtualClock(), plane or FakePlane()
    return Vitals(box, cast(Pool, pool), refuse, learned, run, clock, plane)


@pytest.mark.parametrize("fails", [False, True])
def test_f02_while_a_suspect_moves_others_answer_for_it_but_not_for_one_that_is_guilty(
    tmp_path: Path, fails: bool
) -> None:
    async def play() -> None:
        pool, plane = FakePool(), FakePlane()
        pool.failure = PermanentError("execution_failed", "it ends at once") if fails else None
        listed = IsolationList({A: Isolated(1, 0.0), B: Isolated(2, 0.0, alone=1)})
        (tmp_path / isolation.FILE).write_bytes(msgspec.json.encode(listed))
        signs = vitals(tmp_path, pool, plane=plane)
        signs.begin()
        assert plane.absent == {A}
        await until(lambda: set(pool.replaced) == {A, B} and not plane.absent)
        assert plane.told == [{A}, set()]
        signs.rest()

    asyncio.run(play())


def beat_s(run: Path) -> float:
    reader = blackbox.open_box(run / "w.box", os.getpid())
    assert reader is not None
    return reader.beat_s


def test_it_beats_until_it_drains(tmp_path: Path) -> None:
    async def play() -> None:
        signs = vitals(tmp_path, FakePool())
        assert beat_s(tmp_path) == 0
        signs.begin()
        assert beat_s(tmp_path) > 0
        signs.rest()
        assert beat_s(tmp_path) < 0
        assert signal.getsignal(signal.SIGUSR1) is signal.SIG_IGN
        assert LearnedFile(tmp_path, 0).read() == {A: Learned(0.001, 0.0, 5)}

    asyncio.run(play())


def test_f02_it_obeys_what_was_listed_while_it_started_and_what_is_listed_later(tmp_path: Path) -> None:
    async def play() -> None:
        pool = FakePool()
        isolate(tmp_path, A)
        signs = vitals(tmp_path, pool)
        signs.begin()
        await until(lambda: pool.replaced == [A])
        isolate(tmp_path, A, B)
        os.kill(os.getpid(), signal.SIGUSR1)
        await until(lambda: pool.replaced == [A, B])
        assert pool.isolated == {A, B}
        os.kill(os.getpid(), signal.SIGUSR1)
        await asyncio.sleep(0.05)
        assert pool.replaced == [A, B]
        signs.rest()

    asyncio.run(play())


def test_f02_a_model_that_is_stuck_is_given_away_even_where_that_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def play() -> None:
        pool = FakePool()
        pool.stuck[B] = True
        pool.failure = PermanentError("execution_failed", "it cannot be loaded")
        signs = vitals(tmp_path, pool)
        signs.begin()
        await until(lambda: "it cannot be loaded" in capsys.readouterr().err)
        assert pool.replaced == [B]
        signs.rest()

    asyncio.run(play())


@pytest.mark.parametrize("filled", [False, True])
def test_a_model_whose_own_process_could_not_be_started_is_tried_again_and_again(
    tmp_path: Path, filled: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("seaway.serve.vitals._LOOK_S", 0.001)

    async def play() -> None:
        pool, clock = FakePool(), VirtualClock()
        pool.isolated, pool.broken = {A}, {A: filled, B: filled}
        pool.failure = PermanentError("execution_failed", "it cannot be loaded")
        signs = vitals(tmp_path, pool, clock)
        signs.begin()
        tried = pool.replaced if filled else pool.loaded
        for count, pause_s in enumerate((1, 2, 5, 10, 30, 60, 60)):
            clock.advance(pause_s - 0.5)
            await asyncio.sleep(0.02)
            assert len(tried) == count
            clock.advance(0.5)
            await until(lambda count=count: len(tried) == count + 1)  # type: ignore[misc]
            await asyncio.sleep(0.01)
        assert set(tried) == {A}  # one that is shared is control's affair
        pool.broken = {}
        clock.advance(100)
        await asyncio.sleep(0.02)
        assert len(tried) == 7
        signs.rest()

    asyncio.run(play())

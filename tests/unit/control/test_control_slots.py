"""A slot's processes, played by `sleep`: the time is the test's, who answers too."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from seaway.control.slots import Slot, Watching, Worker
from seaway.core.bundles import Digest
from seaway.engine import blackbox
from seaway.engine.usage import Caps

ALL_IS_FINE = Caps(1 << 40, 10_000, 10_000)
ALL_IS_TOO_MUCH = Caps(1 << 40, 0, 10_000)
GUILTY = Digest("sha256:" + "a" * 64)


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


class World:
    """One slot on a run directory, and which of its processes answer."""

    def __init__(self, run: Path, caps: Caps) -> None:
        self.run = run
        self.serving: set[int] = set()
        watching = Watching(run, caps, hang_s=5.0, patience_s=20.0)
        self.listener = os.open(os.devnull, os.O_RDONLY)

        def make() -> Worker:
            return Worker(0, ["sleep", "600"], self.listener, watching)

        self.slot = Slot(make, watching, lambda pid: pid in self.serving)

    def write_box(self, pid: int, beat_s: float) -> None:
        """What a worker with that process id would write: one model runs, and the heart beats."""
        code = (
            "import os, pathlib, sys; os.getpid = lambda: int(sys.argv[2]); "
            "from seaway.engine.blackbox import BlackBox; box = BlackBox(pathlib.Path(sys.argv[1])); "
            "box.enter(sys.argv[3]); box.beat(float(sys.argv[4]))"
        )
        path = str(self.run / "worker-0.box")
        subprocess.run([sys.executable, "-c", code, path, str(pid), GUILTY, str(beat_s)], check=True)
        assert blackbox.open_box(self.run / "worker-0.box", pid)

    def kill(self, pid: int, number: signal.Signals) -> None:
        os.kill(pid, number)
        until(lambda: not any(child.running for child in self.slot.children if child.pid == pid))

    def close(self) -> None:
        for child in self.slot.children:
            child.send(signal.SIGKILL)
            until(lambda child=child: not child.running)  # type: ignore[misc]
        os.close(self.listener)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path, ALL_IS_FINE)
    yield world
    world.close()


@pytest.fixture
def greedy(tmp_path: Path) -> Iterator[World]:
    """Every worker of it is over its caps."""
    world = World(tmp_path, ALL_IS_TOO_MUCH)
    yield world
    world.close()


def started(world: World) -> int:
    assert world.slot.tend(100.0) == (True, [])
    assert world.slot.pid is not None
    return world.slot.pid


def test_a_worker_is_restarted_and_its_end_is_told(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    first = started(world)
    assert world.slot.tend(101.0) == (False, [])
    world.kill(first, signal.SIGKILL)
    assert world.slot.tend(120.0) == (True, [])
    assert world.slot.pid not in (None, first)
    told = f"seaway: worker 0 (process {first}) was ended by SIGKILL; starting it again in 0 s\n"
    assert capsys.readouterr().err == told


@pytest.mark.parametrize(("number", "blamed"), [(signal.SIGSEGV, [GUILTY]), (signal.SIGKILL, [])])
def test_f02_who_is_blamed_for_an_end(world: World, number: signal.Signals, blamed: list[Digest]) -> None:
    pid = started(world)
    world.write_box(pid, 1.0)
    world.kill(pid, number)
    changed, found = world.slot.tend(101.0)
    assert changed
    assert [list(suspects) for suspects in found] == ([blamed] if blamed else [])
    if blamed:
        assert world.slot.pid is None  # the list is written before the next one starts
        assert world.slot.worker.due_in_s(101.0) == 0.0
        world.slot.tend(101.0)
    else:
        world.slot.tend(103.0)
    assert world.slot.pid not in (None, pid)


def test_f02_a_worker_that_drains_blames_nobody(world: World) -> None:
    pid = started(world)
    world.write_box(pid, -1.0)
    world.kill(pid, signal.SIGSEGV)
    assert world.slot.tend(101.0) == (True, [])


def test_f01_silence_is_death_and_the_model_that_ran_is_blamed(world: World) -> None:
    pid = started(world)
    world.write_box(pid, 1.0)
    for second in range(5):
        world.slot.look(101.0 + second)
        assert world.slot.worker.running
    world.slot.look(106.0)
    until(lambda: not world.slot.worker.running)
    _, blamed = world.slot.tend(106.5)
    assert [list(suspects) for suspects in blamed] == [[GUILTY]]


def test_f04_a_successor_serves_before_the_old_one_is_told_to_stop(greedy: World) -> None:
    old = started(greedy)
    greedy.slot.look(102.0)
    assert not greedy.slot.taking_over  # it has not served for long enough to be judged
    greedy.slot.look(111.0)
    assert greedy.slot.taking_over
    (fresh,) = {child.pid for child in greedy.slot.children} - {old}
    greedy.slot.tend(112.0)
    assert greedy.slot.pid == old
    assert fresh is not None
    greedy.serving.add(fresh)
    assert greedy.slot.tend(113.0) == (True, [])
    assert greedy.slot.pid == fresh
    until(lambda: greedy.slot.tend(113.5) and len(greedy.slot.children) == 1)
    greedy.slot.look(130.0)
    assert not greedy.slot.taking_over  # at most once in 30 s
    greedy.slot.look(142.0)
    assert greedy.slot.taking_over


def test_f04_a_successor_that_dies_leaves_the_old_one(greedy: World) -> None:
    old = started(greedy)
    greedy.slot.look(111.0)
    (fresh,) = {child.pid for child in greedy.slot.children} - {old}
    greedy.kill(fresh or 0, signal.SIGKILL)
    assert greedy.slot.tend(112.0) == (True, [])
    assert greedy.slot.pid == old
    assert not greedy.slot.taking_over


def test_f04_the_old_one_dies_before_its_successor_serves(greedy: World) -> None:
    old = started(greedy)
    greedy.slot.look(111.0)
    (fresh,) = {child.pid for child in greedy.slot.children} - {old}
    greedy.kill(old, signal.SIGKILL)
    assert greedy.slot.tend(112.0) == (True, [])
    assert greedy.slot.pid == fresh


def test_a_drain_that_takes_too_long_is_ended(greedy: World) -> None:
    old = started(greedy)
    os.kill(old, signal.SIGSTOP)  # it hears no SIGTERM
    greedy.slot.look(111.0)
    (fresh,) = {child.pid for child in greedy.slot.children} - {old}
    greedy.serving.add(fresh or 0)
    greedy.slot.tend(112.0)
    greedy.slot.tend(131.0)
    assert len(greedy.slot.children) == 2
    until(lambda: greedy.slot.tend(133.0) and len(greedy.slot.children) == 1)


def test_f04_a_worker_that_needs_more_than_its_cap_from_the_start_is_not_replaced_for_ever(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = World(tmp_path, Caps(1, 10_000, 10_000))
    try:
        started(world)
        for second in (111.0, 150.0, 190.0):
            world.slot.look(second)
            assert not world.slot.taking_over
        assert capsys.readouterr().err.count("to begin with; its cap is 0") == 1
    finally:
        world.close()


def test_a_box_of_an_earlier_process_is_gone_before_a_worker_starts(world: World) -> None:
    """Else one with the same process number would be judged, and blamed, by what that one wrote."""
    world.write_box(os.getpid(), 1.0)
    started(world)
    assert not (world.run / "worker-0.box").exists()

"""Which bundles are opened, when, and how many at a time."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import msgspec
from control_fakes import DiskBundles, FakeBundles, digest_of

from seaway.control.openings import MOST_WITH_ABANDONED, Openings
from seaway.core import observed
from seaway.core.bundles import OpenedBundle, Version
from seaway.core.deployments import Revision, deployment_of
from seaway.testing.clock import VirtualClock


def _revision(number: int = 1) -> Revision:
    ref = f"prices:v{number}"
    spec = deployment_of("prices", ref)
    return Revision("prices", number, digest_of("prices", number), ref, spec, "2026-11-22", "ada")


def test_a_bundle_is_opened_again_where_its_directory_is_gone_or_a_worker_could_not_load_it(
    tmp_path: Path,
) -> None:
    bundles = DiskBundles(tmp_path / "cache")
    done = threading.Semaphore(0)
    openings = Openings(bundles, VirtualClock(), done.release)

    def find() -> str | observed.Broken | observed.Opening:
        assert openings.find(_revision()) == observed.Opening("prices:v1")
        assert done.acquire(timeout=60)
        return openings.find(_revision())

    directory = find()
    assert openings.find(_revision()) == directory
    assert bundles.opens == 1
    shutil.rmtree(tmp_path / "cache")
    assert find() == directory
    assert Path(str(directory)).is_dir()
    openings.forget(("prices", 1))
    assert find() == directory
    assert bundles.opens == 3


def test_a_bundle_that_cannot_be_opened_is_tried_again_after_a_growing_pause(tmp_path: Path) -> None:
    bundles, clock = DiskBundles(tmp_path), VirtualClock()
    done = threading.Semaphore(0)
    openings = Openings(bundles, clock, done.release)

    def find() -> str | observed.Broken | observed.Opening:
        assert openings.find(_revision()) == observed.Opening("prices:v1")
        assert done.acquire(timeout=60)
        return openings.find(_revision())

    bundles.broken = True
    for opens, pause_s in enumerate((1.0, 2.0, 5.0), 1):
        found = find()
        assert found == observed.Broken("digest_mismatch", "a blob is damaged (digest_mismatch)")
        clock.advance(pause_s - 0.01)
        assert openings.find(_revision()) == found
        assert bundles.opens == opens
        clock.advance(0.02)
    bundles.broken = False
    assert isinstance(find(), str)
    bundles.broken = True
    openings.keep(())  # nobody wants it any more, so nothing is known of it
    assert isinstance(find(), observed.Broken)


class ManyBundles(DiskBundles):
    """Each version is opened only once that is let; `begun` are their numbers, in order."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.begun: list[int] = []
        self.began = threading.Semaphore(0)
        self.gates = [threading.Event() for _ in range(10)]

    def open(self, version: Version) -> OpenedBundle:
        self.begun.append(version.number)
        self.began.release()
        assert self.gates[version.number].wait(60)
        return super().open(version)


def test_two_bundles_are_opened_at_a_time_and_those_that_nobody_waits_for_last(tmp_path: Path) -> None:
    bundles, done = ManyBundles(tmp_path), threading.Semaphore(0)
    openings = Openings(bundles, VirtualClock(), done.release)
    for number in (1, 2, 3):
        openings.find(_revision(number), last=True)
    openings.find(_revision(4))
    for _ in range(2):
        assert bundles.began.acquire(timeout=60)
    for gate in (1, 2):  # one ends, and the next begins before the other may end
        bundles.gates[gate].set()
        assert bundles.began.acquire(timeout=60)
    for gate in (3, 4):
        bundles.gates[gate].set()
    for _ in range(4):
        assert done.acquire(timeout=60)
    assert sorted(bundles.begun[:2]) == [1, 2]
    assert bundles.begun[2:] == [4, 3]
    assert all(isinstance(openings.find(_revision(number)), str) for number in (1, 2, 3, 4))


def test_an_opening_that_nobody_wants_any_more_is_not_waited_for(tmp_path: Path) -> None:
    bundles, done = ManyBundles(tmp_path), threading.Semaphore(0)
    openings = Openings(bundles, VirtualClock(), done.release)
    for number in (1, 2, 3):
        openings.find(_revision(number))
    openings.keep([_revision(4)])
    openings.find(_revision(4))
    for _ in range(3):
        assert bundles.began.acquire(timeout=60)
    assert sorted(bundles.begun) == [1, 2, 4]  # the third was never begun
    bundles.gates[4].set()
    assert done.acquire(timeout=60)
    assert isinstance(openings.find(_revision(4)), str)
    openings.keep([_revision(1)])  # wanted again, while it still runs
    assert openings.find(_revision(1)) == observed.Opening("prices:v1")
    for gate in (1, 2):
        bundles.gates[gate].set()
        assert done.acquire(timeout=60)
    assert isinstance(openings.find(_revision(1)), str)
    assert len(bundles.begun) == 3


def test_of_those_that_nobody_wants_no_more_than_the_bound_run(tmp_path: Path) -> None:
    bundles, done = ManyBundles(tmp_path), threading.Semaphore(0)
    openings = Openings(bundles, VirtualClock(), done.release)
    for number in range(1, 7):
        openings.keep([_revision(number)])
        openings.find(_revision(number))
    for _ in range(MOST_WITH_ABANDONED):
        assert bundles.began.acquire(timeout=60)
    assert sorted(bundles.begun) == [1, 2, 3, 4]
    bundles.gates[1].set()
    assert bundles.began.acquire(timeout=60)
    assert bundles.begun[4] == 6  # the fifth is not wanted any more either
    for gate in bundles.gates:
        gate.set()
    for _ in range(5):
        assert done.acquire(timeout=60)


def test_two_endpoints_with_one_bundle_open_it_once(tmp_path: Path) -> None:
    bundles, done = DiskBundles(tmp_path), threading.Semaphore(0)
    bundles.may_open.clear()
    openings = Openings(bundles, VirtualClock(), done.release)
    both = _revision(), msgspec.structs.replace(_revision(), endpoint="other", number=7)
    assert [openings.find(one) for one in both] == [observed.Opening("prices:v1")] * 2
    bundles.may_open.set()
    assert done.acquire(timeout=60)
    assert openings.find(both[0]) == openings.find(both[1])
    assert openings.manifest(("other", 7)) is not None
    assert bundles.opens == 1


class FaultyBundles(FakeBundles):
    def open(self, version: Version) -> OpenedBundle:
        raise OSError(5, "Input/output error")


def test_an_opening_that_fails_in_an_unknown_way_is_a_fault_and_no_opening_for_ever(tmp_path: Path) -> None:
    done = threading.Semaphore(0)
    openings = Openings(FaultyBundles(), VirtualClock(), done.release)
    openings.find(_revision())
    assert done.acquire(timeout=60)
    found = openings.find(_revision())
    assert isinstance(found, observed.Broken) and found.code == "internal" and "OSError" in found.reason

"""A worker's sockets in the run directory come back: deleted by a hand, or taken over by an older worker of its slot."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from serve_process import WorkerProcess, revision, route, until

from seaway import sockets
from seaway.core.traffic import RoutingTable
from seaway.testing import tiny_models


@pytest.fixture
def table(tmp_path: Path) -> RoutingTable:
    return RoutingTable(1, (route("prices", revision(1, tiny_models.linear(tmp_path / "m", 1.0))),))


@pytest.fixture
def worker(tmp_path: Path, table: RoutingTable) -> Iterator[WorkerProcess]:
    made = WorkerProcess(tmp_path / "run", table)
    yield made
    assert made.stop() == 0


def owner(path: Path) -> int | None:
    """The process that listens at the path."""
    try:
        with sockets.connect_unix(path, 60.0) as connection:
            return sockets.peer_pid(connection)
    except OSError:
        return None


@pytest.mark.parametrize("kind", ["sock", "fd"])
def test_a_deleted_socket_is_there_again(worker: WorkerProcess, kind: str) -> None:
    path = worker.run / f"worker-0.{kind}"
    path.unlink()
    until(lambda: owner(path) == worker.process.pid)
    assert worker.observe().pid == worker.process.pid
    assert worker.call("POST", "/predict/prices", [[1, 2, 3]]).status == 200


def test_of_two_workers_of_a_slot_the_younger_has_its_sockets(
    worker: WorkerProcess, table: RoutingTable
) -> None:
    younger = WorkerProcess(worker.run, table, listener=worker.listener)
    try:
        admin, door = (worker.run / f"worker-0.{kind}" for kind in ("sock", "fd"))
        until(lambda: owner(admin) == younger.process.pid)
        for path in (admin, door):
            path.unlink()  # both workers see it, and the older one may have it for a moment
        until(lambda: owner(admin) == owner(door) == younger.process.pid)
        os.kill(worker.process.pid, signal.SIGTERM)
        assert worker.process.wait(60) == 0
        assert owner(admin) == owner(door) == younger.process.pid
    finally:
        os.kill(younger.process.pid, signal.SIGTERM)
        assert younger.process.wait(60) == 0

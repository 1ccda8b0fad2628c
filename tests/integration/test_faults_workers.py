"""What a model or an operator can do to a worker, on real processes under a real supervisor (F01, F02, F04)."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import faulty_bundles
import pytest
from control_process import gone
from faulty_server import FaultyServer, until

from seaway import sockets
from seaway.core.errors import UserError
from seaway.engine import usage

pytestmark = pytest.mark.slow

SEGFAULT, HANG, LEAK_MEMORY, LEAK_DESCRIPTOR, LEAK_THREAD, FLOOD, EXIT, ABORT, SLEEP = map(
    float, range(1, 10)
)
FINE, TOIL = 0.25, 12.0
HURRY_S = 5.0
"""The deadline of `bad`, whose model may never return."""
HANG_S = "5"
"""The silence that ends a worker: no pause of the machine, of which no look counts more than two seconds."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FaultyServer]:
    bundles = {name: faulty_bundles.write(tmp_path / name, name) for name in ("bad", "good")}
    server = FaultyServer(tmp_path / "run", bundles, deadline_s=HURRY_S)
    yield server
    server.down()


class Caller(threading.Thread):
    """Asks `good` without a pause and keeps what failed."""

    def __init__(self, server: FaultyServer) -> None:
        super().__init__(daemon=True)
        self._server, self._over = server, threading.Event()
        self.answered = 0
        self.failures: list[int | None] = []

    def __enter__(self) -> Caller:
        self.start()
        until(lambda: self.answered)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join(120)

    def run(self) -> None:
        while not self._over.is_set():
            status = self._server.status("good", FINE)
            if status == 200:
                self.answered += 1
            else:
                self.failures.append(status)


def test_f01_a_worker_that_is_killed_is_back_soon_and_nobody_is_blamed(server: FaultyServer) -> None:
    server.up()
    (pid,) = server.pids()
    os.kill(pid or 0, signal.SIGKILL)
    until(lambda: server.pids() not in ([None], [pid]))
    until(lambda: server.serves("good"))  # proof `worker_kills` holds it to 3 s on a quiet machine
    assert server.isolated() == set()


def test_f01_a_stopped_worker_is_replaced(server: FaultyServer) -> None:
    server.up("--hang", HANG_S)
    (pid,) = server.pids()
    os.kill(pid or 0, signal.SIGSTOP)
    until(lambda: server.pids() not in ([None], [pid]))
    assert server.serves("good")
    assert server.isolated() == set()


@pytest.mark.parametrize("act", [SEGFAULT, ABORT, EXIT, HANG], ids=["segfault", "abort", "exit", "hang"])
def test_f02_what_ends_a_shared_worker_runs_by_itself_from_then_on(server: FaultyServer, act: float) -> None:
    server.up("--hang", HANG_S)
    first = server.pids()
    assert server.status("bad", act) is None
    until(lambda: server.serves("good") and server.serves("bad"))
    assert server.isolated() == {"bad"}
    second = server.pids()
    assert second != first
    with Caller(server) as caller:
        for _ in range(3):
            assert server.ask("bad", act)[2]["code"] in ("engine_crashed", "deadline_exceeded")
            until(lambda: server.serves("bad"))
        status, _, body = server.ask("bad", act)
    assert caller.failures == []
    assert (status, body["code"]) == (422, "quarantined")
    assert server.serves("bad")
    assert server.pids() == second


def test_f02_a_model_that_never_returns_moves_out_of_a_worker_that_goes_on(server: FaultyServer) -> None:
    server.up()
    first = server.pids()
    for _ in range(3):
        until(lambda: server.status("bad", TOIL) == 200)
    with Caller(server) as caller:
        assert server.status("bad", SLEEP) == 504
        until(lambda: "does not return" in server.log())
        until(lambda: server.serves("bad"))
    assert caller.failures == []
    assert server.pids() == first


def test_f02_every_worker_is_told(tmp_path: Path) -> None:
    bundles = {name: faulty_bundles.write(tmp_path / name, name) for name in ("bad", "good")}
    server = FaultyServer(tmp_path / "run", bundles)
    try:
        server.up(workers=2)
        first = server.pids()
        assert server.status("bad", SEGFAULT) is None
        until(lambda: None not in server.pids() and server.pids() != first)
        until(
            lambda: server.apart("bad")
        )  # the other worker goes on with its own copy until its process is there
        second = server.pids()
        for _ in range(6):  # the kernel chooses a worker for each
            until(lambda: server.apart("bad"))
            assert server.status("bad", SEGFAULT) in (422, 503)
        assert server.pids() == second
        assert len(set(first) & set(second)) == 1
    finally:
        server.down()


def test_f02_a_model_that_crashes_while_it_loads_costs_others_one_start(tmp_path: Path) -> None:
    bundles = {
        "bad": faulty_bundles.write(tmp_path / "bad", "bad", "crash-at-load"),
        "good": faulty_bundles.write(tmp_path / "good", "good"),
    }
    server = FaultyServer(tmp_path / "run", bundles)
    try:
        server.up()
        until(lambda: server.serves("good"))
        assert server.isolated() == {"bad"}
        assert server.status("bad", FINE) == 503
    finally:
        server.down()


def test_f04_a_worker_over_its_memory_is_replaced_and_no_request_fails(server: FaultyServer) -> None:
    server.up("--worker-memory", str(300 << 20))
    (pid,) = server.pids()
    # What a worker takes at the supervisor's first look, within a second, counts as needed: a leak comes after it.
    looked_s = time.monotonic() + 5.0
    with Caller(server) as caller:
        until(lambda: time.monotonic() > looked_s)
        leaked = 0
        while server.pids() == [pid]:
            until(lambda: server.status("bad", LEAK_MEMORY) == 200)
            leaked += 1
        until(lambda: gone(pid or 0))
        assert leaked > 50
        count = caller.answered
        until(lambda: caller.answered > count + 10)
    assert caller.failures == []
    assert "more than 300 MiB; a fresh one takes over" in server.log()
    assert server.isolated() == set()


@pytest.mark.parametrize(
    ("act", "what", "cap"), [(LEAK_DESCRIPTOR, "descriptors", 240), (LEAK_THREAD, "threads", 4096)]
)
def test_f04_a_worker_that_leaks_descriptors_or_threads_is_replaced(
    server: FaultyServer, act: float, what: str, cap: int
) -> None:
    server.up(descriptors=300)
    pid = server.pids()[0] or 0
    with Caller(server) as caller:
        while (found := usage.usage(pid)) is not None and getattr(found, what) <= cap:
            until(lambda: server.status("bad", act) == 200)
        until(lambda: server.pids() not in ([None], [pid]))
    assert caller.failures == []
    assert server.isolated() == set()


def test_f04_a_flood_of_prints_harms_nobody(server: FaultyServer) -> None:
    server.up()
    before = len(server.log())
    assert server.status("bad", FLOOD) == 200
    assert server.serves("good")
    assert len(server.log()) - before < 10_000


def test_what_a_worker_has_learned_is_handed_on(server: FaultyServer) -> None:
    server.up()
    learned = server.run / "learned-0.json"
    digests = [bundle.digest for bundle in server.bundles.values()]
    until(lambda: learned.exists() and all(digest in learned.read_text() for digest in digests))


def test_grpc_keeps_its_port_across_supervisors(server: FaultyServer) -> None:
    server.up("--grpc", "127.0.0.1:0")
    address = json.loads((server.run / "supervisor.json").read_text())["grpc"]
    host, port = sockets.parse_address(address)
    with pytest.raises(UserError, match="cannot bind"):
        sockets.reserve_tcp(host, port)
    server.process.kill()
    server.process.wait()
    server.up("--grpc", "127.0.0.1:0")
    assert json.loads((server.run / "supervisor.json").read_text())["grpc"] == address

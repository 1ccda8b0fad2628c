"""Supervisor, control process and workers as real processes, killed in every way (F05, F08, L01, S01)."""

from __future__ import annotations

import http.client
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from control_process import ENVIRONMENT, Prober, Server, command, gone, make_home, until

from ports import free_port
from seaway.control import orphans, views
from seaway.core.errors import SeawayError
from seaway.core.events import Event

pytestmark = pytest.mark.slow
KILLS = 10


@pytest.fixture(scope="session")
def packaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("packaged") / "home"
    make_home(home)
    return home


@pytest.fixture
def home(packaged: Path, tmp_path: Path) -> Path:
    shutil.copytree(packaged, tmp_path / "home")
    return tmp_path / "home"


@pytest.fixture
def server(home: Path) -> Iterator[Server]:
    server = Server(home)
    server.up()
    yield server
    server.clean()


def test_deploys_and_rollbacks_lose_no_request(server: Server) -> None:
    server.deploy(1)
    with Prober(server) as prober:
        for number in (2, 3):
            server.deploy(number)
            until(lambda number=number: prober.answers[-1] == 6.0 * number)  # type: ignore[misc]
        server.rollback()
        server.rollback()
        until(lambda: prober.answers[-1] == 6.0)
    assert prober.failures == []
    assert {6.0, 12.0, 18.0} == set(prober.answers)
    history = server.client.history("prices")
    assert [e.principal for e in history if e.kind == "rollback_requested"] == [
        history[0].principal,
        history[0].principal,
    ]


def test_f05_kill_9_of_the_supervisor_and_a_new_up_lose_no_request(server: Server) -> None:
    server.deploy(1)
    record = server.record()
    with Prober(server) as prober:
        server.process.kill()
        server.process.wait()
        until(lambda: gone(record["control"]))  # the kernel ended it with its parent
        count = len(prober.answers)
        until(lambda: len(prober.answers) > count + 20)  # serving goes on with nobody above
        server.up()
        until(lambda: all(gone(pid) for pid in record["workers"]))
        count = len(prober.answers)
        until(lambda: len(prober.answers) > count + 20)
        server.deploy(2)
        until(lambda: prober.answers[-1] == 12.0)
    assert prober.failures == []
    assert server.worker_pids() == sorted(server.record()["workers"])


def test_f05_kill_9_of_the_supervisor_while_workers_start(home: Path) -> None:
    server = Server(home)
    server.up()
    try:
        for wait_s in (0.0, 0.05, 0.3):
            server.process.kill()
            server.process.wait()
            words = command(home, http_address=f"127.0.0.1:{server.address[1]}")
            half = subprocess.Popen(
                words, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            time.sleep(wait_s)  # somewhere in its start, whatever it is doing then
            half.kill()
            half.wait()
            server.up()
        until(lambda: server.worker_pids() == sorted(server.record()["workers"]))
        assert len(server.worker_pids()) == 2
    finally:
        server.clean()


def test_f05_kill_9_of_control_changes_nothing_for_callers(server: Server) -> None:
    server.deploy(2)
    with Prober(server) as prober:
        for _ in range(3):
            control = server.record()["control"]
            os.kill(control, signal.SIGKILL)
            until(lambda control=control: server.record()["control"] not in (None, control))  # type: ignore[misc]
            until(server.control_answers)
        assert server.live() == 1
        server.deploy(3)
    assert prober.failures == []


def test_a_killed_worker_comes_back_with_the_table(server: Server) -> None:
    server.deploy(2)
    (first, second) = server.record()["workers"]
    os.kill(first, signal.SIGKILL)
    until(lambda: server.record()["workers"][0] not in (None, first))
    until(lambda: sorted(w.pid for w in server.client.status().workers) == sorted(server.record()["workers"]))
    assert server.record()["workers"][1] == second
    assert {server.predict() for _ in range(20)} == {12.0}
    assert len({worker.generation for worker in server.client.status().workers}) == 1


def test_a_second_up_is_refused_with_pid_and_address(server: Server) -> None:
    done = subprocess.run(command(server.home), capture_output=True, text=True, env=ENVIRONMENT, timeout=120)
    assert done.returncode == 2
    assert "already_running" in done.stderr
    assert str(server.process.pid) in done.stderr
    assert f"127.0.0.1:{server.address[1]}" in done.stderr


def test_f08_sigterm_ends_everything_in_order(server: Server) -> None:
    server.deploy(1)
    record = server.record()
    assert server.down() == 0
    assert all(gone(pid) for pid in [*record["workers"], record["control"]])
    assert not (server.home / "control.sock").exists()
    server.up()
    assert server.predict() == 6.0


def test_f08_a_second_sigterm_forces(home: Path) -> None:
    server = Server(home, workers=1, drain_s=60.0)
    server.up()
    try:
        server.deploy(1)
        with socket.create_connection(server.address) as stuck:
            stuck.sendall(b"POST /predict/prices HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n")
            stuck.sendall(b"content-length: 10000000\r\n\r\n[[1,")

            def goes_on(found: bool) -> bool:
                stuck.sendall(b" " * 1000)  # a body of which nothing comes for ten seconds would be refused
                return found

            record = server.record()
            server.process.send_signal(signal.SIGTERM)
            until(lambda: goes_on(gone(record["control"])))
            until(lambda: goes_on(not _listens(server.address)))
            assert server.process.poll() is None  # it waits for the request that is on its way
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(50) == 4  # before the drain would end
        assert all(gone(pid) for pid in record["workers"])
    finally:
        server.clean()


def _listens(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, 1).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize(
    ("words", "http_address"),
    [([], "0.0.0.0:0"), ([], "[::]:0"), (["--control-address", "0.0.0.0:0"], "127.0.0.1:0")],
)
def test_l01_open_addresses_are_refused(tmp_path: Path, words: list[str], http_address: str) -> None:
    words = command(tmp_path, *words, http_address=http_address)
    done = subprocess.run(words, capture_output=True, text=True, env=ENVIRONMENT, timeout=120)
    assert done.returncode == 2
    assert "open_bind_refused" in done.stderr and "--allow-open" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_address_in_use_is_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        words = command(tmp_path, http_address=f"127.0.0.1:{taken.getsockname()[1]}")
        done = subprocess.run(words, capture_output=True, text=True, env=ENVIRONMENT, timeout=120)
    assert done.returncode == 2
    assert "address_in_use" in done.stderr


def test_c01_the_tcp_door_of_a_running_server(home: Path) -> None:
    port = free_port()
    server = Server(home, workers=1)
    server.up("--control-address", f"127.0.0.1:{port}")
    try:
        token = (home / "token").read_text().strip()
        statuses = []
        for headers in (
            {},
            {"authorization": f"Bearer {token}"},
            {"authorization": f"Bearer {token}", "host": "evil"},
        ):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            connection.request("GET", "/status", headers=headers)
            statuses.append(connection.getresponse().status)
            connection.close()
        assert statuses == [401, 200, 403]
    finally:
        server.clean()


def test_s01_kill_9_of_control_loses_nothing_acknowledged(server: Server) -> None:
    """Kills at random moments of deploys and rollbacks; what was acknowledged must be there and take effect."""
    chance = random.Random(20261122)
    server.deploy(1)
    server.deploy(2)
    acknowledged: list[views.Accepted] = []
    for kill in range(KILLS):
        control = server.record()["control"]
        killer = threading.Timer(chance.uniform(0.0, 0.5), os.kill, (control, signal.SIGKILL))
        killer.start()
        try:
            if kill % 2:
                acknowledged.append(server.client.rollback("prices"))
            else:
                request = views.DeployRequest(bundle=f"prices:v{kill % 3 + 1}")
                acknowledged.append(server.client.deploy("prices", request))
        except SeawayError:
            pass  # not acknowledged: it may have happened or not
        killer.join()
        until(lambda control=control: server.record()["control"] not in (None, control))  # type: ignore[misc]
        until(server.control_answers)
        _check_whole(server, acknowledged)

    def settled() -> bool:
        (found,) = server.client.status().endpoints
        return found.phase == "live" and found.live == found.desired

    until(settled)
    (endpoint,) = server.client.status().endpoints
    assert server.predict() == 6.0 * int(endpoint.live_revision.ref[-1])  # type: ignore[union-attr]


def _at_one_moment(server: Server) -> tuple[views.EndpointStatus, Sequence[Event]]:
    """The endpoint and its events, with no change between the two readings: the control loop may be at work."""
    for _ in range(100):
        (endpoint,) = server.client.status().endpoints
        events = server.client.history("prices")
        if server.client.status().endpoints[0].generation == endpoint.generation:
            return endpoint, events
    raise AssertionError("the endpoint never stood still")


def _check_whole(server: Server, acknowledged: list[views.Accepted]) -> None:
    """Each change has its event, its revision and its generation, and none stands alone."""
    endpoint, events = _at_one_moment(server)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    changes = [e for e in events if e.kind != "action_refused"]
    assert endpoint.generation == len(changes)
    deployed = [e.revision for e in events if e.kind == "deploy_requested"]
    assert deployed == list(range(1, len(deployed) + 1))
    for accepted in acknowledged:
        kinds = ("deploy_requested", "rollback_requested", "delete_requested")
        asked = [e for e in events if e.seq > accepted.after and e.kind in kinds]
        assert not accepted.changed or asked[0].revision == accepted.revision


def test_a_removed_cache_is_made_again_and_every_endpoint_answers(server: Server) -> None:
    """Workers that start before control has opened the bundles again find none; they get them a moment later."""
    server.deploy(1)
    server.deploy(2)
    assert server.down() == 0
    shutil.rmtree(server.home / "cache")
    server.up()
    until(server.all_ready)
    assert {server.predict() for _ in range(20)} == {12.0}
    server.rollback()
    assert {server.predict() for _ in range(20)} == {6.0}


def test_a_cache_removed_while_the_server_runs_costs_no_endpoint(server: Server) -> None:
    server.deploy(1)
    # At once: the server would write into what is being removed.
    (server.home / "cache").rename(server.home / "removed")
    killed = server.record()["workers"]
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    until(lambda: server.all_ready(*killed))
    assert {server.predict() for _ in range(20)} == {6.0}


def test_f05_a_takeover_by_name(home: Path) -> None:
    """`localhost` is what the sockets of the old workers call 127.0.0.1."""
    server = Server(home)
    server.address = ("localhost", 0)
    server.up()
    try:
        server.deploy(1)
        old = server.record()["workers"]
        server.process.kill()
        server.process.wait()
        server.address = ("localhost", server.address[1])
        server.up()
        until(lambda: all(gone(pid) for pid in old))
        assert {server.predict() for _ in range(20)} == {6.0}
        assert "taken over from 2" in server.log()
    finally:
        server.clean()


def test_a_record_that_cannot_be_written_does_not_end_the_supervisor(server: Server) -> None:
    (first, _) = server.record()["workers"]
    blocked = server.run / "supervisor.part"
    blocked.mkdir()
    os.kill(first, signal.SIGKILL)
    until(lambda: "supervisor.json cannot be written" in server.log())
    until(lambda: server.all_ready(first))
    blocked.rmdir()
    until(lambda: server.record()["workers"] == [w.pid for w in server.client.status().workers])
    assert server.process.poll() is None


def test_a_second_home_on_the_same_store_is_refused(server: Server, tmp_path: Path) -> None:
    server.deploy(1)
    other = {**ENVIRONMENT, "SEAWAY_STORE": f"sqlite:///{server.home}/state.db"}
    words = [sys.executable, "-m", "seaway", "delete", "prices", "--home", str(tmp_path / "other")]
    done = subprocess.run(words, capture_output=True, text=True, env=other, timeout=120)
    assert "already_running" in done.stderr and "state.db" in done.stderr
    assert done.returncode == 2
    assert server.live() == 1


def _standalone(run: Path, address: str) -> subprocess.Popen[str]:
    """The supervisor as `seaway serve` starts it."""
    run.mkdir()
    words = [
        sys.executable,
        "-m",
        "seaway.wiring.supervisor",
        "--run",
        str(run),
        "--http",
        address,
        "--remove-run",
    ]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)


def test_serve_leaves_nothing_behind_where_the_port_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        started = _standalone(tmp_path / "run", f"127.0.0.1:{taken.getsockname()[1]}")
        assert "address_in_use" in started.communicate(timeout=120)[1]
    assert started.returncode == 2
    assert not (tmp_path / "run").exists()


def test_serve_takes_its_workers_with_it_when_it_is_killed(tmp_path: Path) -> None:
    run = tmp_path / "run"
    started = _standalone(run, "127.0.0.1:0")
    assert started.stdout is not None
    port = int(started.stdout.readline().split(" with ")[0].rpartition(":")[2])
    (worker,) = orphans.find(run)
    started.kill()
    started.communicate(timeout=120)
    until(lambda: not worker.alive)
    os.close(worker.pidfd)
    assert not _listens(("127.0.0.1", port))

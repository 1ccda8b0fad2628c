"""The small parts of the control plane: who is at a socket, locks, the table file, events as text."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from pathlib import Path

import msgspec
import pytest

from seaway import sockets
from seaway.control import endpoint_file, locks, peers, table_file
from seaway.control.auth import Role
from seaway.control.bell import Bell
from seaway.control.workers import Workers
from seaway.core import deployments, events, sections
from seaway.core.errors import SeawayError, UserError
from seaway.core.traffic import RoutingTable
from seaway.wire import worker_admin


def test_a_socket_says_who_connected(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with (
        peers.PeerSocket.adopt(sockets.listen_unix(path)) as listener,
        socket.socket(socket.AF_UNIX) as client,
    ):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        client.connect(str(path))
        listener.setblocking(True)
        connection, address = listener.accept()
        with connection:
            assert address == connection.getpeername() == (str(os.geteuid()), os.getpid())


def test_owner_and_root_are_the_only_owners() -> None:
    assert peers.principal_of(1000, owner=1000).role is Role.OWNER
    assert peers.principal_of(0, owner=1000).role is Role.OWNER
    assert peers.principal_of(1001, owner=1000).role is Role.STRANGER
    assert peers.principal_of(4_000_000, owner=1000).name == "uid 4000000"


def test_a_lock_has_one_holder_who_is_named(tmp_path: Path) -> None:
    path = tmp_path / "run" / "up.lock"
    with locks.hold(path, 0.0):
        locks.describe(path, "at http://127.0.0.1:8080")
        with pytest.raises(UserError) as caught, locks.hold(path, 0.0):
            pytest.fail("two hold one lock")
        assert caught.value.code == "already_running"
        assert f"{os.getpid()} at http://127.0.0.1:8080" in caught.value.message
    with locks.hold(path, 0.0):
        pass


def test_the_table_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "run" / "table.json"
    assert table_file.read(path) == RoutingTable()
    table_file.write(path, RoutingTable(generation=3))
    assert table_file.read(path) == RoutingTable(generation=3)
    assert [entry.name for entry in path.parent.iterdir()] == ["table.json"]
    path.write_bytes(b"{")
    assert table_file.read(path) == RoutingTable()


def test_a_bell_that_rang_before_the_wait_is_heard() -> None:
    async def run() -> None:
        bell = Bell()
        rings = bell.rings
        await asyncio.to_thread(bell.ring)
        await asyncio.sleep(0)
        async with asyncio.timeout(60):
            await bell.wait(rings, 600)

    asyncio.run(run())


def test_a_worker_that_hangs_is_waited_for_once_and_not_at_each_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a rollback, which takes several looks at the workers, would wait for it several times."""
    waits: list[float] = []
    answers = msgspec.json.encode(
        worker_admin.Reply(observed=worker_admin.Observed(0, 1, 1, True, False, ()))
    )
    hangs = True

    async def ask(path: Path, line: bytes, timeout_s: float) -> bytes:
        waits.append(timeout_s)
        if hangs:
            raise TimeoutError
        return answers

    monkeypatch.setattr("seaway.line_exchange.ask", ask)
    (tmp_path / "worker-0.sock").touch()

    async def run() -> None:
        nonlocal hangs
        found = Workers(tmp_path)
        for _ in range(3):
            assert await found.observe() == ()
        hangs = False
        for _ in range(2):
            assert len(await found.observe()) == 1

    asyncio.run(run())
    first, second, third, back, again = waits
    assert second == third == back <= 0.3 < first == again


def test_a_worker_that_is_away_or_silent_counts_as_absent(tmp_path: Path) -> None:
    (tmp_path / "worker-x.sock").touch()
    stale = sockets.listen_unix(tmp_path / "worker-0.sock")
    stale.close()

    async def run() -> None:
        found = Workers(tmp_path)
        assert found.slots() == (0,)
        assert await found.observe() == ()
        with pytest.raises(SeawayError) as caught:
            await found.ask(0, worker_admin.Observe(), 60.0)
        assert caught.value.code == "not_ready"
        with sockets.listen_unix(tmp_path / "worker-1.sock"):
            with pytest.raises(SeawayError) as caught:
                await found.ask(1, worker_admin.Observe(), 0.05)
            assert caught.value.code == "deadline_exceeded"

    asyncio.run(run())


@pytest.mark.parametrize(
    ("text", "value"), [("50ms", 0.05), ("1s", 1.0), ("1.5m", 90.0), ("24h", 86_400.0), ("30d", 2_592_000.0)]
)
def test_durations(text: str, value: float) -> None:
    assert sections.seconds(text) == pytest.approx(value)


def test_sizes_and_percents() -> None:
    assert sections.size_bytes("16MiB") == 16 * 2**20
    assert sections.size_bytes("1.5KB") == 1500
    assert sections.percent("0.1%") == 0.1
    for wrong in ("1", "x", "1 s", "-1s", "1s\n", ""):
        with pytest.raises(ValueError, match="number with a unit"):
            sections.seconds(wrong)


@pytest.mark.parametrize("digits", ["9" * 320, "9" * 16])
def test_durations_and_sizes_too_large_to_work_with_are_no_values(digits: str) -> None:
    for read, unit in (
        (sections.seconds, "s"),
        (sections.seconds, "d"),
        (sections.size_bytes, "GiB"),
    ):
        with pytest.raises(ValueError, match="too large"):
            read(digits + unit)


@pytest.mark.parametrize(
    "section",
    [
        {"limits": {"body": "9" * 320 + "B"}},
        {"limits": {"body": "9" * 13 + "GiB"}},
        {"limits": {"deadline": "9" * 320 + "s"}},
        {"limits": {"queue": "9" * 320 + "ms"}},
        {"rollout": {"bake": "9" * 13 + "d"}},
        {"rollout": {"inconclusive": {"after": "9" * 320 + "h"}}},
        {"record": {"retain": "9" * 320 + "d"}},
        {"batching": {"wait": "9" * 320 + "ms"}},
        {"slo": {"p99": "9" * 320 + "s"}},
    ],
    ids=lambda section: "".join(section),
)
def test_an_endpoint_file_with_a_number_too_large_is_refused(section: dict[str, object]) -> None:
    spec = {"version": 1, "endpoint": "a", "serve": {"bundle": "m:v1"}, **section}
    with pytest.raises(SeawayError) as caught:
        endpoint_file.parse(msgspec.json.encode(spec), "endpoint.yaml")
    assert caught.value.code == "invalid_spec"
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(msgspec.json.encode(spec), type=deployments.Deployment)


def test_the_longest_durations_work() -> None:
    spec = deployments.Rollout(bake="99999d")
    assert events.timestamp(2e9 + spec.bake_s).startswith("2307-")
    assert events.timestamp(2e9 + sections.seconds("999999999m")).startswith("3934-")


@pytest.mark.parametrize("text", ["0001-01-01T00:00+23:00", "9999-12-31T23:59-23:00", "x" * 500])
def test_a_time_that_is_none_in_utc_is_refused(text: str) -> None:
    with pytest.raises(UserError) as caught:
        events.parse_time(text)
    assert caught.value.code == "invalid_request"
    assert len(caught.value.message) < 200


def test_event_times_sort_as_text() -> None:
    assert events.timestamp(0.5) == "1970-01-01T00:00:00.500000Z"
    assert events.timestamp(1.0) > events.timestamp(0.999999)
    assert events.parse_time("1970-01-01T02:00:00.5+02:00") == "1970-01-01T00:00:00.500000Z"
    assert events.parse_time("1970-01-02") == "1970-01-02T00:00:00.000000Z"

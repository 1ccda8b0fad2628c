"""F10: the disk of the whole home fills up while the server answers: no request is lost, drops are counted, and it recovers."""

from __future__ import annotations

import http.client
import itertools
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from control_process import Server, until
from recorded_server import Traffic, ask, body, recorded, run

pytestmark = [pytest.mark.slow, pytest.mark.outside, pytest.mark.timeout(600)]
_DROPPED = re.compile(r'seaway_recorder_requests_total\{[^}]*outcome="dropped"[^}]*\} (\S+)')


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 32 MiB of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(place)]
    try:
        mounted = subprocess.run(words, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("mounting a file system is not allowed here")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(path: Path) -> None:
    """Take all that is left, as another program would."""
    with path.open("ab", buffering=0) as file:
        size = 1 << 20
        while size:
            try:
                file.write(bytes(size))
            except OSError:
                size //= 2


def dropped(server: Server) -> float:
    """Requests that a sink could not keep, over all workers."""
    connection = http.client.HTTPConnection(*server.address, timeout=60)
    try:
        connection.request("GET", "/metrics")
        return sum(map(float, _DROPPED.findall(connection.getresponse().read().decode())))
    finally:
        connection.close()


def explained(server: Server, request_id: str) -> bool:
    assert ask(server, body(1.0), x_request_id=request_id)[0] == 200
    return run(server, "explain", request_id)[0] == 0


def test_f10_a_full_disk_costs_records_and_no_answer(disk: Path) -> None:
    with recorded(disk / "home") as server, Traffic(server) as traffic:
        until(lambda: explained(server, "before"))
        assert dropped(server) == 0
        filler = disk / "filler"

        def fills_and_drops() -> bool:
            fill(filler)  # again: what was freed meanwhile
            return dropped(server) > 20

        until(fills_and_drops)
        told = itertools.count()

        def is_not_acknowledged() -> bool:
            """Where something was freed again just now, it may be once more."""
            fill(filler)
            row = {"request_id": f"nobody-{next(told)}", "outcome": 1.0}
            status, answer = ask(server, json.dumps(row).encode(), "/feedback")
            return status >= 500 and json.loads(answer)["code"] == "disk_full"

        until(is_not_acknowledged)
        while traffic.asked < 400:
            assert ask(server, body(2.0))[0] == 200
        assert run(server, "explain", "before")[0] == 0, "what was kept can be read"

        filler.unlink()
        until(lambda: explained(server, "after"))
        sql = "SELECT count(*) AS n FROM records WHERE request_id = 'after'"
        until(
            lambda: (
                '"rows":[[0]]'
                not in run(server, "records", "people", "--sql", sql, "--json")[1].replace(" ", "")
            )
        )
        row = json.dumps({"request_id": "before", "outcome": 1.0}).encode()
        assert ask(server, row, "/feedback")[0] == 200
        assert server.client.status().endpoints[0].live == 1
    assert traffic.failures == []

"""The bench's own client against a small server in the same loop: it counts what came, and finds wrong answers."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench import bodies, client, models
from bench.bodies import Form, Prepared
from bench.loads import Load, Outcome

EXPECTED = np.array([[0.1, 0.9], [0.6, 0.4], [0.3, 0.7]], np.float32)
Reply = Callable[[int], tuple[int, bytes]]


class Looked:
    """Time that passes by being looked at: no machine is too slow for it, and none stands still."""

    def __init__(self) -> None:
        self.at_s = time.perf_counter()

    def perf_counter(self) -> float:
        self.at_s += 1e-4
        return self.at_s


@pytest.fixture(autouse=True)
def three_requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three bodies, each the number of its right answer."""
    path = tmp_path / "three.bodies"
    path.write_bytes(b"012")
    ready = Prepared(str(path), {"Content-Type": "application/json"}, [1, 1, 1])
    monkeypatch.setattr(bodies, "prepared", lambda model, form: ready)
    monkeypatch.setattr(client, "time", Looked())
    monkeypatch.setattr(models, "data", lambda name: (EXPECTED.astype(np.float64), EXPECTED))


def right(index: int) -> tuple[int, bytes]:
    return 200, json.dumps([EXPECTED[index].tolist()]).encode()


def drive(
    reply: Reply, rate_per_s: float | None = None, connections: int = 4, seconds: float = 0.2
) -> Outcome:
    """One run against a server that answers each body by `reply`; status 0 closes the connection instead."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                status, body = reply(int(await reader.readexactly(1)))
                if status == 0:
                    break
                writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (status, len(body)) + body)
        except (asyncio.IncompleteReadError, ConnectionResetError):
            pass
        finally:
            writer.close()

    async def both() -> Outcome:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        run = client._Run(Load(port, "/", "small", Form.NAMED, connections, seconds, rate_per_s))
        await run.run()
        for connection in list(run.open):
            connection.close()
        server.close()
        return run.outcome()

    return asyncio.run(both())


def test_a_closed_loop_checks_every_answer() -> None:
    came = drive(right)
    assert came.statuses == {200: came.due}
    assert came.checked == min(came.due, 4000) > 10
    assert (came.wrong, came.lost, came.unanswered) == (0, 0, 0)
    assert came.p50_ms is not None and came.p99_ms is not None and 0 < came.p50_ms <= came.p99_ms


def test_one_swapped_answer_is_found() -> None:
    came = drive(lambda index: right(1 if index == 2 else index))
    assert came.wrong > 0
    assert "wrong answer to request" in (came.example or "")


def test_an_open_loop_sends_what_is_due_and_tells_refusals_apart() -> None:
    came = drive(lambda index: (503, b"busy") if index == 0 else right(index), rate_per_s=500)
    assert came.due == 100
    assert came.statuses.get(503, 0) in range(30, 36)
    assert sum(came.statuses.values()) + came.unsent == 100
    assert came.refused_p99_ms is not None
    assert came.wrong == 0
    assert (came.example or "").startswith("503")


def test_lost_connections_are_counted_and_replaced() -> None:
    came = drive(lambda index: (0, b"") if index == 1 else right(index), rate_per_s=300)
    assert came.lost >= 15
    assert came.statuses[200] >= 30

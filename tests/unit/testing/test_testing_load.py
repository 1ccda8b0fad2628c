"""The load generator finds what was planted, and nothing else."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest

from seaway.testing import load
from seaway.testing.load import Arrivals, Failure, Load, LoadResult, Outcome

Answer = Callable[[int, asyncio.StreamWriter], Awaitable[None]]


class SteadyLoop(asyncio.SelectorEventLoop):
    """An event loop for which a machine that stands still for seconds did so for a hundredth of one."""

    _seen_s = _steady_s = 0.0

    def time(self) -> float:
        now_s = super().time()
        self._steady_s += min(now_s - self._seen_s, 0.01)
        self._seen_s = now_s
        return self._steady_s


def ok(number: int) -> bytes:
    body = json.dumps({"predictions": [number]}).encode()
    head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\nseaway-revision: {1 + number % 2}\r\n\r\n"
    return head.encode() + body


async def serve_and_drive(
    answer: Answer,
    *,
    count: int,
    rate_per_s: float = 5000,
    connections: int = 16,
    timeout_s: float = 60.0,
    retries: int = 0,
) -> LoadResult:
    """A server whose answer to the n-th request is written out, under load."""
    seen = 0

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal seen
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                number = int(await reader.readexactly(length))
                seen += 1
                await answer(number, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        result = await load.drive(
            Load(
                host="127.0.0.1",
                port=port,
                request=lambda index: load.post("/predict/m", "m", str(index).encode()),
                accept=lambda index, body: json.loads(body) == {"predictions": [index]},
                count=count,
                rate_per_s=rate_per_s,
                connections=connections,
                timeout_s=timeout_s,
                retries=retries,
            )
        )
    assert seen <= count * (1 + retries), "a request was sent too often"
    return result


def test_a_refusal_is_sent_again_as_often_as_was_asked_for_and_a_fault_is_not() -> None:
    seen: Counter[int] = Counter()

    async def answer(number: int, writer: asyncio.StreamWriter) -> None:
        seen[number] += 1
        if number == 0 and seen[0] == 2:
            writer.write(ok(0))
        else:
            status = (b"503 busy", b"429 slow down", b"500 broken")[number]
            writer.write(b"HTTP/1.1 %b\r\ncontent-length: 0\r\nretry-after: 7\r\n\r\n" % status)

    result = asyncio.run(serve_and_drive(answer, count=3, retries=2))
    assert [(o.status, o.attempts, o.retry_after_s) for o in result.outcomes] == [
        (200, 2, None),
        (429, 3, 7),
        (500, 1, 7),
    ]
    assert seen == {0: 2, 1: 3, 2: 1}


def test_one_lost_request_in_20_000_and_one_stall_of_300_ms_are_found() -> None:
    async def answer(number: int, writer: asyncio.StreamWriter) -> None:
        if number == 7_777:
            writer.close()
            return
        if number == 13_000:
            # the whole server stands still, as in a garbage collection: blocking its loop is what is tested
            import time

            time.sleep(0.3)
        writer.write(ok(number))

    result = asyncio.run(serve_and_drive(answer, count=20_000, rate_per_s=4000))
    assert len(result.outcomes) == 20_000
    assert [(o.index, o.failure) for o in result.failed] == [(7_777, Failure.LOST)]
    assert result.max_stall_s > 0.28
    assert result.latency_s(1.0) > 0.28
    assert result.by_revision == {"1": 10_000, "2": 9_999}


def test_a_quiet_server_shows_no_failure() -> None:
    async def answer(number: int, writer: asyncio.StreamWriter) -> None:
        writer.write(ok(number))

    result = asyncio.run(serve_and_drive(answer, count=500, rate_per_s=1000))
    assert (result.failed, result.by_status) == ((), {200: 500})


@pytest.mark.parametrize(
    ("said", "failure", "status"),
    [
        (b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n", Failure.STATUS, 503),
        (ok(999_999), Failure.WRONG, 200),
        (b"hello\r\n\r\n", Failure.UNREADABLE, None),
        (b"HTTP/1.1 200 OK\r\n\r\n", Failure.UNREADABLE, None),
        (b"", Failure.TIMEOUT, None),
    ],
)
def test_each_kind_of_failure_is_told_apart(said: bytes, failure: Failure, status: int | None) -> None:
    async def answer(number: int, writer: asyncio.StreamWriter) -> None:
        writer.write(said if number == 3 else ok(number))

    with asyncio.Runner(loop_factory=SteadyLoop) as runner:
        result = runner.run(serve_and_drive(answer, count=20, connections=2, timeout_s=0.2))
    assert [(o.index, o.failure, o.status) for o in result.failed] == [(3, failure, status)]
    assert result.failures == {failure: 1}


def test_nobody_listening_is_a_failure_of_each_request() -> None:
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]  # nobody else is given it
        result = load.run(Load("127.0.0.1", port, lambda index: b"", count=5, rate_per_s=1000))
    assert result.failures == {Failure.CONNECT: 5}


def test_latency_counts_from_the_due_time_where_no_connection_is_free() -> None:
    async def slow(number: int, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.02)
        writer.write(ok(number))

    result = asyncio.run(serve_and_drive(slow, count=20, rate_per_s=2000, connections=1))
    assert not result.failed
    assert result.outcomes[-1].latency_s > 0.3  # the last waited for 19 others


def test_a_connection_that_the_server_closes_politely_loses_nothing() -> None:
    async def answer(number: int, writer: asyncio.StreamWriter) -> None:
        writer.write(ok(number).replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n", 1))
        writer.close()

    assert not asyncio.run(serve_and_drive(answer, count=100)).failed


def test_schedules_have_the_rate_that_was_asked_for() -> None:
    def due(arrivals: Arrivals) -> list[float]:
        return load.schedule(Load("h", 1, lambda i: b"", count=20_000, rate_per_s=500, arrivals=arrivals))

    assert due(Arrivals.FIXED)[:3] == [0, 0.002, 0.004]
    random = due(Arrivals.POISSON)
    assert random[-1] == pytest.approx(40, rel=0.05)
    assert random == sorted(random)


def test_a_stall_needs_something_to_be_due() -> None:
    def result(*times: tuple[float, float]) -> LoadResult:
        return LoadResult(
            tuple(Outcome(i, due, done, 200, None, None) for i, (due, done) in enumerate(times))
        )

    assert result((0, 0.1), (5, 5.1)).max_stall_s == pytest.approx(0.1)
    assert result((0, 0.1), (0.05, 0.9)).max_stall_s == pytest.approx(0.8)
    assert result((0, 1.0), (0.5, 1.2), (1.1, 1.3)).max_stall_s == pytest.approx(1.0)


def test_a_request_that_was_lost_does_not_look_like_a_stall_for_ever_after() -> None:
    lost = Outcome(0, 0.0, 0.1, None, None, Failure.LOST)
    answered = Outcome(1, 5.0, 5.2, 200, None, None)
    assert LoadResult((lost, answered)).max_stall_s == pytest.approx(0.2)

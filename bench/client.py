"""The bench's own HTTP client, as a process on the load core: `python -m bench.client '{"port": …}'`.

Closed loop: each connection asks again as soon as it has its answer; used as the warm-up in which answers are checked.
Open loop: requests fall due at random (Poisson) whatever the server does, and latency counts from the due time, so
that a stalled server cannot hide behind requests that were not sent meanwhile. Bodies are made before the start, and
answers compared with `session.run` after the end, so that neither takes the client's time.
"""

from __future__ import annotations

import asyncio
import collections
import gc
import re
import sys
import time
from typing import Any, Final, cast

import httptools
import msgspec
import numpy as np
import uvloop

from bench import bodies, models, places
from bench.alarm import Alarm
from bench.loads import Load, Outcome, schedule

_LEAST_WAIT_S: Final = 20e-6
_GRACE_S: Final = 2.0
_PATIENCE_S: Final = 0.05
"""How long a due request waits for a free connection; then it is not sent at all, so that the client keeps no queue."""
_CONNECTING: Final = 64
_CHECKED: Final = 4000
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)


class _Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request in flight."""

    def __init__(self, run: _Run) -> None:
        self._run = run
        self._transport: asyncio.Transport | None = None
        self._parser: Any = None
        self._parsing = False
        self._head = b""
        self._pieces: list[bytes] = []
        self.index = -1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass of it
        self._parser = httptools.HttpResponseParser(self)

    def send(self, index: int) -> None:
        assert self._transport is not None
        run = self._run
        self.index = index
        run.sent_at[index] = time.perf_counter()
        self._transport.write(run.requests[index % len(run.requests)])

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        """One whole answer in one piece is read by hand, for speed; all else by the parser."""
        if not self._parsing:
            end = data.find(b"\r\n\r\n")
            length = _LENGTH.search(data, 0, end + 2) if end > 0 else None
            if length is not None and len(data) == end + 4 + int(length[1]):
                index, self.index = self.index, -1
                self._run.answered(self, index, int(data[9:12]), data[: end + 2], data[end + 4 :])
                return
            self._parsing = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head += name + b": " + value + b"\r\n"

    def on_body(self, data: bytes) -> None:
        self._pieces.append(data)

    def on_message_complete(self) -> None:
        index, self.index = self.index, -1
        head, body = b"\r\n" + self._head, b"".join(self._pieces)
        self._head, self._pieces, self._parsing = b"", [], False
        self._run.answered(self, index, self._parser.get_status_code(), head, body)
        self._parser = httptools.HttpResponseParser(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._run.disconnected(self)


class _Run:
    """One run: who asks what next, and what came of it."""

    def __init__(self, load: Load) -> None:
        self.load = load
        ready = bodies.prepared(load.model, load.form)
        self.requests = [_request(load, ready.headers, body) for body in ready.bodies()]
        self.due = schedule(load)
        self.sent_at: dict[int, float] = {}
        self.kept: list[tuple[int, bytes, bytes]] = []
        self.done: list[tuple[int, int, float]] = []
        self.refusal: str | None = None
        self.lost = self.in_time = self.unsent = 0
        self.next = 0
        self.lags: list[float] = []
        self.free: collections.deque[_Connection] = collections.deque()
        self.open: set[_Connection] = set()
        self._keep_each = 1 if load.rate_per_s is None else max(1, len(self.due) // _CHECKED)
        self._tasks: set[asyncio.Task[None]] = set()
        self._alarm = Alarm()
        self.start = self.end = 0.0

    async def run(self) -> None:
        """Connect, send until the time is over, wait for what is still in flight."""
        self._loop = asyncio.get_running_loop()
        for done in range(0, self.load.connections, _CONNECTING):
            several = min(_CONNECTING, self.load.connections - done)
            await asyncio.gather(*(self._connect() for _ in range(several)))
        gc.disable()
        self.start = time.perf_counter()
        self.end = self.start + self.load.seconds
        if self.load.rate_per_s is None:
            for connection in list(self.open):
                self._ask(connection)
        else:
            self._loop.add_reader(self._alarm.fd, self._tick)
            self._tick()
        await asyncio.sleep(self.load.seconds)
        patience = time.perf_counter() + _GRACE_S
        while self._unfinished() and time.perf_counter() < patience:
            await asyncio.sleep(0.01)
        gc.enable()
        self._loop.remove_reader(self._alarm.fd)
        self._alarm.close()

    def _unfinished(self) -> bool:
        return self.next < len(self.due) or len(self.done) + self.lost < len(self.sent_at)

    def _tick(self) -> None:
        """Send all that is due and can be sent, drop what waited too long, come again when the next is due."""
        self._alarm.clear()
        now = time.perf_counter() - self.start
        due = self.due
        while self.next < len(due) and due[self.next] <= now:
            if self.free:
                self.lags.append(now - due[self.next])
                self._send_next(self.free.popleft())
            elif due[self.next] < now - _PATIENCE_S:
                self.next += 1
                self.unsent += 1
            else:
                break
        if self.next < len(due):
            # what is overdue is sent by the next answer, or dropped a little later
            self._alarm.set(self.start + max(due[self.next], now + _LEAST_WAIT_S))

    def _send_next(self, connection: _Connection) -> None:
        index = self.next
        self.next += 1
        connection.send(index)

    def _ask(self, connection: _Connection) -> None:
        """Give a free connection its next request, or keep it for one."""
        now = time.perf_counter()
        if self.load.rate_per_s is None:
            if now < self.end:
                self._send_next(connection)
        elif self.next < len(self.due) and self.due[self.next] <= now - self.start:
            self._send_next(connection)
        else:
            self.free.append(connection)

    def answered(self, connection: _Connection, index: int, status: int, head: bytes, body: bytes) -> None:
        """An answer is whole; `head` has its headers, each after and before a line's end."""
        now = time.perf_counter()
        since = self.start + self.due[index] if self.due else self.sent_at[index]
        self.done.append((index, status, now - since))
        if status == 200 and now <= self.end and now - since <= self.load.deadline_s:
            self.in_time += 1
        if status != 200:
            self.refusal = self.refusal or f"{status}: {body[:300]!r}"
        elif index % self._keep_each == 0 and len(self.kept) < _CHECKED:
            self.kept.append((index, head, body))
        if b"\r\nconnection: close\r\n" not in head.lower():
            self._ask(connection)

    def disconnected(self, connection: _Connection) -> None:
        """A connection ended: its request is lost, and another takes its place."""
        if connection.index >= 0:
            self.lost += 1
        if connection in self.free:
            self.free.remove(connection)
        self.open.discard(connection)
        if self.end and time.perf_counter() < self.end:
            task = self._loop.create_task(self._reconnect())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _reconnect(self) -> None:
        try:
            self._ask(await self._connect(wait=False))
        except OSError:
            self._loop.call_later(0.05, self._loop.create_task, self._reconnect())

    async def _connect(self, wait: bool = True) -> _Connection:
        _, made = await self._loop.create_connection(lambda: _Connection(self), places.HOST, self.load.port)
        self.open.add(made)
        if wait and self.load.rate_per_s is not None:
            self.free.append(made)
        return made

    def outcome(self) -> Outcome:
        """The figures, with every kept answer compared."""
        right = np.array([took for _, status, took in self.done if status == 200])
        refused = np.array([took for _, status, took in self.done if status in (429, 503)])
        _, expected = models.data(self.load.model)
        wrong = [
            (index, body)
            for index, head, body in self.kept
            if not bodies.right(self.load.form, _headers(head), body, expected[index % len(expected)])
        ]
        statuses = collections.Counter(status for _, status, _ in self.done)
        return Outcome(
            due=max(len(self.sent_at), len(self.due)),
            seconds=self.load.seconds,
            statuses=dict(statuses),
            in_time=self.in_time,
            unanswered=len(self.sent_at) - len(self.done) - self.lost,
            unsent=self.unsent,
            lost=self.lost,
            p50_ms=_quantile_ms(right, 0.5),
            p99_ms=_quantile_ms(right, 0.99),
            refused_p50_ms=_quantile_ms(refused, 0.5),
            refused_p99_ms=_quantile_ms(refused, 0.99),
            lag_p99_ms=_quantile_ms(np.array(self.lags), 0.99),
            checked=len(self.kept),
            wrong=len(wrong),
            example=f"wrong answer to request {wrong[0][0]}: {wrong[0][1][:300]!r}"
            if wrong
            else self.refusal,
        )


def _headers(head: bytes) -> dict[str, str]:
    lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines if ":" in line)
    return {name.lower(): value.strip() for name, _, value in pairs}


def _request(load: Load, headers: dict[str, str], body: bytes) -> bytes:
    lines = [f"POST {load.path} HTTP/1.1", f"Host: {places.HOST}:{load.port}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines += [f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode("ascii") + body


def _quantile_ms(seconds: Any, quantile: float) -> float | None:
    return round(float(np.quantile(seconds, quantile)) * 1000, 3) if len(seconds) else None


def main() -> None:
    """The process's entry: the load is its argument, the outcome its only line."""
    run = _Run(msgspec.json.decode(sys.argv[1], type=Load))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run.run())
    print(msgspec.json.encode(run.outcome()).decode())


if __name__ == "__main__":
    main()

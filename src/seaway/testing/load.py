"""An open-loop HTTP load generator: requests fall due by a schedule, whatever the server does.

Proofs and benches use it to count lost requests. It opens its own sockets, never retries unless told to, and counts
latency from the time a request was due, so that a stalled server cannot hide behind requests that were not sent
meanwhile.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import enum
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import msgspec
import numpy as np

_HEAD_BYTES: Final = 64 * 1024
_REFUSED: Final = (429, 503)


class Arrivals(enum.StrEnum):
    """How requests fall due: at random with a constant mean rate, or evenly."""

    POISSON = "poisson"
    FIXED = "fixed"


class Failure(enum.StrEnum):
    """Why a request counts as failed."""

    CONNECT = "connect"
    """No connection could be opened."""
    LOST = "lost"
    """The connection ended before the whole answer was there."""
    TIMEOUT = "timeout"
    """No whole answer within the timeout, counted from when the request was sent."""
    UNREADABLE = "unreadable"
    """What came is no HTTP/1.1 answer with a Content-Length."""
    STATUS = "status"
    """The status is not 200."""
    WRONG = "wrong"
    """The caller's check did not accept the body."""


_BROKEN: Final = (Failure.CONNECT, Failure.LOST)


class Load(msgspec.Struct, frozen=True):
    """What to send. `request(i)` gives the bytes of the i-th HTTP request, head and body."""

    host: str
    port: int
    request: Callable[[int], bytes]
    count: int
    rate_per_s: float
    connections: int = 32
    arrivals: Arrivals = Arrivals.POISSON
    timeout_s: float = 10.0
    seed: int = 0
    accept: Callable[[int, bytes], bool] = lambda index, body: True
    """Whether the body is the right answer to the i-th request."""
    retries: int = 0
    """How often a request that is refused with 429 or 503 is sent again, at once: the worst that a client can do."""
    resends: int = 0
    """How often a request whose connection ended, or could not be opened, is sent again on a new one, as a client does with a
    call that may be repeated."""


class Outcome(msgspec.Struct, frozen=True):
    """One request. Times are seconds from the start; latency runs from `due_s` to `done_s`."""

    index: int
    due_s: float
    done_s: float
    status: int | None
    revision: str | None
    failure: Failure | None
    retry_after_s: int | None = None
    """What a refusal's Retry-After says; None without one."""
    attempts: int = 1

    @property
    def latency_s(self) -> float:
        return self.done_s - self.due_s


class LoadResult(msgspec.Struct, frozen=True):
    """All outcomes, in the order of their requests."""

    outcomes: tuple[Outcome, ...]

    @property
    def failures(self) -> Mapping[Failure, int]:
        return collections.Counter(o.failure for o in self.outcomes if o.failure is not None)

    @property
    def failed(self) -> tuple[Outcome, ...]:
        return tuple(o for o in self.outcomes if o.failure is not None)

    @property
    def by_revision(self) -> Mapping[str, int]:
        return collections.Counter(o.revision for o in self.outcomes if o.revision is not None)

    @property
    def by_status(self) -> Mapping[int, int]:
        return collections.Counter(o.status for o in self.outcomes if o.status is not None)

    def latency_s(self, quantile: float) -> float:
        """Latency from the due time, of all requests that got an answer of whatever status; NaN without any."""
        answered = [o.latency_s for o in self.outcomes if o.status is not None]
        return float(np.quantile(answered, quantile)) if answered else float("nan")

    @property
    def max_stall_s(self) -> float:
        """The longest time in which a request was due and no answer came at all."""
        events = [(o.due_s, 1, False) for o in self.outcomes]
        events += [(o.done_s, -1, o.status is not None) for o in self.outcomes]
        longest, waiting, since = 0.0, 0, 0.0
        for at, change, answered in sorted(events):
            if waiting == 0:
                since = at  # nothing was due until now
            if change < 0:
                longest = max(longest, at - since)
            if answered:
                since = at
            waiting += change
        return longest


def post(path: str, host: str, body: bytes, headers: Mapping[str, str] | None = None) -> bytes:
    """The bytes of one POST with a JSON body, on a connection that stays open."""
    lines = [
        f"POST {path} HTTP/1.1",
        f"Host: {host}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *(f"{name}: {value}" for name, value in (headers or {}).items()),
    ]
    return "\r\n".join(lines).encode("ascii") + b"\r\n\r\n" + body


def schedule(load: Load) -> list[float]:
    """When each request is due, in seconds from the start."""
    if load.arrivals is Arrivals.FIXED:
        return [i / load.rate_per_s for i in range(load.count)]
    gaps = np.random.default_rng(load.seed).exponential(1 / load.rate_per_s, load.count)
    due: list[float] = np.cumsum(gaps).tolist()
    return due


def run(load: Load) -> LoadResult:
    """Send it all and wait for the last outcome. Blocking; use `drive` inside an event loop."""
    return asyncio.run(drive(load))


async def drive(load: Load) -> LoadResult:
    """Send each request when it is due, over whichever connection is free; without a free one it waits, and ages."""
    due = schedule(load)
    outcomes: list[Outcome] = []
    loop = asyncio.get_running_loop()
    start = loop.time()
    pending = iter(range(load.count))

    async def work() -> None:
        connection = _Connection(load)
        try:
            for index in pending:
                wait = start + due[index] - loop.time()
                if wait > 0:
                    await asyncio.sleep(wait)
                attempts = 1
                came = await connection.ask(index)
                resent = 0
                while came.failure in _BROKEN and resent < load.resends:
                    attempts, resent = attempts + 1, resent + 1
                    came = await connection.ask(index)
                while came.status in _REFUSED and attempts <= load.retries:
                    attempts += 1
                    came = await connection.ask(index)
                done = loop.time() - start
                outcomes.append(
                    Outcome(
                        index,
                        due[index],
                        done,
                        came.status,
                        came.revision,
                        came.failure,
                        came.retry_after_s,
                        attempts,
                    )
                )
        finally:
            await connection.close()

    await asyncio.gather(*(work() for _ in range(min(load.connections, load.count))))
    return LoadResult(tuple(sorted(outcomes, key=lambda outcome: outcome.index)))


class _Came(NamedTuple):
    """What one attempt gave."""

    status: int | None
    revision: str | None
    failure: Failure | None
    retry_after_s: int | None = None


class _Connection:
    """One socket, opened when it is needed and again after it broke: for the next request, never the same one."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, index: int) -> _Came:
        """One attempt of one request."""
        kind: Failure
        try:
            async with asyncio.timeout(self._load.timeout_s):
                try:
                    reader, writer = await self._open()
                except OSError:
                    return _Came(None, None, Failure.CONNECT)
                writer.write(self._load.request(index))
                status, headers, body = await _answer(reader)
            if headers.get("connection", "").lower() == "close":
                await self.close()
        except TimeoutError:
            kind = Failure.TIMEOUT
        except (OSError, asyncio.IncompleteReadError):
            kind = Failure.LOST
        except (ValueError, asyncio.LimitOverrunError):
            kind = Failure.UNREADABLE
        else:
            revision = headers.get("seaway-revision")
            if status != 200:
                after = headers.get("retry-after", "")
                return _Came(status, revision, Failure.STATUS, int(after) if after.isdigit() else None)
            return _Came(status, revision, None if self._load.accept(index, body) else Failure.WRONG)
        await self.close()
        return _Came(None, None, kind)

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is not None and (self._streams[0].at_eof() or self._streams[0].exception()):
            await self.close()  # the server closed it while it was idle, so no request is lost by leaving it
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._load.host, self._load.port, limit=_HEAD_BYTES)
        return self._streams

    async def close(self) -> None:
        if self._streams is not None:
            _, writer = self._streams
            self._streams = None
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def _answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    """Status, headers by lower-case name, body. Raises `ValueError` for what is no such answer."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    protocol, _, rest = head[0].partition(" ")
    if protocol != "HTTP/1.1":
        raise ValueError(f"not HTTP/1.1: {head[0][:60]!r}")
    headers = {}
    for line in head[1:]:
        name, colon, value = line.partition(":")
        if colon:
            headers[name.strip().lower()] = value.strip()
    if "content-length" not in headers:
        raise ValueError("no Content-Length")
    body = await reader.readexactly(int(headers["content-length"]))
    return int(rest[:3]), headers, body

"""A front over one fake model, driven without a socket."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

from engine_fakes import FakeRuntime, revision, sources
from starlette.types import Receive, Scope, Send

from seaway.core.errors import SeawayError
from seaway.core.traffic import Limits, Route, RoutingTable
from seaway.engine.pool import Pool
from seaway.engine.router import Router
from seaway.serve.doors import DOORS
from seaway.serve.front import Front
from seaway.serve.plane import DataPlane
from seaway.testing.clock import VirtualClock
from seaway.testing.recorder import MemoryRecorder
from seaway.transport.exchange import Exchange


class Outlet:
    """The transport's side of one exchange: keeps what is sent."""

    def __init__(self) -> None:
        self.queue: deque[Exchange] = deque()
        self.peer = "127.0.0.1"
        self.secure = False
        self.sent: list[tuple[int, dict[str, str], bytes]] = []

    def send(self, exchange: Exchange, status: int, head: bytes, body: bytes) -> None:
        lines = head.decode("latin-1").split("\r\n")
        assert lines[-1] == ""
        self.sent.append((status, dict(line.split(": ", 1) for line in lines[:-1]), body))


async def no_slow_route(scope: Scope, receive: Receive, send: Send) -> None:
    raise AssertionError("this test asks for no slow route")


class Server:
    """A front over one fake model, as endpoint `e` with revision 1."""

    def __init__(self, slow: object = no_slow_route) -> None:
        clock = VirtualClock()
        self.runtime = FakeRuntime()
        pool = Pool(sources(self.runtime), clock)
        pool.load("e", revision(1), Limits())
        router = Router(pool, RoutingTable(1, (Route("e", (revision(1),)),)))

        async def metrics() -> str:
            return ""

        self.recorder = MemoryRecorder()
        self.plane = DataPlane(router, self.recorder, clock, metrics, "1")
        self.front = Front(self.plane, DOORS, slow)  # type: ignore[arg-type]

    def exchange(
        self, path: str, method: str = "POST", headers: Sequence[tuple[bytes, bytes]] = ()
    ) -> tuple[Exchange, Outlet]:
        """One exchange that the front knows nothing of yet."""
        outlet = Outlet()
        now_s = self.plane.clock.monotonic_s()
        exchange = Exchange(outlet, method, path.encode(), list(headers), now_s)  # type: ignore[arg-type]
        outlet.queue.append(exchange)
        return exchange, outlet

    def begin(self, path: str, body: bytes) -> tuple[Exchange, Outlet]:
        """A POST that is given whole to the front, and left there."""
        exchange, outlet = self.exchange(path)
        self.front.head(exchange)
        exchange.body, exchange.whole = body, True
        self.front.request(exchange)
        return exchange, outlet

    def lose(self, exchange: Exchange) -> None:
        """Its client leaves."""
        exchange.leave()
        self.front.finished(exchange)
        exchange.state = exchange.on_gone = None

    async def ask(
        self,
        path: str,
        body: bytes = b"",
        method: str = "POST",
        headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> tuple[int, dict[str, str], bytes]:
        """One exchange through the front as the transport would drive it."""
        exchange, outlet = self.exchange(path, method, headers)
        try:
            self.front.head(exchange)
            exchange.body, exchange.whole = body, True
            self.front.request(exchange)
            async with asyncio.timeout(60):
                while not outlet.sent:
                    await asyncio.sleep(0)
        except SeawayError as error:
            self.front.refuse(exchange, error)
        except ZeroDivisionError as error:
            self.front.fault(exchange, error)
        self.front.finished(exchange)
        return outlet.sent[0]

    def counted(self) -> dict[tuple[str, str, str, str], float]:
        """Answers by door, endpoint, revision and code."""
        return dict(self.recorder.codes)

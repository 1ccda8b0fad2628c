"""A connection without a socket, and an application that a test answers by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

from seaway.core.errors import SeawayError
from seaway.transport.connection import HttpConnection
from seaway.transport.exchange import Exchange
from seaway.transport.limits import TransportLimits
from seaway.transport.server import HttpServer

GET = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"


class Wire(asyncio.Transport):
    """Keeps what is written; `stuck` is what the client has not taken."""

    def __init__(self, protocol: HttpConnection, peer: object = ("192.0.2.1", 1)) -> None:
        super().__init__({"peername": peer})
        self.sent = b""
        self.writes = 0
        self.stuck = 0
        self.reading = True
        self.closed = False
        self.aborted = False
        self.half_closed = False
        self._protocol = protocol

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def get_write_buffer_size(self) -> int:
        return self.stuck

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.half_closed and not self.closed, f"written after the end: {bytes(data)!r}"
        self.sent += bytes(data)
        self.writes += 1

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.half_closed = True

    def pause_reading(self) -> None:
        assert self.reading
        self.reading = False

    def resume_reading(self) -> None:
        assert not self.reading
        self.reading = True

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            asyncio.get_running_loop().call_soon(self._protocol.connection_lost, None)

    def abort(self) -> None:
        self.aborted = True
        self.close()


class ByHand:
    """Leaves every exchange to the test, or answers it by `answer`."""

    def __init__(self) -> None:
        self.asked: list[Exchange] = []
        self.refused: list[str] = []
        self.faults: list[Exception] = []
        self.done: list[Exchange] = []
        self.limit = 1000
        self.raises: Exception | None = None
        self.answer: Callable[[Exchange], None] | None = None

    def head(self, exchange: Exchange) -> int:
        if self.raises is not None:
            raise self.raises
        return self.limit

    def request(self, exchange: Exchange) -> None:
        self.asked.append(exchange)
        if self.answer is not None:
            self.answer(exchange)

    def refuse(self, exchange: Exchange, error: SeawayError) -> None:
        self.refused.append(error.code)
        exchange.respond(400, b"", error.code.encode())

    def fault(self, exchange: Exchange, error: Exception) -> None:
        self.faults.append(error)
        exchange.respond(500, b"", b"fault")

    def finished(self, exchange: Exchange) -> None:
        self.done.append(exchange)


class Bench:
    """One server, one application; made inside a running loop."""

    def __init__(self, limits: TransportLimits | None = None) -> None:
        self.application = ByHand()
        self.server = HttpServer(self.application, limits)
        self.loop = asyncio.get_running_loop()

    def connect(self) -> tuple[HttpConnection, Wire]:
        connection = HttpConnection(self.server)
        wire = Wire(connection)
        connection.connection_made(wire)
        return connection, wire

    def sweep_in(self, seconds: float) -> None:
        self.server.sweep(self.loop.time() + seconds)


def run(test: Coroutine[object, object, None]) -> None:
    asyncio.run(test)


def bodies(sent: bytes) -> list[bytes]:
    """The bodies of answers that have a length."""
    found: list[bytes] = []
    while sent:
        head, _, rest = sent.partition(b"\r\n\r\n")
        size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        found.append(rest[:size])
        sent = rest[size:]
    return found

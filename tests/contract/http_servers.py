"""One trivial application on three servers, each in a thread of its own, for `test_http_conformance`."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any

import uvicorn

from seaway.core.errors import SeawayError, UserError
from seaway.transport.asgi import AsgiBridge
from seaway.transport.exchange import Exchange
from seaway.transport.limits import TransportLimits
from seaway.transport.server import HttpServer

STATUS = {
    "head_too_large": 431,
    "body_too_large": 413,
    "request_timeout": 408,
    "expectation_failed": 417,
    "too_many_connections": 503,
    "internal": 500,
}
BODY_LIMIT = 64 * 1024
# As the defaults, only shorter, so that a test does not wait for seconds.
HURRIED = TransportLimits(
    head_s=0.6, body_idle_s=0.6, keep_alive_s=1.0, write_stall_s=0.6, linger_s=0.5, sweep_s=0.1
)


# For all rows that are not about them: a machine that stands still for a moment must not meet one.
PATIENT = TransportLimits(
    head_s=60.0, body_idle_s=60.0, keep_alive_s=60.0, write_stall_s=60.0, linger_s=60.0, sweep_s=0.1
)


class World:
    """What a test can see of the application."""

    def __init__(self) -> None:
        self.endless = 0
        """How many endless answers are being made now."""


Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Scope]]
Send = Callable[[Scope], Awaitable[None]]


class EchoApp:
    """The ASGI application that every server runs: says method, path and body; `/slow`, `/stream`, `/endless`."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        if message["type"] == "http.disconnect":
            return
        await send({"type": "http.response.start", "status": 200, "headers": _headers(scope)})
        if scope["path"] == "/stream":
            for piece in (b"one ", b"two ", b"three"):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                await asyncio.sleep(0.01)
            await send({"type": "http.response.body", "body": b""})
        elif scope["path"] == "/endless":
            await self._be_endless(receive, send)
        elif scope["path"] == "/slow":
            await asyncio.sleep(0.1)
            await send({"type": "http.response.body", "body": b"slow"})
        else:
            text = b"%b %b %b" % (scope["method"].encode(), scope["path"].encode(), body)
            await send({"type": "http.response.body", "body": text})

    async def _be_endless(self, receive: Receive, send: Send) -> None:
        self._world.endless += 1
        writing = asyncio.ensure_future(_write_on(send))
        try:
            leaving = asyncio.ensure_future(receive())
            await asyncio.wait((leaving, writing), return_when=asyncio.FIRST_COMPLETED)
        finally:
            writing.cancel()
            leaving.cancel()
            await asyncio.wait((leaving, writing))
            self._world.endless -= 1


async def _write_on(send: Send) -> None:
    while True:
        await send({"type": "http.response.body", "body": b"x" * 4096, "more_body": True})
        await asyncio.sleep(0)


def _headers(scope: Scope) -> list[tuple[bytes, bytes]]:
    if scope["path"] in ("/stream", "/endless"):
        return [(b"content-type", b"text/plain")]
    body_length = {"/slow": 4}.get(scope["path"])
    if body_length is None:
        return [(b"content-type", b"text/plain"), (b"x-kind", b"echo")]
    return [(b"content-type", b"text/plain"), (b"content-length", str(body_length).encode())]


class EchoApplication:
    """The same on the transport: echoes from a callback, and the rest through the ASGI bridge."""

    def __init__(self, world: World) -> None:
        self._bridge = AsgiBridge(EchoApp(world), self)

    def head(self, exchange: Exchange) -> int:
        if exchange.path == b"/refused":
            raise UserError("route_not_found", "refused before its body")
        return BODY_LIMIT

    def request(self, exchange: Exchange) -> None:
        if exchange.path in (b"/stream", b"/endless", b"/slow"):
            self._bridge.answer(exchange)
        else:
            text = b"%b %b %b" % (exchange.method.encode(), exchange.path, exchange.body)
            exchange.respond(200, b"content-type: text/plain\r\nx-kind: echo\r\n", text)

    def refuse(self, exchange: Exchange, error: SeawayError) -> None:
        exchange.respond(STATUS.get(error.code, 400), b"content-type: text/plain\r\n", error.code.encode())

    def fault(self, exchange: Exchange, error: Exception) -> None:
        raise error

    def finished(self, exchange: Exchange) -> None:
        pass


def listen() -> socket.socket:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(512)
    listener.setblocking(False)
    return listener


class Running:
    """A server in a thread."""

    def __init__(self, address: tuple[str, int], world: World, patience_s: float) -> None:
        self.address = address
        self.world = world
        self.patience_s = patience_s
        """How long a row waits for what the server must do; several times what ours takes by its limits."""

    def connect(self, receive_buffer: int | None = None) -> socket.socket:
        client = socket.socket()
        if receive_buffer is not None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        client.connect(self.address)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return client


@contextlib.contextmanager
def run_seaway(loops: Callable[[], asyncio.AbstractEventLoop], limits: TransportLimits) -> Iterator[Running]:
    """Our transport."""
    world = World()
    listener = listen()
    address = listener.getsockname()
    loop = loops()
    stop = asyncio.Event()
    started = threading.Event()
    faults: list[dict[str, Any]] = []

    async def serve() -> None:
        loop.set_exception_handler(lambda _, context: faults.append(context))
        server = HttpServer(EchoApplication(world), limits)
        await server.start(listener)
        started.set()
        await stop.wait()
        server.stop_accepting()
        await server.drain(0.0, 0.2)

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert started.wait(60)
    try:
        yield Running(address, world, 30.0)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(60)
        loop.close()
    assert not faults


@contextlib.contextmanager
def run_uvicorn(http: str) -> Iterator[Running]:
    """uvicorn with its own limits, as its documentation runs it."""
    world = World()
    listener = listen()
    address = listener.getsockname()
    config = uvicorn.Config(
        EchoApp(world),
        http=http,
        ws="none",
        lifespan="off",
        log_level="critical",
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    try:
        yield Running(address, world, 1.5)
    finally:
        server.should_exit = server.force_exit = True
        thread.join(60)
        listener.close()

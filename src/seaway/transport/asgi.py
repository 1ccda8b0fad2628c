"""Runs an ASGI 3 application for one exchange as one task; used by `seaway.serve` for its slow routes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from seaway.core.errors import SeawayError
from seaway.transport.exchange import Exchange, Stream
from seaway.transport.ports import Application

Message = MutableMapping[str, Any]
AsgiApp = Callable[
    [MutableMapping[str, Any], Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]],
    Awaitable[None],
]

# What the transport writes itself.
_OWN_FIELDS: Final = frozenset((b"connection", b"content-length", b"date", b"transfer-encoding"))


class AsgiBridge:
    """Answers exchanges by an ASGI application. Lifespan and WebSocket are not spoken."""

    def __init__(self, app: AsgiApp, application: Application) -> None:
        """What `app` raises goes to `refuse` (a `SeawayError`) or `fault` of `application`."""
        self._app = app
        self._application = application
        self._tasks: set[asyncio.Task[None]] = set()

    def answer(self, exchange: Exchange) -> None:
        """Begin the answer to a whole request: at once, by a task that ends when the application returns.

        In the scope, `state` is `{"exchange": exchange}`. A client that leaves is told to the application as
        `http.disconnect`; it is not cancelled.
        """
        task = asyncio.get_running_loop().create_task(self._run(exchange))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, exchange: Exchange) -> None:
        reply = _Reply(exchange)
        try:
            await self._app(_scope(exchange), reply.receive, reply.send)
            if not exchange.answered and not exchange.gone:
                raise RuntimeError("the ASGI application returned without an answer")
        except Exception as error:  # noqa: BLE001 - the edge to the application
            self._fail(exchange, reply, error)
        else:
            reply.abort()

    def _fail(self, exchange: Exchange, reply: _Reply, error: Exception) -> None:
        if exchange.gone:
            return
        if exchange.answered:
            reply.abort()
            asyncio.get_running_loop().call_exception_handler(
                {"message": "an ASGI application failed within its answer", "exception": error}
            )
        elif isinstance(error, SeawayError):
            self._application.refuse(exchange, error)
        else:
            self._application.fault(exchange, error)


class _Reply:
    """The `receive` and `send` of one exchange."""

    __slots__ = ("_exchange", "_gone", "_head", "_requested", "_status", "_stream")

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._requested = False
        self._status: int | None = None
        self._head = b""
        self._stream: Stream | None = None
        self._gone = asyncio.Event()
        exchange.on_gone = self._gone.set

    async def receive(self) -> Message:
        if not self._requested:
            self._requested = True
            return {"type": "http.request", "body": self._exchange.body, "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            if self._status is not None:
                raise RuntimeError("the ASGI application started a second answer")
            self._status = message["status"]
            self._head = _head_lines(message.get("headers", ()))
        elif message["type"] == "http.response.body":
            await self._send_body(message.get("body", b""), message.get("more_body", False))
        else:
            raise RuntimeError(f"the ASGI application sent {message['type']!r}, which is no part of HTTP")

    async def _send_body(self, body: bytes, more: bool) -> None:
        if self._status is None:
            raise RuntimeError("the ASGI application sent a body before its head")
        if self._stream is None:
            if not more:
                self._exchange.respond(self._status, self._head, body)
                self._gone.set()
                return
            self._stream = self._exchange.open_stream(self._status, self._head)
        self._stream.write(body)
        if more:
            await self._stream.drained()
        else:
            self._stream.end()
            self._gone.set()

    def abort(self) -> None:
        """Break a stream that the application left without its end."""
        if self._stream is not None:
            self._stream.abort()


def _head_lines(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    lines: list[bytes] = []
    for name, value in headers:
        if b"\r" in value or b"\n" in value or b"\0" in value:
            raise RuntimeError("the ASGI application sent a header value with a line break")
        if name.lower() not in _OWN_FIELDS:
            lines.append(b"%b: %b\r\n" % (name, value))
    return b"".join(lines)


def _scope(exchange: Exchange) -> MutableMapping[str, Any]:
    secure = exchange.secure
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1" if exchange.http_11 else "1.0",
        "method": exchange.method,
        "scheme": "https" if secure else "http",
        "path": unquote_to_bytes(exchange.path).decode("utf-8", "replace"),
        "raw_path": exchange.path,
        "query_string": exchange.query,
        "root_path": "",
        "headers": list(exchange.headers),  # the application's own: equal heads share the transport's
        "client": (exchange.peer, 0),
        "server": None,
        "state": {"exchange": exchange},
    }

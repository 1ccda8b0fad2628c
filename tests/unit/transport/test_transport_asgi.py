"""ASGI applications on the transport."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from transport_wire import GET, Bench, Wire, bodies, run

from seaway.core.errors import UserError
from seaway.transport.asgi import AsgiBridge
from seaway.transport.connection import HttpConnection

Message = dict[str, Any]
App = Callable[[Any, Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[None]]


def bridged(app: App) -> tuple[Bench, HttpConnection, Wire]:
    bench = Bench()
    bench.application.answer = AsgiBridge(app, bench.application).answer
    connection, wire = bench.connect()
    return bench, connection, wire


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0)


async def _echo(request: Request) -> Response:
    body = await request.body()
    text = f"{request.method} {request.url} {request.path_params['name']} {body.decode()} {request.client}"
    assert request.state.exchange.path == b"/a%20b"
    return PlainTextResponse(text, 201, {"x-a": request.headers["x-a"]})


def test_a_starlette_route_is_answered() -> None:
    async def test() -> None:
        app = Starlette(routes=[Route("/{name}", _echo, methods=["POST"])])
        bench, connection, wire = bridged(app)
        connection.data_received(
            b"POST /a%20b?q=1 HTTP/1.1\r\nHost: h:8\r\nX-A: v\r\nContent-Length: 2\r\n\r\nhi"
        )
        await until(lambda: bench.application.done)
        assert wire.sent.startswith(b"HTTP/1.1 201 Created\r\n") and b"x-a: v\r\n" in wire.sent
        assert wire.sent.count(b"content-length") == 1
        assert bodies(wire.sent) == [b"POST http://h:8/a b?q=1 a b hi Address(host='192.0.2.1', port=0)"]

    run(test())


def test_a_streamed_response_is_chunked() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"one"
        yield b"two"

    async def route(_: Request) -> Response:
        return StreamingResponse(pieces())

    async def test() -> None:
        bench, connection, wire = bridged(Starlette(routes=[Route("/x", route)]))
        connection.data_received(GET)
        await until(lambda: bench.application.done)
        assert wire.sent.endswith(b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")

    run(test())


def test_a_client_that_leaves_cancels_a_streamed_response() -> None:
    ended: list[str] = []

    async def pieces() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"more"
                await asyncio.sleep(0)
        finally:
            ended.append("ended")

    async def route(_: Request) -> Response:
        return StreamingResponse(pieces())

    async def test() -> None:
        _, connection, wire = bridged(Starlette(routes=[Route("/x", route)]))
        connection.data_received(GET)
        await until(lambda: b"more" in wire.sent)
        connection.connection_lost(None)
        await until(lambda: ended)

    run(test())


def test_errors_go_to_the_application() -> None:
    async def test() -> None:
        raised: list[Exception] = [UserError("route_not_found", "no"), ZeroDivisionError()]

        async def fail(_scope: object, _receive: object, _send: object) -> None:
            raise raised.pop(0)

        bench, connection, wire = bridged(fail)
        connection.data_received(GET * 2)
        await until(lambda: len(bench.application.done) == 2)
        assert bodies(wire.sent) == [b"route_not_found", b"fault"]

    run(test())


def test_an_application_that_says_nothing_is_a_fault() -> None:
    async def silent(_scope: object, _receive: object, _send: object) -> None: ...

    async def test() -> None:
        bench, connection, _ = bridged(silent)
        connection.data_received(GET)
        await until(lambda: bench.application.done)
        assert isinstance(bench.application.faults[0], RuntimeError)

    run(test())


def test_a_failure_within_an_answer_breaks_the_connection() -> None:
    async def half(_scope: object, _receive: object, send: Callable[[Message], Awaitable[None]]) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise ZeroDivisionError

    async def test() -> None:
        reported: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
        bench, connection, wire = bridged(half)
        connection.data_received(GET)
        await until(lambda: bench.application.done)
        assert wire.aborted and bench.application.done[0].gone
        assert isinstance(reported[0]["exception"], ZeroDivisionError)

    run(test())


def test_a_header_value_cannot_split_the_answer() -> None:
    async def split(_scope: object, _receive: object, send: Callable[[Message], Awaitable[None]]) -> None:
        headers = [(b"x-a", b"v\r\nset-cookie: evil")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})

    async def test() -> None:
        bench, connection, wire = bridged(split)
        connection.data_received(GET)
        await until(lambda: bench.application.done)
        assert bodies(wire.sent) == [b"fault"]

    run(test())


def test_what_an_application_does_to_its_headers_is_not_seen_by_the_next() -> None:
    async def test() -> None:
        seen: list[int] = []

        async def adds(scope: Any, receive: Any, send: Any) -> None:
            seen.append(len(scope["headers"]))
            scope["headers"].append((b"x-user-id", b"root"))
            await PlainTextResponse("ok")(scope, receive, send)

        bench, connection, _ = bridged(adds)
        for answers in (1, 2, 3):
            connection.data_received(GET)
            await until(lambda: len(bench.application.done) == answers)  # noqa: B023 - called at once
        assert seen == [1, 1, 1]

    run(test())

"""Listening on real sockets, and the drain of a real server."""

from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import Callable

import pytest
import uvloop
from transport_wire import GET, Bench, ByHand, run

from seaway.transport.limits import TransportLimits
from seaway.transport.server import HttpServer

both_loops = pytest.mark.parametrize(
    "loops", [uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"]
)
Loops = Callable[[], asyncio.AbstractEventLoop]


async def until(condition: Callable[[], object]) -> int:
    """How many times a hundredth of a second went by; a machine that stands still for long is one time."""
    looks = 0
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)
            looks += 1
    return looks


@both_loops
def test_two_sockets_are_served_and_drained(loops: Loops) -> None:
    async def test() -> None:
        application = ByHand()
        server = HttpServer(application)
        addresses = []
        for _ in range(2):
            listener = socket.create_server(("127.0.0.1", 0))
            addresses.append(listener.getsockname())
            await server.start(listener)
        readers = []
        for address in addresses:
            reader, writer = await asyncio.open_connection(*address)
            writer.write(GET)
            readers.append((reader, writer))
        idle_reader, idle_writer = await asyncio.open_connection(*addresses[0])
        await until(lambda: len(application.asked) == 2 and server.connections == 3)
        assert application.asked[0].peer == "127.0.0.1"
        server.stop_accepting()
        for address in addresses:
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(*address)
        draining = asyncio.ensure_future(server.drain(0.05, 30.0))
        assert await idle_reader.read() == b""
        assert not draining.done()
        for exchange in application.asked:
            exchange.respond(200, b"", b"last")
        await draining
        for reader, writer in readers:
            answer = await reader.read()
            assert answer.endswith(b"connection: close\r\n\r\nlast")
            writer.close()
        idle_writer.close()
        assert server.connections == 0

    with asyncio.Runner(loop_factory=loops) as runner:
        runner.run(test())


@both_loops
def test_a_request_that_was_on_its_way_is_answered_within_the_grace(loops: Loops) -> None:
    async def test() -> None:
        application = ByHand()
        application.answer = lambda exchange: exchange.respond(200, b"", b"late")
        server = HttpServer(application)
        listener = socket.create_server(("127.0.0.1", 0))
        address = listener.getsockname()
        await server.start(listener)
        reader, writer = await asyncio.open_connection(*address)
        await until(lambda: server.connections == 1)
        server.stop_accepting()
        draining = asyncio.ensure_future(server.drain(10.0, 30.0))
        await asyncio.sleep(0)
        writer.write(GET)
        assert (await reader.read()).endswith(b"late")
        await draining
        writer.close()

    with asyncio.Runner(loop_factory=loops) as runner:
        runner.run(test())


@both_loops
def test_a_client_that_disconnects_from_a_stream_is_noticed_within_a_second(loops: Loops) -> None:
    async def test() -> None:
        application = ByHand()
        server = HttpServer(application)
        listener = socket.create_server(("127.0.0.1", 0))
        address = listener.getsockname()
        await server.start(listener)
        reader, writer = await asyncio.open_connection(*address)
        writer.write(GET)
        await until(lambda: application.asked)
        exchange = application.asked[0]
        left: list[bool] = []
        exchange.on_gone = lambda: left.append(True)
        stream = exchange.open_stream(200, b"")
        stream.write(b"first")
        await reader.readuntil(b"first")
        writer.close()
        assert await until(lambda: left) < 100
        assert server.streams == 0
        server.stop_accepting()
        await server.drain(0.0, 1.0)

    with asyncio.Runner(loop_factory=loops) as runner:
        runner.run(test())


@both_loops
def test_the_sweep_runs_by_itself(loops: Loops) -> None:
    async def test() -> None:
        application = ByHand()
        server = HttpServer(application, TransportLimits(head_s=0.02, sweep_s=0.01))
        listener = socket.create_server(("127.0.0.1", 0))
        address = listener.getsockname()
        await server.start(listener)
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"GET / HT")
        assert (await reader.read()).endswith(b"request_timeout")
        writer.close()
        server.stop_accepting()
        await server.drain(0.0, 1.0)

    with asyncio.Runner(loop_factory=loops) as runner:
        runner.run(test())


def test_requests_and_connections_leave_nothing_to_the_garbage_collector() -> None:
    async def test() -> None:
        bench = Bench()
        application = bench.application
        application.answer = lambda exchange: exchange.respond(200, b"", b"")

        def serve() -> None:
            connection, _ = bench.connect()
            connection.data_received(GET * 2)
            connection.connection_lost(None)
            application.asked.clear()
            application.done.clear()

        serve()
        gc.collect()
        gc.disable()
        try:
            for _ in range(20):
                serve()
            # each pair of connection and fake transport refers to each other; nothing else may be in a cycle
            gc.set_debug(gc.DEBUG_SAVEALL)
            gc.collect()
            kinds = {type(item).__name__ for item in gc.garbage}
            assert not kinds & {"Exchange", "HttpRequestParser", "Framing"}
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()

    run(test())

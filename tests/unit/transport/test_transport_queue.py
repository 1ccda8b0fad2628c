"""How many connections wait to be accepted is known, so that a drain closes the socket only when none does."""

from __future__ import annotations

import asyncio
import socket

import pytest
import uvloop

from seaway.transport.server import HttpServer


@pytest.mark.parametrize("loop", [uvloop.new_event_loop, asyncio.new_event_loop])
def test_connections_that_wait_are_counted_until_they_are_accepted(loop: object) -> None:
    async def scenario() -> None:
        listening = socket.create_server(("127.0.0.1", 0))
        server = HttpServer(object())  # type: ignore[arg-type]
        await server.start(listening)
        assert server.queued() == 0
        clients = [
            socket.create_connection(listening.getsockname()) for _ in range(3)
        ]  # the loop stands still
        assert server.queued() == 3
        async with asyncio.timeout(60):
            while server.queued():
                await asyncio.sleep(0)
        async with asyncio.timeout(60):
            while server.connections < 3:
                await asyncio.sleep(0)
            for client in clients:
                client.close()
            while server.connections:
                await asyncio.sleep(0)
        server.stop_accepting()
        assert server.queued() == 0
        await server.drain(0.0, 5.0)
        listening.close()

    with asyncio.Runner(loop_factory=loop) as runner:  # type: ignore[arg-type]
        runner.run(scenario())

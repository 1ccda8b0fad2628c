"""Serves the control API on its sockets beside the control loop; run by the control process."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Iterator, Sequence
from typing import Final

import uvicorn
from starlette.applications import Starlette

from seaway.control.effects import Effects
from seaway.control.loop import Loop
from seaway.control.upkeep import Upkeep

_GRACE_S: Final = 1


class _Server(uvicorn.Server):
    """uvicorn with signals left to `run`."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _server(app: Starlette) -> _Server:
    return _Server(
        uvicorn.Config(
            app,
            http="httptools",
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # a header must not say who calls
            timeout_graceful_shutdown=_GRACE_S,  # event streams have no end of their own
        )
    )


async def run(
    loop: Loop, effects: Effects, upkeep: Upkeep, doors: Sequence[tuple[Starlette, socket.socket]]
) -> None:
    """Serve, reconcile and keep up until SIGTERM or SIGINT; each door is an app and its listening socket."""
    stopped = asyncio.Event()
    here = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        here.add_signal_handler(number, stopped.set)
    servers = [(_server(app), listener) for app, listener in doors]
    serving = [asyncio.create_task(server.serve(sockets=[listener])) for server, listener in servers]
    reconciling = asyncio.create_task(loop.run())
    keeping_up = asyncio.create_task(upkeep.run())
    waiting = asyncio.create_task(stopped.wait())
    try:
        await asyncio.wait([waiting, reconciling, *serving], return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
        reconciling.cancel()
        keeping_up.cancel()
        for server, _ in servers:
            server.should_exit = True
        for ended in await asyncio.gather(reconciling, *serving, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended
        await effects.close()

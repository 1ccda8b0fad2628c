"""Serves the control API on its sockets beside the control loop; run by the control process."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Final

import uvicorn
from starlette.applications import Starlette

from seaway.control.effects import Effects
from seaway.control.loop import Loop

_GRACE_S: Final = 1
Beside = Callable[[], Coroutine[None, None, None]]
"""Something that runs until it is cancelled; that it ends by itself is a fault."""


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
    loop: Loop, effects: Effects, beside: Sequence[Beside], doors: Sequence[tuple[Starlette, socket.socket]]
) -> None:
    """Serve, reconcile and run what is `beside` until SIGTERM or SIGINT; each door is an app and its listening socket.

    Raises what ended one of them.
    """
    stopped = asyncio.Event()
    here = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        here.add_signal_handler(number, stopped.set)
    servers = [(_server(app), listener) for app, listener in doors]
    serving = [asyncio.create_task(server.serve(sockets=[listener])) for server, listener in servers]
    running = [asyncio.create_task(run()) for run in (loop.run, *beside)]
    waiting = asyncio.create_task(stopped.wait())
    try:
        await asyncio.wait([waiting, *running, *serving], return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
        for task in running:
            task.cancel()
        for server, _ in servers:
            server.should_exit = True
        for ended in await asyncio.gather(*running, *serving, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended
        await effects.close()

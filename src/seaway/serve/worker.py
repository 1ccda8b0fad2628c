"""The life of one data worker: load and warm, accept, obey control, drain. Started by `seaway.wiring.worker`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec
import uvicorn

from seaway.core.errors import SeawayError
from seaway.core.ports import Clock
from seaway.core.traffic import RoutingTable
from seaway.engine.pool import Pool, Sources
from seaway.engine.router import Router
from seaway.serve import admin as admins
from seaway.serve import log
from seaway.serve.admin import Admin, SocketDoor
from seaway.serve.app import create_app
from seaway.serve.counters import Counters
from seaway.serve.plane import DataPlane
from seaway.wire import prometheus

# How long a draining worker keeps idle connections, for requests already on their way.
_IDLE_GRACE_S: Final = 0.5
# How long it goes on accepting: closing a socket resets the connections that wait in its queue.
_LAST_ACCEPTS_S: Final = 0.1
_KEEP_ALIVE_S: Final = 75
_POLL_S: Final = 0.02


class Place(msgspec.Struct, frozen=True):
    """Where a worker stands: its slot, its run directory and its listening socket."""

    run: Path
    slot: int
    listener: socket.socket
    drain_s: float


def load_table(path: Path) -> RoutingTable:
    """The table at `path`. No file means no endpoints yet; a damaged one is said and left to control, which has the
    facts that it was made of and writes it anew."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=RoutingTable)
    except FileNotFoundError:
        return RoutingTable()
    except (OSError, msgspec.DecodeError) as error:
        log.write_line(f"seaway: {path.name} is no routing table: {error}")
        return RoutingTable()


def load_all(pool: Pool, table: RoutingTable) -> None:
    """Load and warm what the table names. One that fails is reported and answers `not_ready`; others serve."""
    for route in table.routes:
        for revision in route.revisions:
            try:
                pool.load(route.endpoint, revision, route.limits)
            except SeawayError as error:
                log.write_error(f"revision {revision.number} of {route.endpoint}", error)


async def run(place: Place, sources: Sources, clock: Clock, version: str) -> None:
    """Serve until SIGTERM or SIGINT, then drain. Returns when the last request is answered or the drain is over."""
    table = load_table(place.run / "table.json")
    pool = Pool(sources, clock)
    load_all(pool, table)

    async def metrics() -> str:
        return prometheus.merge([admin.metrics(), *await admins.metrics_of_siblings(place.run, place.slot)])

    plane = DataPlane(Router(pool, table), Counters(clock), clock, metrics, version)
    admin = Admin(plane, place.slot)
    loop = asyncio.get_running_loop()
    door_descriptor = os.dup(place.listener.fileno())
    server = _Server(plane, place)
    serving = loop.create_task(server.serve(sockets=[place.listener]))
    with _signals(loop, server.stop):
        while not server.started and not serving.done():
            await asyncio.sleep(_POLL_S)
        door = SocketDoor(place.run / f"worker-{place.slot}.fd", door_descriptor, loop)
        server.on_stop = door.close
        control = await admin.start(place.run / f"worker-{place.slot}.sock")
        log.write_line(
            f"seaway: worker {place.slot} serves {len(table.routes)} endpoints, generation {table.generation}"
        )
        await serving
        control.close()


class _Server(uvicorn.Server):
    """uvicorn with signals left to the worker, and a drain that loses neither idle connections nor requests."""

    def __init__(self, plane: DataPlane, place: Place) -> None:
        super().__init__(
            uvicorn.Config(
                create_app(plane),
                http="httptools",
                ws="none",
                lifespan="off",
                interface="asgi3",
                log_config=None,
                log_level="critical",
                access_log=False,
                server_header=False,
                date_header=False,
                proxy_headers=False,
                backlog=2048,
                timeout_keep_alive=_KEEP_ALIVE_S,
                timeout_graceful_shutdown=None,
            )
        )
        self._plane = plane
        self._drain_s = place.drain_s
        self.on_stop: Callable[[], None] = lambda: None

    def stop(self) -> None:
        """Start the drain; a second call ends the process at once."""
        if self.should_exit:
            os._exit(4)
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Empty the queue, stop accepting; answer what was accepted, each answer closing its connection; then idle ones."""
        self._plane.draining = True
        await asyncio.sleep(_LAST_ACCEPTS_S)
        for server in self.servers:
            server.close()
        self.on_stop()
        loop = asyncio.get_running_loop()
        started_s = loop.time()
        while self.server_state.connections and loop.time() - started_s < min(_IDLE_GRACE_S, self._drain_s):
            await asyncio.sleep(_POLL_S)
        for connection in list(self.server_state.connections):
            connection.shutdown()
        while self.server_state.connections and loop.time() - started_s < self._drain_s:
            await asyncio.sleep(_POLL_S)


@contextlib.contextmanager
def _signals(loop: asyncio.AbstractEventLoop, stop: Callable[[], None]) -> Iterator[None]:
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)

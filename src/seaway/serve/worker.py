"""The life of one data worker: load and warm, accept, obey control, drain. Started by `seaway.wiring.worker`."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence, Set
from pathlib import Path
from typing import Final

import msgspec

from seaway.core.bundles import Digest, OpenedBundle
from seaway.core.errors import SeawayError
from seaway.core.ports import Clock, LoadedModel
from seaway.core.records import RecordRules
from seaway.core.traffic import Limits, RoutedRevision, RoutingTable, without
from seaway.engine.blackbox import BlackBox
from seaway.engine.pool import Pool, Sources
from seaway.engine.quarantine import Quarantines
from seaway.engine.router import Router
from seaway.serve import admin as admins
from seaway.serve import log, vitals
from seaway.serve.admin import Admin, SocketDoor
from seaway.serve.app import create_app
from seaway.serve.doors import DOORS
from seaway.serve.feedback import Forward
from seaway.serve.front import Front
from seaway.serve.learned import LearnedFile
from seaway.serve.mirror import Mirrors
from seaway.serve.plane import DataPlane, GrpcDoor, Recorder
from seaway.serve.vitals import Vitals
from seaway.transport.limits import TransportLimits
from seaway.transport.server import HttpServer
from seaway.transport.tls import Certificates
from seaway.wire import prometheus, worker_admin

# How long a draining worker keeps idle connections, for requests already on their way.
_IDLE_GRACE_S: Final = 0.5
# How long it goes on accepting: closing a socket resets the connections that wait in its queue.
_LAST_ACCEPTS_S: Final = 0.1
# On a busy machine its queue may not be empty by then; so long it may take at most.
_EMPTY_S: Final = 2.0
_KEEP_PATHS_S: Final = 1.0


class Place(msgspec.Struct, frozen=True):
    """Where a worker stands: its slot, its run directory, its listening socket and what else it opens.

    `grpc` is HOST:PORT of the gRPC door, whose port the supervisor keeps; `tls` the files of certificate chain and key;
    `traced` whether requests are traced, and `memory_limit_bytes` when the supervisor replaces it.
    """

    run: Path
    slot: int
    listener: socket.socket
    drain_s: float
    grpc: str | None = None
    tls: tuple[Path, Path] | None = None
    traced: bool = False
    memory_limit_bytes: int | None = None


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


def load_all(pool: Pool, routed: Sequence[tuple[str, RoutedRevision, Limits]]) -> None:
    """Load and warm them. One that fails is reported and answers `not_ready`; others serve."""
    for endpoint, revision, limits in routed:
        try:
            pool.load(endpoint, revision, limits)
        except SeawayError as error:
            log.write_error(f"revision {revision.number} of {endpoint}", error)


def _absent(apart: Sequence[tuple[str, RoutedRevision, Limits]], certain: Set[Digest]) -> frozenset[Digest]:
    """Whose share others have until they are loaded: all that have a process of their own but those that ended a worker for
    `certain`. That these are not ready is their own fault."""
    return frozenset(revision.digest for _, revision, _ in apart) - certain


async def _load_later(plane: DataPlane, apart: Sequence[tuple[str, RoutedRevision, Limits]]) -> None:
    """Load those that have a process of their own; then they have their shares. What else is absent by then stays so."""
    await asyncio.to_thread(load_all, plane.router.pool, apart)
    plane.set_absent(plane.absent - {revision.digest for _, revision, _ in apart})


async def run(
    place: Place,
    sources: Sources,
    isolate: Callable[[OpenedBundle], LoadedModel],
    shadow: Callable[[OpenedBundle], LoadedModel],
    clock: Clock,
    version: str,
    make_recorder: Callable[[Callable[[str], RecordRules]], Recorder],
    open_grpc: Callable[[DataPlane, tuple[Path, Path] | None], GrpcDoor] | None = None,
    forward: Forward | None = None,
    control_metrics: Callable[[], Awaitable[str]] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, then drain. Returns when the last request is answered or the drain is over.

    `isolate` loads a model in a process of its own, `shadow` in one of the lowest priority. `make_recorder` gets what tells the rules of an endpoint, and makes what is told of every answer; `forward` is the way
    to the control process for feedback, where there is one, and `control_metrics` what it tells Prometheus ("" where it gives no answer).
    """
    table = load_table(place.run / "table.json")
    box = BlackBox(worker_admin.box_path(place.run, place.slot))
    learned = LearnedFile(place.run, place.slot)
    pool = Pool(sources, clock, box, Quarantines().of, learned.read())
    listed, suspects = vitals.isolated_in(place.run)
    pool.isolated |= listed
    routed = [(route.endpoint, r, route.limits) for route in table.routes for r in route.revisions]
    apart = [one for one in routed if one[1].isolated or one[1].digest in pool.isolated]
    load_all(pool, [one for one in routed if one not in apart])

    async def metrics() -> str:
        own, others, control = await asyncio.gather(
            admin.metrics(), admins.metrics_of_siblings(place.run, place.slot), _metrics_of(control_metrics)
        )
        return await asyncio.to_thread(prometheus.merge, [own, *others, control])

    absent = _absent(apart, listed - suspects)
    router = Router(pool, without(table, absent))
    recorder = make_recorder(lambda endpoint: router.route(endpoint).record)
    plane = DataPlane(router, recorder, clock, metrics, version, place.traced, place.memory_limit_bytes)
    plane.absent, plane.whole = absent, table
    mirrors = plane.mirrors = Mirrors(router, recorder, shadow)
    admin = Admin(plane, place.slot, worker_admin.socket_path(place.run, place.slot))
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    server = HttpServer(Front(plane, DOORS, create_app(plane, forward)), TransportLimits())
    grpc = None if open_grpc is None else open_grpc(plane, place.tls)
    descriptor = os.dup(place.listener.fileno())
    gc.collect()
    gc.freeze()  # what start-up made lives as long as the process: no collection needs to look at it again
    with _signals(loop, stopping):
        await server.start(place.listener, None if place.tls is None else _certificates(*place.tls))
        if grpc is not None and place.grpc is not None:
            await grpc.start(place.grpc)
        door = SocketDoor(worker_admin.door_path(place.run, place.slot), descriptor, loop)
        await admin.start()
        log.write_line(
            f"seaway: worker {place.slot} serves {len(table.routes)} endpoints, generation {table.generation}"
        )
        signs = Vitals(box, pool, isolate, learned, place.run, clock, plane)
        signs.begin()
        recorder.begin()
        mirrors.rules_changed()
        # Those with a process of their own come once the others serve: nobody waits for a model that crashes.
        later = loop.create_task(_load_later(plane, apart))
        keeping = loop.create_task(_keep_paths(admin, door))
        await stopping.wait()
        keeping.cancel()
        plane.draining = server.draining = True
        signs.rest()
        mirrors.close()
        await asyncio.gather(
            _drain(server, door.close, place.drain_s),
            *([] if grpc is None else [grpc.drain(place.drain_s)]),
        )
        later.cancel()
        admin.close()
        recorder.close()


async def _metrics_of(control: Callable[[], Awaitable[str]] | None) -> str:
    return "" if control is None else await control()


async def _keep_paths(admin: Admin, door: SocketDoor) -> None:
    """Until cancelled."""
    while True:
        await asyncio.sleep(_KEEP_PATHS_S)
        try:
            await admin.renew()
            await door.renew()
        except OSError as error:  # no room for a socket's file, say: that may pass
            log.write_line(f"seaway: a socket in the run directory cannot be opened: {error.strerror}")


async def _drain(server: HttpServer, let_go: Callable[[], None], most_s: float) -> None:
    """Empty the queue, stop accepting; answer what was accepted, each answer closing its connection; then idle ones."""
    await asyncio.sleep(_LAST_ACCEPTS_S)
    until_s = asyncio.get_running_loop().time() + _EMPTY_S
    while server.queued() and asyncio.get_running_loop().time() < until_s:
        await asyncio.sleep(0)
    server.stop_accepting()
    let_go()
    await server.drain(min(_IDLE_GRACE_S, most_s), most_s)


def _certificates(chain: Path, key: Path) -> Certificates:
    return Certificates(chain, key, lambda error: log.write_error("the old certificate stays", error))


@contextlib.contextmanager
def _signals(loop: asyncio.AbstractEventLoop, stopping: asyncio.Event) -> Iterator[None]:
    """The first signal drains; the second ends the process at once."""

    def stop() -> None:
        if stopping.is_set():
            os._exit(4)
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)

"""A worker's admin door: control's requests over a Unix socket, and the listening socket for whoever adopts it."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path
from typing import Final

import msgspec

from seaway import line_exchange
from seaway.core.errors import PermanentError, SeawayError
from seaway.core.ledger import Page
from seaway.engine import memory
from seaway.engine.pool import Handle
from seaway.serve import log, worker_metrics
from seaway.serve.mirror import Mirrors
from seaway.serve.own_path import OwnPath
from seaway.serve.plane import DataPlane, Recorder
from seaway.wire import worker_admin
from seaway.wire.worker_admin import (
    Commit,
    Execution,
    Failure,
    LoadedRevision,
    Metrics,
    Observe,
    Observed,
    Prepare,
    Reply,
    Retire,
    Seconds,
)

_MAX_LINE_BYTES: Final = 16 * 1024 * 1024
_SIBLING_S: Final = 1.0
_REQUEST: Final = msgspec.json.Decoder(worker_admin.Request)
_REPLY: Final = msgspec.json.Decoder(Reply)


class Admin:
    """Answers one JSON line with one JSON line. Loading runs on a thread, so that predictions go on."""

    def __init__(self, plane: DataPlane, slot: int, path: Path) -> None:
        self._plane = plane
        self._slot = slot
        self._path = OwnPath(path)
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen at the path."""
        self._server = await asyncio.start_unix_server(
            self._connected, sock=self._path.listen(), limit=_MAX_LINE_BYTES
        )

    async def renew(self) -> None:
        """Listen again where the path was lost. Raises `OSError`."""
        if self._server is not None and await asyncio.to_thread(self._path.lost):
            self.close()
            await self.start()

    def close(self) -> None:
        """Listen no more; what is being answered is answered. Idempotent."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def metrics(self) -> str:
        """This worker's own metrics."""
        recorder, router = self._plane.recorder, self._plane.router
        await recorder.settled()
        recorder.drop_retired(worker_metrics.alive(router))
        recorded = await asyncio.to_thread(worker_metrics.render_recorded, self._plane, self._slot)
        return recorded + worker_metrics.render(self._plane, self._slot, memory.resident_bytes())

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                reply = await self._reply(line)
                writer.write(msgspec.json.encode(reply) + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError):
            pass  # the peer went away, or sent a line longer than any table
        finally:
            writer.close()

    async def _reply(self, line: bytes) -> Reply:
        try:
            return await self._carry_out(_REQUEST.decode(line))
        except SeawayError as error:
            if error.code == "internal":
                log.write_error("control's request failed", error)
            return Reply(failure=Failure(error.code, error.message, error.hint))
        except msgspec.DecodeError as error:
            return Reply(failure=Failure("invalid_request", f"not a request of this protocol: {error}"))
        except Exception as error:  # noqa: BLE001 - the process edge: control must hear of any fault
            fault = PermanentError("internal", f"{type(error).__name__}: {error}")
            fault.__cause__ = error
            log.write_error("control's request failed", fault)
            return Reply(failure=Failure(fault.code, fault.message))

    async def _carry_out(self, request: worker_admin.Request) -> Reply:
        router = self._plane.router
        match request:
            case Observe():
                return Reply(observed=self._observed())
            case Prepare(endpoint=endpoint, revision=revision, limits=limits):
                await asyncio.to_thread(router.pool.load, endpoint, revision, limits)
            case Commit(table=table):
                self._plane.commit(table)
            case Retire(endpoint=endpoint, number=number):
                self._plane.retire(endpoint, number)
                self._plane.recorder.drop_retired(worker_metrics.alive(router))
            case Metrics():
                return Reply(metrics=await self.metrics())
            case Seconds(after_s=after_s, endpoint=endpoint):
                return Reply(pages=await asyncio.to_thread(_pages, self._plane.recorder, after_s, endpoint))
        return Reply(observed=self._observed())

    def _observed(self) -> Observed:
        router = self._plane.router
        return Observed(
            slot=self._slot,
            pid=os.getpid(),
            generation=router.table.generation,
            ready=router.ready and not self._plane.draining,
            draining=self._plane.draining,
            loaded=tuple(_loaded(handle, self._plane.mirrors) for handle in router.pool.handles()),
            rss_bytes=memory.resident_bytes(),
            recorder_rate=self._plane.recorder.rate,
            recorder_faults=self._plane.recorder.faults,
        )


def _loaded(handle: Handle, mirrors: Mirrors | None) -> LoadedRevision:
    failure = handle.failure
    return LoadedRevision(
        endpoint=handle.endpoint,
        number=handle.revision.number,
        digest=handle.revision.digest,
        ready=handle.ready,
        in_flight=handle.in_flight,
        verify_s=handle.open_s,
        load_s=handle.load_s,
        warm_s=handle.warm_s,
        memory_bytes=handle.memory_bytes,
        isolated=handle.filled and handle.isolated,
        faults=handle.faults if handle.filled else 0,
        unmirrored=mirrors is not None and mirrors.waits(handle),
        execution=_execution(handle) if handle.ready else None,
        error_code=None if failure is None else failure.code,
        error=None if failure is None else failure.message,
    )


def _execution(handle: Handle) -> Execution:
    facts = handle.predictor.facts()
    return Execution(
        lane=facts.lane,
        requests=sum(facts.queue_counts),
        batches=sum(facts.batches),
        rows=facts.rows,
        queue_s=facts.queue_sum_s,
        run_s=facts.run_sum_s,
        refused=facts.refused,
        late=facts.dropped_late,
        a_s=facts.a_s,
        b_s=facts.b_s,
    )


def _pages(recorder: Recorder, after_s: int, endpoint: str | None) -> tuple[Page, ...]:
    return tuple(msgspec.json.decode(one, type=Page) for one in recorder.pages(after_s, endpoint))


async def ask(path: Path, request: worker_admin.Request, timeout_s: float) -> Reply:
    """One request to the worker at `path`; raises `OSError` (also `TimeoutError`) where it does not answer."""
    return _REPLY.decode(await line_exchange.ask(path, msgspec.json.encode(request), timeout_s))


async def metrics_of_siblings(run: Path, slot: int) -> list[str]:
    """The metrics of all other workers of this server; those that do not answer in time are left out."""
    others = [path for path in worker_admin.socket_paths(run) if path != worker_admin.socket_path(run, slot)]
    replies = await asyncio.gather(
        *(ask(path, Metrics(), _SIBLING_S) for path in others), return_exceptions=True
    )
    return [reply.metrics for reply in replies if isinstance(reply, Reply) and reply.metrics is not None]


class SocketDoor:
    """Gives the listening HTTP socket to whoever connects to a Unix socket of mode 0600 (SCM_RIGHTS)."""

    def __init__(self, path: Path, descriptor: int, loop: asyncio.AbstractEventLoop) -> None:
        """`descriptor` is owned by the door from now on."""
        self._descriptor = descriptor
        self._path = OwnPath(path)
        self._listener: socket.socket | None = None
        self._loop = loop
        self._open()

    def _open(self) -> None:
        self._listener = self._path.listen()
        self._loop.add_reader(self._listener.fileno(), self._hand_over)

    def _shut(self) -> None:
        if self._listener is not None:
            self._loop.remove_reader(self._listener.fileno())
            self._listener.close()
            self._listener = None

    async def renew(self) -> None:
        """Listen again where the path was lost. Raises `OSError`."""
        if self._listener is not None and await asyncio.to_thread(self._path.lost):
            self._shut()
            self._open()

    def _hand_over(self) -> None:
        if self._listener is None:
            return
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return  # the peer gave up before it was accepted
        with connection:
            try:
                socket.send_fds(connection, [b"1"], [self._descriptor])
            except OSError:
                pass  # the peer gave up

    def close(self) -> None:
        """Hand over no more, and let go of the socket."""
        self._shut()
        os.close(self._descriptor)

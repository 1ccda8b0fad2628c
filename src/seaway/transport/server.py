"""Listening, the set of connections, the sweep and the drain; made once per process by `seaway.serve`."""

from __future__ import annotations

import asyncio
import socket
import sys
from email.utils import formatdate
from typing import Final

from seaway.transport.connection import HttpConnection
from seaway.transport.known import KnownHeads
from seaway.transport.limits import TransportLimits
from seaway.transport.ports import Application
from seaway.transport.tls import Certificates

_UNACKED_AT: Final = 24
"""Where `struct tcp_info` has tcpi_unacked, 4 bytes (linux/tcp.h)."""
_TCP_INFO_BYTES: Final = _UNACKED_AT + 4


class HttpServer:
    """Serves an application on any number of sockets, on the loop it is made on.

    `streams` is how many streamed answers are open. While `draining` is true, answers end their connections.
    """

    def __init__(self, application: Application, limits: TransportLimits | None = None) -> None:
        """Must be called while the event loop runs. Omitted limits are the defaults."""
        self.application = application
        self.limits = limits if limits is not None else TransportLimits()
        self.loop = asyncio.get_running_loop()
        self.draining = False
        self.streams = 0
        self.date_line = b""
        self.known_heads = KnownHeads()
        self._set_date()
        self._connections: set[HttpConnection] = set()
        self._listeners: list[asyncio.Server] = []
        self._sockets: list[socket.socket] = []
        self._certificates: list[Certificates] = []
        self._timer: asyncio.TimerHandle | None = None
        self._empty: asyncio.Future[None] | None = None

    @property
    def connections(self) -> int:
        """How many connections are open, those on their way to be closed included."""
        return len(self._connections)

    async def start(self, listening_socket: socket.socket, ssl: Certificates | None = None) -> None:
        """Accept on a socket that is bound and listens already; the server closes it in `stop_accepting`.

        With `ssl`, all its connections speak TLS. May be called for several sockets.
        """
        listener = await self.loop.create_server(
            self._connection,
            sock=listening_socket,
            ssl=None if ssl is None else ssl.context,
            ssl_handshake_timeout=None if ssl is None else self.limits.head_s,
            backlog=2048,
        )
        self._listeners.append(listener)
        self._sockets.append(listening_socket)
        if ssl is not None:
            self._certificates.append(ssl)
        if self._timer is None:
            self._timer = self.loop.call_later(self.limits.sweep_s, self._tick)

    def sweep(self, now_s: float) -> None:
        """End what is over its time at `now_s` of the loop's clock, and take in changed certificates. The server
        calls it every `sweep_s`."""
        self._set_date()
        for certificates in self._certificates:
            certificates.refresh()
        for connection in tuple(self._connections):
            connection.sweep(now_s)

    def queued(self) -> int:
        """Connections that are made, and not accepted yet. Linux: of a listening socket, TCP_INFO tells its queue."""
        found = 0
        for one in self._sockets:
            if one.fileno() >= 0 and one.family in (socket.AF_INET, socket.AF_INET6):
                told = one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
                found += int.from_bytes(told[_UNACKED_AT:_TCP_INFO_BYTES], sys.byteorder)
        return found

    def stop_accepting(self) -> None:
        """Close the listening sockets; open connections go on. Idempotent."""
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        self._sockets.clear()

    async def drain(self, idle_grace_s: float, most_s: float) -> None:
        """End all connections: idle ones after the grace (requests may be on their way), others after their last
        answer, streams included, and what is left after `most_s` is broken. Then the server is at its end."""
        self.draining = True
        end_s = self.loop.time() + most_s
        await self._wait_until_empty(min(idle_grace_s, most_s))
        for connection in tuple(self._connections):
            connection.close_if_idle()
        await self._wait_until_empty(end_s - self.loop.time())
        for connection in tuple(self._connections):
            connection.abort()
        await self._wait_until_empty(1.0)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def add(self, connection: HttpConnection) -> bool:
        """Called by a new connection. False where it is one too many."""
        self._connections.add(connection)
        return len(self._connections) <= self.limits.connections

    def remove(self, connection: HttpConnection) -> None:
        """Called by a connection that is lost."""
        self._connections.discard(connection)
        if not self._connections and self._empty is not None and not self._empty.done():
            self._empty.set_result(None)

    def report(self, message: str, error: Exception) -> None:
        """Say what failed with nobody left to answer, by the loop's exception handler."""
        self.loop.call_exception_handler({"message": message, "exception": error})

    def _connection(self) -> HttpConnection:
        return HttpConnection(self)

    def _tick(self) -> None:
        self._timer = self.loop.call_later(self.limits.sweep_s, self._tick)
        self.sweep(self.loop.time())

    def _set_date(self) -> None:
        self.date_line = f"date: {formatdate(usegmt=True)}\r\n".encode()

    async def _wait_until_empty(self, most_s: float) -> None:
        if not self._connections or most_s <= 0:
            return
        self._empty = self.loop.create_future()
        try:
            await asyncio.wait_for(self._empty, most_s)
        except TimeoutError:
            pass
        finally:
            self._empty = None

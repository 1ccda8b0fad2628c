"""The way out of one connection: answers in the order of their requests, back-pressure, and how it closes.

`inlet.Inlet` adds the way in, and `connection.HttpConnection` the parser.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, cast

from seaway.transport.heads import BODYLESS, CONTINUE, STATUS_LINES, status_line

if TYPE_CHECKING:
    from seaway.transport.exchange import Exchange, Stream
    from seaway.transport.server import HttpServer


class Outlet(asyncio.Protocol):
    """What is written on a connection, and when it ends."""

    __slots__ = (
        "_advancing",
        "_answered_s",
        "_drained_bytes",
        "_drained_s",
        "_ended",
        "_eof",
        "_joined",
        "_limits",
        "_lingering_s",
        "_loop",
        "_out",
        "_paused",
        "_server",
        "_transport",
        "_waiting",
        "_written_bytes",
        "peer",
        "queue",
        "secure",
        "writable",
    )

    def __init__(self, server: HttpServer) -> None:
        self._server = server
        self._limits = server.limits
        self._loop = server.loop
        self._transport = cast(asyncio.Transport, None)
        self.queue: deque[Exchange] = deque()
        """Exchanges whose answer is not complete, in the order of their requests."""
        self._waiting: deque[Exchange] = deque()
        """Whole requests beyond the pipeline's depth, which the application has not been given yet."""
        self.peer = ""
        self.secure = False
        self.writable = True
        self._out: list[bytes] = []
        self._joined = False
        self._advancing = False
        self._paused = False
        self._ended = False
        self._eof = False
        self._lingering_s: float | None = None
        self._answered_s = server.loop.time()
        self._written_bytes = 0
        self._drained_bytes = -1
        self._drained_s = 0.0

    # answers

    def send(self, exchange: Exchange, status: int, head: bytes, body: bytes) -> None:
        """Write a whole answer whose turn it is."""
        server = self._server
        closes = exchange.closes() or (server.draining and len(self.queue) == 1)
        if exchange.method == "HEAD" or status in BODYLESS:
            length = b"" if status in BODYLESS else b"content-length: %d\r\n" % len(body)
            body = b""
        else:
            length = b"content-length: %d\r\n" % len(body)
        if closes:
            length += b"connection: close\r\n"
        elif not exchange.http_11:
            length += b"connection: keep-alive\r\n"
        self.write(
            b"%b%b%b%b\r\n%b"
            % (STATUS_LINES.get(status) or status_line(status), head, server.date_line, length, body)
        )
        self._complete(exchange, closes)

    def open(self, stream: Stream, status: int, head: bytes) -> None:
        """Begin an answer that is written piece by piece."""
        exchange = stream.exchange
        if stream.delimited_by_close:
            exchange.close_after = True
        lines = b"transfer-encoding: chunked\r\n" if stream.chunked else b""
        exchange.ends_at_eof = True
        if exchange.closes() or (self._server.draining and len(self.queue) == 1):
            exchange.close_after = True
            lines += b"connection: close\r\n"
        elif not exchange.http_11:
            lines += b"connection: keep-alive\r\n"
        self._server.streams += 1
        first = self.queue[0] is exchange
        stream.begin(b"%b%b%b%b\r\n" % (status_line(status), head, self._server.date_line, lines), first)
        if self._eof:
            self.abort()

    def finish_stream(self, stream: Stream) -> None:
        """All pieces of the stream whose turn it is are written."""
        self._server.streams -= 1
        exchange = stream.exchange
        self._complete(exchange, exchange.closes() or (self._server.draining and len(self.queue) == 1))

    def write(self, data: bytes) -> None:
        """Write now, or, while a segment is being read, together with the other answers to it."""
        if self._joined:
            self._out.append(data)
        else:
            self._written_bytes += len(data)
            self._transport.write(data)

    def flush(self) -> None:
        """Write what was collected while a segment was read."""
        out = self._out
        data = out[0] if len(out) == 1 else b"".join(out)
        out.clear()
        self._written_bytes += len(data)
        self._transport.write(data)

    def abort(self) -> None:
        """Break the connection: what was not sent yet is lost."""
        self._ended = True
        self._out.clear()
        self._transport.abort()

    def request_exchange(self, exchange: Exchange) -> None:
        """Give a whole request to the application."""
        raise NotImplementedError

    def _complete(self, exchange: Exchange, closes: bool) -> None:
        queue = self.queue
        queue.popleft()
        self._answered_s = self._loop.time()
        self._server.application.finished(exchange)
        exchange.state = exchange.on_gone = None
        if closes:
            self._end(exchange)
        elif queue or self._paused:
            self._advance()
        elif self._eof:
            self.close()

    def _advance(self) -> None:
        """Send held answers whose turn has come, and hand on requests that waited for room in the pipeline."""
        if self._advancing:
            return
        self._advancing = True
        try:
            while self.queue and not self._transport.is_closing() and self._lingering_s is None:
                first = self.queue[0]
                if first.wants_continue:
                    first.wants_continue = False
                    self.write(CONTINUE)
                if first.send_held() or not self.queue or self.queue[0] is not first:
                    continue
                waiting = self._waiting
                if not waiting or len(self.queue) - len(waiting) >= self._limits.pipeline_depth:
                    break
                self.request_exchange(waiting.popleft())
        finally:
            self._advancing = False
        self.regulate()
        if self._eof and not self.queue:
            self.close()

    # the end of the connection

    def close(self) -> None:
        """Send what is written, then close."""
        self._ended = True
        if self._out:
            self.flush()
        self._transport.close()

    def _end(self, exchange: Exchange) -> None:
        """Close after this answer; where the request was not read whole, stay to read and drop the rest, since
        closing over unread bytes sends a reset, which can destroy the answer on its way."""
        self._ended = True
        if self._eof or self._transport.is_closing() or (exchange.whole and not self.queue):
            self.close()
            return
        if self._out:
            self.flush()
        self.abandon()
        self._lingering_s = self._loop.time()
        if not self.secure and self._transport.can_write_eof():
            self._transport.write_eof()
        self.regulate()

    def abandon(self) -> None:
        """Tell all open exchanges that they cannot be answered any more."""
        self._waiting.clear()
        while self.queue:
            exchange = self.queue.popleft()
            if exchange.streaming:
                self._server.streams -= 1
            try:
                exchange.leave()
                self._server.application.finished(exchange)
            except Exception as error:  # noqa: BLE001 - the edge to the application: the others must hear of it too
                self._server.report("the application failed on a client that left", error)
            exchange.state = exchange.on_gone = None

    # back-pressure

    def pause_writing(self) -> None:
        """More than the high water waits to be sent."""
        self.writable = False
        self.regulate()

    def resume_writing(self) -> None:
        """The client reads again."""
        self.writable = True
        self.regulate()
        if self.queue:
            self.queue[0].notify()

    def regulate(self) -> None:
        """Read only while the client reads its answers and the pipeline has room."""
        pause = self._lingering_s is None and (
            not self.writable or len(self.queue) >= self._limits.pipeline_depth
        )
        if pause == self._paused or self._transport.is_closing():
            return
        self._paused = pause
        if self._eof:
            return
        if pause:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()
            self.reading_resumed()

    def reading_resumed(self) -> None:
        """Reading goes on after a pause that was not the client's fault."""
        raise NotImplementedError

    def is_stalled(self, now_s: float) -> bool:
        """Whether the client has taken too little of what waits for it, for too long. Called by each sweep."""
        left = self._transport.get_write_buffer_size()
        if not left:
            self._drained_bytes = -1
            return False
        drained = self._written_bytes - left
        limits = self._limits
        enough = limits.slowest_bytes_per_s * limits.write_stall_s
        if self._drained_bytes < 0 or drained - self._drained_bytes >= enough:
            self._drained_bytes = drained
            self._drained_s = now_s
        return now_s - self._drained_s > limits.write_stall_s

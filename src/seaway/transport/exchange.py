"""One request and its answer, as the application sees them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from seaway.transport.heads import BODYLESS

if TYPE_CHECKING:
    from seaway.transport.outlet import Outlet


class Exchange:
    """A request, and the one answer to it. Used on the event loop's thread only.

    `method` is "" where not even a head was understood; `path` is the target before `?`, not decoded; header names
    are lower-case; `received_s` is the loop's time of the first bytes. `state` belongs to the application, as does
    `close_after` (answer with `connection: close`). `on_gone` is called once if the client leaves before the answer
    is complete: from then on `gone` is true and answers are dropped. A client that only stops sending still gets its
    answer, unless `ends_at_eof`: true from `open_stream` on, and settable before by the application.
    `memo` is the application's too: what it found out of the head alone, and gets back with every equal head.
    After `Application.finished`, `state` and `on_gone` are emptied, so that nothing waits for the garbage collector.
    """

    __slots__ = (
        "_answer",
        "_outlet",
        "_stream",
        "answered",
        "body",
        "close_after",
        "ends_at_eof",
        "ends_keep_alive",
        "gone",
        "headers",
        "http_11",
        "memo",
        "method",
        "on_gone",
        "path",
        "peer",
        "query",
        "received_s",
        "state",
        "target",
        "wants_continue",
        "whole",
    )

    def __init__(
        self,
        outlet: Outlet,
        method: str,
        target: bytes,
        headers: list[tuple[bytes, bytes]],
        received_s: float,
    ) -> None:
        self._outlet = outlet
        self._answer: tuple[int, bytes, bytes] | None = None
        self._stream: Stream | None = None
        self.ends_keep_alive = False
        self.ends_at_eof = False
        self.method = method
        self.target = target
        self.path = target
        self.query = b""
        self.headers = headers
        self.body = b""
        self.received_s = received_s
        self.peer = outlet.peer
        self.http_11 = True
        self.state: object = None
        self.memo: object = None
        self.close_after = False
        self.answered = False
        self.gone = False
        self.on_gone: Callable[[], None] | None = None
        self.wants_continue = False
        self.whole = False

    @property
    def secure(self) -> bool:
        """Whether the request came over TLS."""
        return self._outlet.secure

    def respond(self, status: int, head: bytes, body: bytes) -> None:
        """Answer whole. `head` holds the application's header lines, each ending in CRLF; status line, `date`,
        `content-length` and `connection` are added. Raises `RuntimeError` on a second answer."""
        if self.answered:
            raise RuntimeError("this exchange is already answered")
        self.answered = True
        if self.gone:
            return
        outlet = self._outlet
        if outlet.queue[0] is self:
            outlet.send(self, status, head, body)
        else:
            self._answer = (status, head, body)

    def open_stream(self, status: int, head: bytes) -> Stream:
        """Answer piece by piece. Raises `RuntimeError` on a second answer."""
        if self.answered:
            raise RuntimeError("this exchange is already answered")
        self.answered = True
        self._stream = stream = Stream(self, self._outlet, status)
        if not self.gone:
            self._outlet.open(stream, status, head)
        return stream

    def send_held(self) -> bool:
        """Called by the connection when the turn has come: send what waits. False where there is no answer yet."""
        if self._answer is not None:
            status, head, body = self._answer
            self._answer = None
            self._outlet.send(self, status, head, body)
            return True
        if self._stream is not None:
            return self._stream.take_turn()
        return False

    def closes(self) -> bool:
        """Whether the connection ends with this answer, as far as the exchange knows."""
        return self.close_after or self.ends_keep_alive or not self.whole

    @property
    def streaming(self) -> bool:
        return self._stream is not None

    def notify(self) -> None:
        """Called by the connection, which can be written to again."""
        if self._stream is not None:
            self._stream.notify()

    def leave(self) -> None:
        """Called by the connection: the client has left."""
        self.gone = True
        if self._stream is not None:
            self._stream.leave()
        if self.on_gone is not None:
            self.on_gone()


class Stream:
    """An answer that is written piece by piece: chunked, or until the connection closes for HTTP/1.0.

    Answers from callbacks look at `writable` before each piece and set `on_writable`, which is called whenever
    `writable` becomes true again; others await `drained()`. What is written while not writable is kept in memory.
    """

    __slots__ = (
        "_chunked",
        "_ended",
        "_exchange",
        "_held",
        "_outlet",
        "_silent",
        "_turn",
        "_waiters",
        "on_writable",
    )

    def __init__(self, exchange: Exchange, outlet: Outlet, status: int) -> None:
        self._exchange = exchange
        self._outlet = outlet
        self._silent = exchange.method == "HEAD" or status in BODYLESS
        self._chunked = exchange.http_11
        self._turn = False
        self._ended = False
        self._held: list[bytes] = []
        self._waiters: list[asyncio.Future[None]] = []
        self.on_writable: Callable[[], None] | None = None

    @property
    def exchange(self) -> Exchange:
        return self._exchange

    @property
    def chunked(self) -> bool:
        """Whether pieces are chunks; otherwise the end of the connection ends the answer."""
        return self._chunked and not self._silent

    @property
    def delimited_by_close(self) -> bool:
        return not self._chunked and not self._silent

    @property
    def writable(self) -> bool:
        """Whether a piece written now goes out at once: it is this answer's turn, and the client reads."""
        return self._turn and self._outlet.writable and not self._exchange.gone

    def begin(self, head: bytes, turn: bool) -> None:
        """Called by the connection with the assembled head."""
        self._turn = turn
        self._put(head)

    def write(self, piece: bytes) -> None:
        """Send one piece; an empty one is nothing. Dropped once the client is gone. Raises `RuntimeError` after
        `end`."""
        if self._ended:
            raise RuntimeError("this stream has ended")
        if piece and not self._silent and not self._exchange.gone:
            self._put(b"%x\r\n%b\r\n" % (len(piece), piece) if self._chunked else piece)

    async def drained(self) -> None:
        """Wait while the client does not read, or it is not yet this answer's turn. Returns at once when gone."""
        while not self.writable and not self._exchange.gone and not self._ended:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter

    def end(self) -> None:
        """The answer is whole. Idempotent."""
        if self._ended:
            return
        self._ended = True
        if self._exchange.gone:
            return
        if self.chunked:
            self._put(b"0\r\n\r\n")
        if self._turn:
            self._outlet.finish_stream(self)
        self._wake()

    def abort(self) -> None:
        """Break the connection, so that the client sees that the answer is not whole. Idempotent."""
        if not self._ended:
            self._ended = True
            if not self._exchange.gone:
                self._outlet.abort()

    def take_turn(self) -> bool:
        """Called by the connection: all answers before this one are sent. True where the stream has ended already."""
        if self._turn:
            return False
        self._turn = True
        self._outlet.write(b"".join(self._held))
        self._held.clear()
        if self._ended:
            self._outlet.finish_stream(self)
            return True
        self.notify()
        return False

    def notify(self) -> None:
        """Called by the connection: the client reads again, or the turn has come."""
        if self.writable:
            self._wake()
            if self.on_writable is not None:
                self.on_writable()

    def leave(self) -> None:
        """Called by the connection: the client has left."""
        self._held.clear()
        self._wake()

    def _put(self, data: bytes) -> None:
        if self._turn:
            self._outlet.write(data)
        else:
            self._held.append(data)

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

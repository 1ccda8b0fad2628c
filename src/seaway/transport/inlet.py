"""The way in of one connection: what is being received, what is refused, and the limits of size and time.

`connection.HttpConnection` adds the parser.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from seaway.core.errors import SeawayError, TemporaryError, UserError
from seaway.transport import heads
from seaway.transport.exchange import Exchange
from seaway.transport.outlet import Outlet

if TYPE_CHECKING:
    from seaway.transport.server import HttpServer

# What chunk sizes, extensions and trailers may add to a chunked body: a constant, and so much per byte of data.
_CHUNKS_BYTES: Final = 64 * 1024
_CHUNKS_PER_BYTE: Final = 8


class Inlet(Outlet):
    """The state of the request that is being received, and the ways in which it is refused."""

    __slots__ = (
        "_begun_s",
        "_body",
        "_body_before_bytes",
        "_body_bytes",
        "_body_limit",
        "_body_moved_s",
        "_body_parts",
        "_body_raw_bytes",
        "_body_since_s",
        "_chunked",
        "_dropped_bytes",
        "_head_bytes",
        "_headers",
        "_in_head",
        "_now_s",
        "_receiving",
        "_segment_bytes",
    )

    def __init__(self, server: HttpServer) -> None:
        super().__init__(server)
        self._now_s = self._begun_s = self._answered_s
        self._segment_bytes = 0
        self._in_head = False
        self._head_bytes = 0
        self._headers: list[tuple[bytes, bytes]] = []
        self._receiving: Exchange | None = None
        """The exchange whose head is whole and whose body is not."""
        self._chunked = False
        self._body = b""
        self._body_parts: list[bytes] | None = None
        self._body_bytes = 0
        self._body_raw_bytes = 0
        self._body_limit = 0
        # the rate of a body is measured since it began, or since reading went on after a pause
        self._body_since_s = 0.0
        self._body_before_bytes = 0
        self._body_moved_s = 0.0
        self._dropped_bytes = 0

    def request_exchange(self, exchange: Exchange) -> None:
        """Give a whole request to the application, and what it raises to its `refuse` or `fault`."""
        if exchange.answered:  # before its body was whole
            return
        try:
            self._server.application.request(exchange)
        except Exception as error:  # noqa: BLE001 - the edge to the application
            self._answer_error(exchange, error)

    # refusals

    def refuse(self, error: SeawayError) -> None:
        """Refuse what is being received, and read nothing more. Does nothing where its answer was given already."""
        exchange = self._receiving
        if exchange is None:
            exchange = Exchange(self, "", b"", [], self._begun_s)
        self.refuse_exchange(exchange, error)

    def refuse_exchange(self, exchange: Exchange, error: Exception) -> None:
        """Answer this exchange with the error, and read nothing more."""
        self.stop_reading(exchange)
        self._answer_error(exchange, error)

    def refuse_head(self) -> None:
        """The head is over its limit."""
        limit = self._limits.head_bytes
        self.refuse(
            UserError(
                "head_too_large",
                f"the request's head is over the limit of {limit} bytes",
                "send fewer headers",
            )
        )

    def stop_reading(self, exchange: Exchange) -> None:
        """This exchange is the last of its connection, and is not read whole."""
        if self._receiving is not exchange and not exchange.answered:
            self.queue.append(exchange)
        self._receiving = None
        self._in_head = False
        self._ended = True
        self._body = b""
        self._body_parts = None
        exchange.wants_continue = False
        exchange.close_after = True

    def _answer_error(self, exchange: Exchange, error: Exception) -> None:
        if exchange.answered:
            if not isinstance(error, SeawayError):
                self._server.report("the application failed after its answer", error)
            return
        application = self._server.application
        try:
            if isinstance(error, SeawayError):
                application.refuse(exchange, error)
            else:
                application.fault(exchange, error)
        except Exception as failure:  # noqa: BLE001 - the edge to the application: nobody is left to answer
            self._server.report("the application failed to answer an error", failure)
            self.abort()

    def check_chunks(self, size: int) -> None:
        """Refuse a chunked body whose framing outweighs its data; `size` more bytes came."""
        self._body_raw_bytes += size
        if self._body_raw_bytes > _CHUNKS_BYTES + (1 + _CHUNKS_PER_BYTE) * self._body_bytes:
            self.refuse(heads.invalid("its chunks carry more framing than data"))

    def drop(self, size: int) -> None:
        """Bytes came after the last request that is read."""
        self._dropped_bytes += size
        if self._dropped_bytes > self._limits.linger_bytes:
            self.abort()

    def expect(self, exchange: Exchange, framing: heads.Framing) -> None:
        """Meet the Expect field of a head that the application accepted. Raises `UserError`."""
        if framing.expects is None or framing.expects.lower() != b"100-continue":
            raise UserError(
                "expectation_failed", "only 100-continue can be expected", "leave the Expect header out"
            )
        if framing.chunked or framing.content_length:
            if self.queue[0] is exchange:
                self.write(heads.CONTINUE)
            else:
                exchange.wants_continue = True

    # time

    def reading_resumed(self) -> None:
        """Start the times of what is being received anew."""
        self._begun_s = self._body_since_s = self._body_moved_s = self._loop.time()
        self._body_before_bytes = self._body_bytes

    def sweep(self, now_s: float) -> None:
        """End what is too slow. Called by the server about twice a second."""
        limits = self._limits
        if self.is_stalled(now_s):
            self.abort()
        elif self._lingering_s is not None:
            if now_s - self._lingering_s > limits.linger_s:
                self._transport.close()
        elif self._paused or self._ended or self._eof:
            return
        elif self._in_head:
            if now_s - self._begun_s > limits.head_s:
                self._refuse_slow(f"the request's head did not come within {limits.head_s:g} s")
        elif self._receiving is not None:
            self._sweep_body(now_s)
        elif not self.queue and now_s - self._answered_s > limits.keep_alive_s:
            self.close()

    def close_if_idle(self) -> None:
        """Close unless a request is being received or answered. Called by a drain."""
        if not self.queue and not self._in_head and self._lingering_s is None:
            self.close()

    def _sweep_body(self, now_s: float) -> None:
        limits = self._limits
        if now_s - self._body_moved_s > limits.body_idle_s:
            self._refuse_slow(f"nothing of the request's body came for {limits.body_idle_s:g} s")
            return
        taken_s = now_s - self._body_since_s
        came = self._body_bytes - self._body_before_bytes
        if taken_s > limits.body_idle_s and came < taken_s * limits.slowest_bytes_per_s:
            self._refuse_slow(f"the request's body came slower than {limits.slowest_bytes_per_s:g} bytes/s")

    def _refuse_slow(self, message: str) -> None:
        self.refuse(TemporaryError("request_timeout", message, "send it faster, or in smaller parts"))


def body_too_large(limit: int) -> UserError:
    """The error for a body over this limit."""
    return UserError(
        "body_too_large", f"the request's body is over the limit of {limit:,} bytes", "send less at once"
    )

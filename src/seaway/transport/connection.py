"""One connection: its segments become requests by llhttp (httptools); `inlet` and `outlet` hold what else it does."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Final, cast

import httptools

from seaway.core.errors import TemporaryError, UserError
from seaway.transport import heads
from seaway.transport.exchange import Exchange
from seaway.transport.inlet import Inlet, body_too_large

if TYPE_CHECKING:
    from seaway.transport.server import HttpServer

_name = heads.NAMES.get
_HEAD_END: Final = b"\r\n\r\n"
_LARGE_BYTES: Final = 64 * 1024


class _Refused(Exception):
    """Raised in a parser's callback to end the parsing of a request that was refused."""


class HttpConnection(Inlet):
    """One client's connection; made by the server for each that it accepts."""

    __slots__ = ("_fresh", "_known", "_left_bytes", "_parser", "_target", "_upgrading")

    def __init__(self, server: HttpServer) -> None:
        super().__init__(server)
        self._parser = httptools.HttpRequestParser(self)
        self._target = b""
        self._upgrading = False
        self._known = server.known_heads
        self._fresh: bytes | None = None
        """The segment that is being parsed, where it begins with a head that may be worth knowing."""
        self._left_bytes = 0
        """What is still to come of a large body behind a known head, which the parser does not see."""

    # the connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The loop has accepted the client (and, with TLS, shaken hands)."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are not subclasses of it
        self._transport.set_write_buffer_limits(high=self._limits.write_high_water_bytes)
        peer = transport.get_extra_info("peername")
        self.peer = str(peer[0]) if isinstance(peer, tuple) else ""
        self.secure = transport.get_extra_info("ssl_object") is not None
        if not self._server.add(self):
            self.refuse(
                TemporaryError("too_many_connections", "the server holds as many connections as it may")
            )

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone: so are its open exchanges."""
        self._server.remove(self)
        self._ended = True
        self._receiving = None
        self._out.clear()
        self._parser = cast(httptools.HttpRequestParser, None)  # it refers back to this connection
        self.abandon()

    def eof_received(self) -> bool:
        """The client sends no more. What it asked for whole is still answered, unless by a stream."""
        self._eof = True
        if self._lingering_s is not None or any(exchange.ends_at_eof for exchange in self.queue):
            return False
        if not self._ended and (self._in_head or self._receiving is not None):
            self.refuse(heads.invalid("it ended before it was whole"))
        return bool(self.queue) and not self.secure and not self._transport.is_closing()

    def data_received(self, data: bytes) -> None:
        """Parse a segment; the answers that it gets at once leave in one write."""
        if self._ended:
            self.drop(len(data))
            return
        self._now_s = monotonic()  # the loop's own clock, but finer than uvloop tells it
        self._joined = True
        if self._left_bytes:
            data = self._take_body(data)
        in_head = self._in_head
        idle = not in_head and self._receiving is None
        try:
            if idle:
                data = self._take_known(data)
                self._fresh = data
            self._segment_bytes = len(data)
            if data and not self._ended:
                self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._read_past_upgrade(data[int(upgrade.args[0]) :])
        except httptools.HttpParserCallbackError as error:
            if not isinstance(error.__context__, _Refused):
                self._server.report("the connection failed", error)
                self.abort()
        except httptools.HttpParserError as error:
            if not self._ended:
                self.refuse(heads.invalid(str(error)))
        finally:
            self._joined = False
            self._fresh = None
            if self._out:
                self.flush()
        if self._in_head:
            if in_head or idle:
                self._head_bytes += len(data)
                if self._head_bytes > self._limits.head_bytes:
                    self.refuse_head()
        elif self._chunked and self._receiving is not None:
            self.check_chunks(len(data))

    def _take_known(self, data: bytes) -> bytes:
        """Take whole requests with known heads from a segment that begins with one; what is left is for the parser,
        which has seen nothing of them and is as it was: between two requests."""
        while True:
            head_end = data.find(_HEAD_END) + 4
            known = self._known.find(data[:head_end]) if head_end > 3 else None
            if known is None:
                return data
            end = head_end + known.body_bytes
            whole = len(data) >= end
            if len(self.queue) >= self._limits.pipeline_depth or not (
                whole or known.body_bytes >= _LARGE_BYTES
            ):
                return data
            exchange = Exchange(self, known.method, known.target, known.headers, self._now_s)
            exchange.path = known.path
            exchange.query = known.query
            exchange.memo = known.memo
            self.queue.append(exchange)
            self._receiving = exchange
            if not self._ask(exchange, known.body_bytes):
                return b""
            if not whole:
                self._begin_body(data[head_end:], end - len(data))
                return b""
            self._receiving = None
            exchange.body = data[head_end:end]
            exchange.whole = True
            data = data[end:]
            self.request_exchange(exchange)
            if not data or self._ended:
                return data

    def _begin_body(self, piece: bytes, left_bytes: int) -> None:
        """The rest of a large body is collected as it comes: llhttp would only copy it once more."""
        self._left_bytes = left_bytes
        self._chunked = False
        self._body_parts = [piece]
        self._body_bytes = len(piece)
        self._body_before_bytes = 0
        self._body_since_s = self._body_moved_s = self._now_s

    def _take_body(self, data: bytes) -> bytes:
        """Take a segment's part of such a body; what is left of the segment comes after it."""
        exchange, parts = self._receiving, self._body_parts
        assert exchange is not None and parts is not None
        piece = data[: self._left_bytes]
        parts.append(piece)
        self._left_bytes -= len(piece)
        self._body_bytes += len(piece)
        self._body_moved_s = self._now_s
        if not self._left_bytes:
            self._receiving = None
            self._body_parts = None
            exchange.body = b"".join(parts)
            exchange.whole = True
            self.request_exchange(exchange)
            if self._ended:
                return b""
        return data[len(piece) :]

    def _ask(self, exchange: Exchange, content_length: int) -> bool:
        """Whether the application takes the request by its head."""
        try:
            limit = self._server.application.head(exchange)
            if content_length > limit:
                raise body_too_large(limit)
        except Exception as error:  # noqa: BLE001 - the edge to the application
            self.refuse_exchange(exchange, error)
            return False
        if exchange.answered:
            self.stop_reading(exchange)
            return False
        self._body_limit = limit
        return True

    # the parser's callbacks

    def on_message_begin(self) -> None:
        """A request begins."""
        if self._ended:
            raise _Refused
        self._in_head = True
        self._begun_s = self._now_s
        self._head_bytes = 0
        self._target = b""
        self._headers = []

    def on_url(self, target: bytes) -> None:
        """The target, or a further piece of it."""
        self._target = self._target + target if self._target else target

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of the head, or of a trailer, which nothing here reads."""
        if self._in_head:
            self._headers.append((_name(name) or name.lower(), value.rstrip()))

    def on_headers_complete(self) -> None:
        """The head is whole: check it, and ask the application."""
        self._in_head = False
        parser = self._parser
        headers = self._headers
        method_bytes = parser.get_method()
        method = heads.METHODS.get(method_bytes) or method_bytes.decode("ascii")
        if self._head_bytes + self._segment_bytes > self._limits.head_bytes and self._head_is_too_large():
            self.refuse_head()
            raise _Refused
        exchange = Exchange(self, method, self._target, headers, self._begun_s)
        try:
            version = parser.get_http_version()
            framing = heads.framing(headers, version)
            exchange.path, exchange.query = heads.split_target(method, self._target, framing.host)
        except UserError as error:
            self.refuse_exchange(exchange, error)
            raise _Refused from None
        if version != "1.1":
            exchange.http_11 = False
        self._upgrading = framing.upgrade and parser.should_upgrade()
        if self._upgrading or method == "CONNECT" or not parser.should_keep_alive():
            exchange.ends_keep_alive = True
        self.queue.append(exchange)
        self._receiving = exchange
        self._body = b""
        self._body_parts = None
        self._body_bytes = 0
        self._chunked = framing.chunked
        if not self._ask(exchange, framing.content_length):
            raise _Refused
        if self._fresh is not None:
            self._remember(exchange, framing, self._fresh)
            self._fresh = None
        if framing.expects is not None and version == "1.1":
            try:
                self.expect(exchange, framing)
            except UserError as error:
                self.refuse_exchange(exchange, error)
                raise _Refused from None
        if framing.chunked or framing.content_length:
            self._body_raw_bytes = self._body_before_bytes = 0
            self._body_since_s = self._body_moved_s = self._now_s
        else:
            self._upgrading = False

    def on_body(self, piece: bytes) -> None:
        """A piece of the body."""
        size = self._body_bytes + len(piece)
        self._body_bytes = size
        self._body_moved_s = self._now_s
        if size > self._body_limit:
            self.refuse(body_too_large(self._body_limit))
            raise _Refused
        if self._body_parts is not None:
            self._body_parts.append(piece)
        elif self._body:
            self._body_parts = [self._body, piece]
        else:
            self._body = piece

    def on_message_complete(self) -> None:
        """The request is whole: give it to the application, or keep it while the pipeline is full."""
        exchange = self._receiving
        if exchange is None or self._upgrading:
            return
        self._receiving = None
        parts = self._body_parts
        exchange.body = self._body if parts is None else b"".join(parts)
        self._body = b""
        self._body_parts = None
        exchange.whole = True
        exchange.wants_continue = False
        if exchange.ends_keep_alive:
            self._ended = True
        if len(self.queue) > self._limits.pipeline_depth:
            self._waiting.append(exchange)
            self.regulate()
        else:
            self.request_exchange(exchange)
            if len(self.queue) >= self._limits.pipeline_depth:
                self.regulate()

    def _remember(self, exchange: Exchange, framing: heads.Framing, segment: bytes) -> None:
        """Know this head from now on, where it keeps the connection, and stands alone at the segment's begin: llhttp
        also takes empty lines before a request, which are none of its bytes."""
        plain = not (framing.chunked or framing.upgrade or framing.expects or exchange.ends_keep_alive)
        if plain and exchange.http_11 and segment[:1].isalpha():
            end = segment.find(_HEAD_END) + 4
            if 3 < end <= len(segment) <= end + framing.content_length:
                self._known.remember(segment[:end], exchange, framing.content_length)

    def _head_is_too_large(self) -> bool:
        size = sum(len(name) + len(value) + 4 for name, value in self._headers)
        return size + len(self._target) + 16 > self._limits.head_bytes

    def _read_past_upgrade(self, rest: bytes) -> None:
        """llhttp stops where a request asks for another protocol, even before its body; since none is spoken here,
        the body is read by a parser that is told of the framing only."""
        exchange = self._receiving
        if exchange is None:
            return
        self._upgrading = False
        self._parser = httptools.HttpRequestParser(_BodyOf(self))
        size = dict(exchange.headers).get(b"content-length", b"")
        field = b"transfer-encoding: chunked" if self._chunked else b"content-length: " + size
        self._parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n\r\n" % field)
        if rest:
            self.data_received(rest)


class _BodyOf:
    """Hands on what a parser says of a body, and not of its head."""

    __slots__ = ("on_body", "on_message_complete")

    def __init__(self, connection: HttpConnection) -> None:
        self.on_body = connection.on_body
        self.on_message_complete = connection.on_message_complete

"""Whatever bytes come, in whatever segments: no crash, the same answers, and bounded memory."""

from __future__ import annotations

import asyncio
import itertools
import re
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seaway.core.errors import SeawayError
from seaway.transport.connection import HttpConnection
from seaway.transport.exchange import Exchange
from seaway.transport.limits import TransportLimits
from seaway.transport.server import HttpServer

LIMITS = TransportLimits(head_bytes=1024, pipeline_depth=3, linger_bytes=1 << 16)
BODY_LIMIT = 2048
CHUNKED = b"POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


class Wire(asyncio.Transport):
    """Keeps what is written, and must not be written to after its end."""

    def __init__(self) -> None:
        super().__init__({"peername": ("192.0.2.1", 1)})
        self.sent = bytearray()
        self.ended = False
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.ended and not self.closed
        self.sent += data

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def get_write_buffer_size(self) -> int:
        return 0

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended = True

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True


class Echo:
    """Says back what it was asked, and counts what it holds."""

    def __init__(self) -> None:
        self.open = 0
        self.heads = 0
        self.done = 0

    def head(self, exchange: Exchange) -> int:
        self.heads += 1
        return BODY_LIMIT

    def request(self, exchange: Exchange) -> None:
        assert len(exchange.body) <= BODY_LIMIT
        text = repr((exchange.method, exchange.target, exchange.headers, exchange.body)).encode()
        exchange.respond(200, b"", text)

    def refuse(self, exchange: Exchange, error: SeawayError) -> None:
        if exchange.path == b"":
            self.heads += 1
        exchange.respond(400, b"", error.code.encode())

    def fault(self, exchange: Exchange, error: Exception) -> None:
        raise error

    def finished(self, exchange: Exchange) -> None:
        self.done += 1


def serve(segments: list[bytes]) -> tuple[bytes, bool]:
    """The answers of a new server to these segments, and whether the connection has ended after them."""

    async def run() -> tuple[bytes, bool]:
        return talk(HttpServer(Echo(), LIMITS), segments)

    return asyncio.run(run())


def talk(server: HttpServer, segments: list[bytes]) -> tuple[bytes, bool]:
    """The same on a new connection to `server`, within a running loop."""
    failures: list[object] = []
    server.loop.set_exception_handler(lambda _, context: failures.append(context))
    connection = HttpConnection(server)
    wire = Wire()
    connection.connection_made(wire)
    for segment in segments:
        if wire.closed:
            break
        connection.data_received(segment)
    assert not failures
    assert held(connection) <= 64 * 1024 + LIMITS.head_bytes
    ended = wire.closed or wire.ended
    connection.connection_lost(None)
    assert server.connections == 0 and server.streams == 0
    return re.sub(rb"date: [^\r]*", b"date", bytes(wire.sent)), ended


def held(connection: HttpConnection) -> int:
    """Bytes that the connection keeps of what it was sent."""
    size = len(connection._target) + len(connection._body) + sum(map(len, connection._body_parts or ()))
    return size + sum(sys.getsizeof(name) + len(value) for name, value in connection._headers)


def cut(raw: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(raw), *(c % (len(raw) + 1) for c in cuts)})
    return [raw[a:b] for a, b in itertools.pairwise(edges)]


token = st.text("abcxyzABC-_!", min_size=1, max_size=8).map(str.encode)
value = st.binary(max_size=12).map(lambda v: re.sub(rb"[\x00-\x08\x0a-\x1f\x7f]", b".", v))
fields = st.lists(st.tuples(token, value), max_size=3).map(
    lambda pairs: b"".join(b"%b: %b\r\n" % pair for pair in pairs)
)
body = st.binary(max_size=40)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """A valid request, with a length, in chunks or without a body."""
    method = draw(st.sampled_from([b"GET", b"POST", b"HEAD", b"OPTIONS", b"DELETE"]))
    target = b"/" + draw(st.text("abc/?=%2F.", max_size=12)).encode()
    version = draw(st.sampled_from([b"1.1", b"1.1", b"1.1", b"1.0"]))
    head = b"%b %b HTTP/%b\r\nHost: a\r\n%b" % (method, target, version, draw(fields))
    form = draw(st.sampled_from(["none", "length", "chunked"] if version == b"1.1" else ["none", "length"]))
    if form == "none":
        return head + b"\r\n"
    content = draw(body)
    if form == "length":
        return head + b"Content-Length: %d\r\n\r\n%b" % (len(content), content)
    chunks = [content[n : n + 7] for n in range(0, len(content), 7)]
    return (
        head
        + b"Transfer-Encoding: chunked\r\n\r\n"
        + b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
        + b"0\r\n\r\n"
    )


@st.composite
def mutants(draw: st.DrawFn) -> bytes:
    """Valid requests with some bytes replaced, inserted or cut out."""
    raw = bytearray(b"".join(draw(st.lists(requests(), min_size=1, max_size=3))))
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, len(raw)))
        end = place + draw(st.integers(0, 3))
        piece = draw(
            st.one_of(
                st.binary(max_size=3),
                st.sampled_from([b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b"\0", b"Content-Length: 1\r\n"]),
                st.sampled_from(
                    [b"Host: b\r\n", b"Transfer-Encoding: chunked\r\n", b"Connection: upgrade\r\n"]
                ),
                st.sampled_from([b"Upgrade: h2c\r\n", b"Connection: close\r\n", b"Expect: 100-continue\r\n"]),
            )
        )
        raw[place:end] = piece
    return bytes(raw)


cuts = st.lists(st.integers(0, 1 << 16), max_size=8)


@given(st.one_of(st.binary(max_size=200), mutants()), cuts)
@settings(max_examples=200)
def test_answers_do_not_depend_on_the_segments(raw: bytes, cuts: list[int]) -> None:
    assert serve(cut(raw, cuts)) == serve([raw])


@given(mutants())
@settings(max_examples=60)
def test_answers_are_the_same_byte_by_byte(raw: bytes) -> None:
    assert serve([raw[n : n + 1] for n in range(len(raw))]) == serve([raw])


@given(st.lists(requests(), min_size=1, max_size=6), cuts)
@settings(max_examples=100)
def test_every_valid_request_is_answered_in_order(pipeline: list[bytes], cuts: list[int]) -> None:
    sent, _ = serve(cut(b"".join(pipeline), cuts))
    alone: list[bytes] = []
    for raw in pipeline:
        answer, ended = serve([raw])
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        alone.append(answer)
        if ended:
            break
    assert sent == b"".join(alone)


@pytest.mark.parametrize(
    ("start", "more"),
    [
        (b"GET /" + b"a" * 100, b"a" * 1000),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: ", b"b" * 1000),
        (b"GET / HTTP/1.1\r\nHost: a\r\n", b"X: c\r\n" * 200),
        (CHUNKED, b"1\r\nx\r\n" * 200),
        (CHUNKED + b"5;", b"e" * 1000),
        (CHUNKED + b"0\r\nX: ", b"f" * 1000),
        (CHUNKED + b"0\r\n", b"X: g\r\n" * 200),
        (b"\r\n", b"\r\n" * 500),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2000\r\n\r\n", b"h" * 1000),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n", b"h" * 1000),
        (b"garbage", b"i" * 1000),
    ],
)
def test_an_endless_request_is_ended_or_held_in_bounded_memory(start: bytes, more: bytes) -> None:
    async def run() -> None:
        server = HttpServer(Echo(), LIMITS)
        connection = HttpConnection(server)
        wire = Wire()
        connection.connection_made(wire)
        connection.data_received(start)
        for _ in range(300):
            if wire.closed:
                break
            connection.data_received(more)
            assert held(connection) <= LIMITS.head_bytes * 64
        assert len(wire.sent) < 4000
        assert wire.closed or wire.ended or more == b"\r\n" * 500

    asyncio.run(run())

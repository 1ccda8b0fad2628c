"""Heads that were read before: what the application gets of them, and what is never kept."""

from __future__ import annotations

import pytest
from transport_wire import GET, Bench, ByHand, bodies, run

from seaway.core.errors import UserError
from seaway.transport.exchange import Exchange
from seaway.transport.limits import TransportLimits

POST = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n"


class Noting(ByHand):
    """Leaves a note at every new head; `read` has, for each head, the note that was there already."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[object] = []
        self.answer = lambda exchange: exchange.respond(200, b"", exchange.body)

    def head(self, exchange: Exchange) -> int:
        self.read.append(exchange.memo)
        if exchange.memo is None:
            exchange.memo = exchange.target
        return super().head(exchange)


class Server(Bench):
    """Its application takes notes."""

    def __init__(self, limits: TransportLimits | None = None) -> None:
        super().__init__(limits)
        self.notes = self.application = self.server.application = Noting()

    def answers(self, *segments: bytes) -> list[bytes]:
        """The bodies that a new connection gets for these segments."""
        connection, wire = self.connect()
        for segment in segments:
            connection.data_received(segment)
        return bodies(wire.sent)


def test_an_equal_head_brings_its_memo_and_its_own_body() -> None:
    async def test() -> None:
        server = Server()
        assert server.answers(POST + b"abc") == [b"abc"]
        assert server.answers(POST + b"def", POST + b"ghi" + POST + b"jkl") == [b"def", b"ghi", b"jkl"]
        assert server.notes.read == [None, b"/x", b"/x", b"/x"]
        again = server.notes.asked[1]
        assert (again.method, again.path, again.headers) == (
            "POST",
            b"/x",
            [(b"host", b"a"), (b"content-length", b"3")],
        )

    run(test())


@pytest.mark.parametrize(
    "raw",
    [
        b"GET /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\nabc",
        b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 1024 + b"\r\n\r\n",
        GET + GET.replace(b"x", b"y"),  # more than one request in the segment
    ],
    ids=["1.0", "close", "chunked", "expect", "upgrade", "long", "pipeline"],
)
def test_other_heads_are_not_kept(raw: bytes) -> None:
    async def test() -> None:
        server = Server()
        for _ in range(2):
            connection, _ = server.connect()
            connection.data_received(raw)
        assert set(server.notes.read) == {None}

    run(test())


def test_a_head_that_the_application_refuses_is_not_kept_and_a_kept_one_can_be_refused() -> None:
    async def test() -> None:
        server = Server()
        server.notes.raises = UserError("endpoint_not_found", "no")
        assert server.answers(POST + b"abc") == [b"endpoint_not_found"]
        server.notes.raises = None
        server.answers(POST + b"abc")
        server.notes.limit = 2
        assert server.answers(POST + b"abc" + GET) == [b"body_too_large"]
        assert server.notes.read == [None, None, b"/x"]

    run(test())


def test_a_pipeline_of_known_heads_is_no_deeper_than_any_other() -> None:
    async def test() -> None:
        server = Server(TransportLimits(pipeline_depth=4))
        server.answers(GET)
        server.notes.asked.clear()
        server.notes.answer = None
        connection, wire = server.connect()
        connection.data_received(GET * 11)
        asked = server.notes.asked
        assert len(asked) == 4 and not wire.reading
        answered = 0
        while answered < len(asked):
            asked[answered].respond(200, b"", b"%d" % answered)
            answered += 1
        assert bodies(wire.sent) == [b"%d" % n for n in range(11)]
        assert wire.reading

    run(test())


def test_a_flood_of_heads_is_not_kept_for_ever() -> None:
    async def test() -> None:
        server = Server()
        connection, _ = server.connect()
        for number in range(1025):
            connection.data_received(GET.replace(b"/x", b"/%d" % number))
        server.answers(GET.replace(b"/x", b"/0"), GET.replace(b"/x", b"/1024"))
        assert server.notes.read[-2:] == [None, b"/1024"]

    run(test())


LARGE = 100_000
LARGE_POST = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % LARGE


@pytest.mark.parametrize("cut", [1, 7, 1000, 65_536, LARGE - 1, LARGE])
def test_a_large_body_behind_a_known_head_in_any_pieces_and_what_comes_after_it(cut: int) -> None:
    async def test() -> None:
        server = Server()
        server.notes.limit = 2 * LARGE
        large = bytes(range(256)) * 390 + b"x" * 160
        assert len(large) == LARGE
        assert server.answers(LARGE_POST + large[:10], large[10:]) == [large]
        raw = LARGE_POST + large + POST + b"abc" + LARGE_POST + large
        segments = [raw[at : at + cut] for at in range(0, len(raw), cut)]
        if cut == 1:  # byte by byte at the seams only
            edge = len(LARGE_POST) + LARGE
            segments = [
                raw[: edge - 3],
                *(raw[at : at + 1] for at in range(edge - 3, edge + 60)),
                raw[edge + 60 :],
            ]
        assert server.answers(*segments) == [large, b"abc", large]
        if cut != 7:  # else the head itself is cut
            assert server.notes.read[1] == b"/x"

    run(test())


def test_a_client_that_leaves_within_such_a_body_is_abandoned() -> None:
    async def test() -> None:
        server = Server()
        server.notes.limit = 2 * LARGE
        assert len(server.answers(LARGE_POST + b"x" * LARGE)) == 1
        connection, wire = server.connect()
        connection.data_received(LARGE_POST + b"y" * 10)
        assert len(server.notes.asked) == 1
        connection.eof_received()
        assert server.notes.refused == ["invalid_http"]
        assert wire.sent.count(b"HTTP/1.1 400 ") == 1
        connection.connection_lost(None)
        assert len(server.notes.asked) == 1, "half a body is no request"

    run(test())


def test_such_a_body_has_its_limits() -> None:
    async def test() -> None:
        server = Server()
        server.notes.limit = 2 * LARGE
        assert len(server.answers(LARGE_POST + b"x" * LARGE)) == 1
        server.notes.limit = 10
        connection, _ = server.connect()
        connection.data_received(LARGE_POST + b"y" * 10)
        assert server.notes.refused[-1] == "body_too_large"
        server.notes.limit = 2 * LARGE
        connection, _ = server.connect()
        connection.data_received(LARGE_POST + b"y" * 10)
        server.sweep_in(60)
        assert server.notes.refused[-1] == "request_timeout"

    run(test())


def test_empty_lines_before_a_request_are_no_head() -> None:
    async def test() -> None:
        server = Server()
        assert server.answers(b"\r\n\r\n" + POST + b"abc") == [b"abc"]
        assert server.answers(b"\r\n\r\n") == []
        assert server.notes.read == [None]

    run(test())


def test_nothing_is_asked_behind_such_a_body_whose_answer_closes() -> None:
    async def test() -> None:
        server = Server()
        server.notes.limit = 2 * LARGE
        assert server.answers(GET) == [b""]
        assert len(server.answers(LARGE_POST + b"x" * LARGE)) == 1
        server.server.draining = True
        server.notes.asked.clear()
        assert server.answers(LARGE_POST + b"y" * 10, b"y" * (LARGE - 10) + GET) == [b"y" * LARGE]
        assert len(server.notes.asked) == 1

    run(test())

"""HTTP/1.1 on raw sockets (rows R11, R12, R14, R15, R21), for our transport and for uvicorn, which fails a part of it.

What uvicorn fails is listed in `UVICORN_FAILS`, and a test holds it to the list: so these rows can fail.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Iterator

import pytest
import uvloop
from http_client import Client
from http_rows import ACCEPTED, GET, POST, REFUSED, UVICORN_FAILS
from http_servers import BODY_LIMIT, HURRIED, PATIENT, Running, run_seaway, run_uvicorn

from seaway.transport.limits import TransportLimits


class Servers:
    """Starts each server when it is first asked for, and keeps it until the last row."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self._stack = stack
        self._running: dict[tuple[str, TransportLimits | None], Running] = {}

    def get(self, name: str, limits: TransportLimits | None = None) -> Running:
        """uvicorn has its own limits."""
        key = name, limits
        if key not in self._running:
            loops = {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}
            starting = run_uvicorn(name) if limits is None else run_seaway(loops[name], limits)
            self._running[key] = self._stack.enter_context(starting)
        return self._running[key]


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    with contextlib.ExitStack() as stack:
        yield Servers(stack)


def refuses(server: Running, raw: bytes, statuses: tuple[int, ...] = (400, 501, 505)) -> None:
    """One answer with such a status, then the end; nothing smuggled is served; the listener is alive."""
    with Client(server) as client:
        client.send(raw)
        answer = client.answer()
        assert answer.status in statuses
        assert answer.headers.get("connection") == "close"
        client.assert_closed()
    with Client(server) as client:
        client.send(GET + b"\r\n")
        assert client.answer().body == b"GET /x "


def accepts(server: Running, name: str) -> None:
    row = ACCEPTED[name]
    with Client(server) as client:
        client.send(row.raw)
        for status, body in row.answers:
            answer = client.answer()
            assert (answer.status, answer.body) == (status, body)
        if row.closed:
            client.assert_closed()
        else:
            client.send(GET + b"\r\n")
            assert client.answer().status == 200


# rows of behaviour: each takes a server, and fails by an assertion or a time-out


def r14_half_head(server: Running) -> None:
    refuses(server, GET, (408,))


def r14_half_request_line(server: Running) -> None:
    refuses(server, b"GE", (408,))


def r14_half_body(server: Running) -> None:
    refuses(server, POST + b"Content-Length: 10\r\n\r\nabc", (408,))


def r14_half_chunk(server: Running) -> None:
    refuses(server, POST + b"Transfer-Encoding: chunked\r\n\r\na\r\nabc", (408,))


def _drip(server: Running, raw: bytes) -> None:
    with Client(server) as client:
        client.send(raw)
        end_s = time.monotonic() + server.patience_s
        client.socket.settimeout(0.1)
        received = b""
        while not received:
            assert time.monotonic() < end_s, "the server waits on"
            try:
                received = client.socket.recv(1000)
            except TimeoutError:
                client.send(b"a")  # one byte each tenth of a second
        assert received.startswith(b"HTTP/1.1 408 ")


def r14_dripped_head(server: Running) -> None:
    _drip(server, GET + b"X: ")


def r14_dripped_body(server: Running) -> None:
    _drip(server, POST + b"Content-Length: 1000\r\n\r\n")


def keep_alive_ends(server: Running) -> None:
    with Client(server) as client:
        client.send(GET + b"\r\n")
        assert client.answer().status == 200
        client.assert_closed()


def r15_client_does_not_read_a_stream(server: Running) -> None:
    with Client(server, receive_buffer=4096) as client:
        client.send(b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n")
        _poll(lambda: server.world.endless == 1, server.patience_s)
        _poll(lambda: server.world.endless == 0, server.patience_s)


def r15_client_does_not_read_a_pipeline(server: Running) -> None:
    request = POST + b"Content-Length: 60000\r\n\r\n" + b"x" * 60000
    with Client(server, receive_buffer=4096) as client, pytest.raises(ConnectionError):
        while True:
            client.send(request)


def _poll(condition: Callable[[], bool], within_s: float) -> None:
    end_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end_s, "the condition did not come true"
        time.sleep(0.01)


def client_leaves_a_stream(server: Running) -> None:
    with Client(server) as client:
        client.send(b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n")
        client.socket.recv(1000)
        _poll(lambda: server.world.endless == 1, server.patience_s)
    _poll(lambda: server.world.endless == 0, server.patience_s)


def head_has_the_headers_and_no_body(server: Running) -> None:
    with Client(server) as client:
        client.send(GET + b"\r\n")
        whole = client.answer()
        client.send(GET.replace(b"GET", b"HEAD") + b"\r\n" + GET + b"\r\n")
        head = client.answer("HEAD")
        assert head.headers.keys() == whole.headers.keys()
        assert int(head.headers["content-length"]) == len(b"HEAD /x ")
        assert client.answer().body == b"GET /x "


def head_of_a_stream_has_no_body(server: Running) -> None:
    with Client(server) as client:
        client.send(b"HEAD /stream HTTP/1.1\r\nHost: a\r\n\r\n" + GET + b"\r\n")
        assert client.answer("HEAD").status == 200
        assert client.answer().body == b"GET /x "


def continue_is_said_before_the_body(server: Running) -> None:
    with Client(server) as client:
        client.send(POST + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        assert client.answer().status == 100
        client.send(b"abc")
        assert client.answer().body == b"POST /x abc"


def continue_waits_for_its_turn(server: Running) -> None:
    with Client(server) as client:
        client.send(
            b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n"
            + POST
            + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n"
        )
        assert client.answer().body == b"slow"
        assert client.answer().status == 100
        client.send(b"abc")
        assert client.answer().body == b"POST /x abc"


def continue_is_not_said_to_a_refused_head(server: Running) -> None:
    refuses(
        server,
        POST + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % (BODY_LIMIT + 1),
        (413,),
    )


def continue_is_not_said_in_1_0(server: Running) -> None:
    with Client(server) as client:
        client.send(b"POST /x HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc")
        assert client.answer().body == b"POST /x abc"


def other_expectations_are_refused(server: Running) -> None:
    refuses(server, POST + b"Expect: miracles\r\nContent-Length: 3\r\n\r\nabc", (417,))


def head_too_large_in_one_field(server: Running) -> None:
    refuses(server, GET + b"X: " + b"y" * 40_000 + b"\r\n\r\n", (431,))


def head_too_large_and_never_ending(server: Running) -> None:
    refuses(server, GET + b"X: " + b"y" * 40_000, (431,))


def head_too_large_in_many_fields(server: Running) -> None:
    refuses(server, GET + b"X: y\r\n" * 8_000 + b"\r\n", (431,))


def target_too_long(server: Running) -> None:
    refuses(server, b"GET /" + b"y" * 40_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", (414, 431))


def trailer_too_large(server: Running) -> None:
    refuses(server, POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: " + b"y" * 90_000, (400, 431))


def r07_announced_body_is_refused_unread(server: Running) -> None:
    refuses(server, POST + b"Content-Length: %d\r\n\r\n" % (BODY_LIMIT + 1), (413,))


def r07_chunked_body_is_refused_as_it_passes(server: Running) -> None:
    size = BODY_LIMIT + 1
    refuses(server, POST + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % size + b"x" * size, (413,))


def r07_refusal_reaches_a_client_that_sends_on(server: Running) -> None:
    body = b"x" * 8_000_000
    with Client(server) as client:
        client.send(POST + b"Content-Length: %d\r\n\r\n" % len(body))
        client.send(body)
        assert client.answer().status == 413
        client.assert_closed()


def half_closed_client_is_answered(server: Running) -> None:
    with Client(server) as client:
        client.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        client.socket.shutdown(socket.SHUT_WR)
        assert client.answer().body == b"slow"
        client.assert_closed()


def half_closed_half_request_is_refused(server: Running) -> None:
    with Client(server) as client:
        client.send(POST + b"Content-Length: 10\r\n\r\nabc")
        client.socket.shutdown(socket.SHUT_WR)
        assert client.answer().status == 400
        client.assert_closed()


def stream_is_chunked(server: Running) -> None:
    with Client(server) as client:
        client.send(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = client.answer()
        assert answer.headers["transfer-encoding"] == "chunked"
        assert answer.body == b"one two three"


def bytes_come_one_by_one(server: Running) -> None:
    with Client(server) as client:
        for byte in POST + b"Transfer-Encoding: chunked\r\n\r\n3;a\r\nabc\r\n0\r\n\r\n":
            client.send(bytes([byte]))
        assert client.answer().body == b"POST /x abc"


BEHAVIOUR: tuple[Callable[[Running], None], ...] = (
    r14_half_head,
    r14_half_request_line,
    r14_half_body,
    r14_half_chunk,
    r14_dripped_head,
    r14_dripped_body,
    keep_alive_ends,
    r15_client_does_not_read_a_stream,
    r15_client_does_not_read_a_pipeline,
    client_leaves_a_stream,
    head_has_the_headers_and_no_body,
    head_of_a_stream_has_no_body,
    continue_is_said_before_the_body,
    continue_waits_for_its_turn,
    continue_is_not_said_to_a_refused_head,
    continue_is_not_said_in_1_0,
    other_expectations_are_refused,
    head_too_large_in_one_field,
    head_too_large_and_never_ending,
    head_too_large_in_many_fields,
    target_too_long,
    trailer_too_large,
    r07_announced_body_is_refused_unread,
    r07_chunked_body_is_refused_as_it_passes,
    r07_refusal_reaches_a_client_that_sends_on,
    half_closed_client_is_answered,
    half_closed_half_request_is_refused,
    stream_is_chunked,
    bytes_come_one_by_one,
)


OF_LIMITS = BEHAVIOUR[: BEHAVIOUR.index(client_leaves_a_stream)]


def _rows() -> dict[str, Callable[[Running], None]]:
    rows: dict[str, Callable[[Running], None]] = {}
    for name, raw in REFUSED.items():
        rows[name] = lambda server, raw=raw: refuses(server, raw)
    for name in ACCEPTED:
        rows[name] = lambda server, name=name: accepts(server, name)
    for behaviour in BEHAVIOUR:
        rows[behaviour.__name__] = behaviour
    return rows


ROWS = _rows()


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize("name", ROWS)
def test_the_transport_passes(servers: Servers, loop: str, name: str) -> None:
    ROWS[name](servers.get(loop, HURRIED if ROWS[name] in OF_LIMITS else PATIENT))


@pytest.mark.parametrize(
    ("http", "name"), [(http, name) for http, names in UVICORN_FAILS.items() for name in sorted(names)]
)
def test_uvicorn_fails(servers: Servers, http: str, name: str) -> None:
    server = servers.get(http)
    if name in REFUSED:  # not by its manners, but by answering what must be refused
        with Client(server) as client:
            client.socket.settimeout(60)
            client.send(REFUSED[name])
            assert client.answer().status == 200
    else:
        with pytest.raises((AssertionError, OSError, ValueError)):
            ROWS[name](server)

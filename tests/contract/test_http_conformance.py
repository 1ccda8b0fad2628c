"""HTTP/1.1 on raw sockets (rows R11, R12, R14, R15, R21), for our transport and for uvicorn, which fails a part of it.

What uvicorn fails is listed in `UVICORN_FAILS`, and a test holds it to the list: so these rows can fail.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest
import uvloop
from http_rows import ACCEPTED, GET, POST, REFUSED
from http_servers import BODY_LIMIT, Running, run_seaway, run_uvicorn

OURS = ("uvloop", "asyncio")
# How long a row waits for a server to close; several times what ours takes by its limits.
PATIENCE_S = 2.5


@pytest.fixture(scope="module", params=OURS)
def seaway(request: pytest.FixtureRequest) -> Iterator[Running]:
    loops = {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}[request.param]
    with run_seaway(loops) as running:
        yield running


@pytest.fixture(scope="module")
def uvicorn_server(request: pytest.FixtureRequest) -> Iterator[Running]:
    with run_uvicorn(request.param) as running:
        yield running


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class Client:
    """Reads answers strictly, and fails where a server writes something else."""

    def __init__(self, server: Running, receive_buffer: int | None = None) -> None:
        self.socket = server.connect(receive_buffer)
        self._file = self.socket.makefile("rb")

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self.socket.close()

    def send(self, raw: bytes) -> None:
        self.socket.sendall(raw)

    def answer(self, method: str = "GET") -> Answer:
        line = self._file.readline()
        assert line.startswith(b"HTTP/1.1 ") and line.endswith(b"\r\n"), f"no status line: {line!r}"
        status = int(line.split(b" ")[1])
        headers: dict[str, str] = {}
        while (field := self._file.readline()) != b"\r\n":
            assert field.endswith(b"\r\n"), f"no header line: {field!r}"
            name, _, value = field.decode("latin-1").strip().partition(": ")
            assert name.lower() not in headers, f"two {name}"
            headers[name.lower()] = value
        if method == "HEAD" or status in (100, 204, 304):
            return Answer(status, headers, b"")
        if "transfer-encoding" in headers:
            assert "content-length" not in headers
            return Answer(status, headers, self._chunks())
        if "content-length" in headers:
            return Answer(status, headers, self._file.read(int(headers["content-length"])))
        return Answer(status, headers, self._file.read())

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self._file.readline(), 16):
            body += self._file.read(size)
            assert self._file.readline() == b"\r\n"
        assert self._file.readline() == b"\r\n"
        return body

    def assert_closed(self, within_s: float = PATIENCE_S) -> None:
        self.socket.settimeout(within_s)
        try:
            rest = self._file.read(1)
        except ConnectionResetError:
            return
        assert rest == b"", f"after its last answer the server sent {rest!r}"


def refuses(server: Running, raw: bytes, statuses: tuple[int, ...] = (400, 501, 505)) -> None:
    """One answer with such a status, then the end; nothing smuggled is served; the listener is alive."""
    with Client(server) as client:
        client.socket.settimeout(PATIENCE_S)
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
        client.socket.settimeout(PATIENCE_S)
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
        end_s = time.monotonic() + PATIENCE_S
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
        _poll(lambda: server.world.endless == 1)
        _poll(lambda: server.world.endless == 0)


def r15_client_does_not_read_a_pipeline(server: Running) -> None:
    request = POST + b"Content-Length: 60000\r\n\r\n" + b"x" * 60000
    with Client(server, receive_buffer=4096) as client:
        client.socket.settimeout(PATIENCE_S)
        with pytest.raises(ConnectionError):
            while True:
                client.send(request)


def _poll(condition: Callable[[], bool]) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end_s, "the condition did not come true"
        time.sleep(0.01)


def client_leaves_a_stream(server: Running) -> None:
    with Client(server) as client:
        client.send(b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n")
        client.socket.recv(1000)
        assert server.world.endless == 1
    end_s = time.monotonic() + 1.0
    while server.world.endless:
        assert time.monotonic() < end_s, "the answer is still being made"
        time.sleep(0.01)


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
# Rows that need no setting that uvicorn would have. (It has no limit of a body, of a slow request or of a slow reader.)
UVICORN_FAILS: dict[str, frozenset[str]] = {
    "httptools": frozenset(
        [
            "r11-gzip-chunked",
            "r11-chunked-in-1.0",
            "r12-no-host",
            "r12-two-hosts",
            "r12-two-equal-hosts",
            "r12-two-hosts-1.0",
            "r12-host-with-path",
            "r12-host-with-user",
            "r12-host-with-space",
            "r12-host-list",
            "r12-host-empty",
            "r12-target-names-other-host",
            "r12-target-with-user",
            "r12-target-of-other-scheme",
            "r12-target-with-fragment",
            "r12-target-star",
            "r21-http-0.9",
            "r21-version-0.9",
            "r21-version-2.0",
            "absolute-target-without-path",
            "upgrade-with-body",
            "upgrade-with-chunks",
            "r14_half_head",
            "r14_half_body",
            "r14_dripped_body",
            "r15_client_does_not_read_a_stream",
            "continue_is_not_said_in_1_0",
            "other_expectations_are_refused",
            "half_closed_client_is_answered",
        ]
    ),
    "h11": frozenset(
        [
            "r11-length-and-chunked",
            "r11-chunked-and-length",
            "r11-two-equal-lengths",
            "r11-length-list",
            "r11-chunked-in-1.0",
            "r11-chunk-size-space",
            "r11-chunk-extension-nul",
            "r11-trailer-length",
            "r11-trailer-lf",
            "r11-fold-space",
            "r11-fold-tab",
            "r11-fold-empty",
            "r11-lf-everywhere",
            "r11-lf-in-head",
            "r11-lf-at-end",
            "r11-lf-after-line",
            "r11-control-in-value",
            "r11-delete-in-value",
            "r12-host-with-path",
            "r12-host-with-user",
            "r12-host-with-space",
            "r12-host-list",
            "r12-host-empty",
            "r12-target-names-other-host",
            "r12-target-with-user",
            "r12-target-without-host",
            "r12-target-of-other-scheme",
            "r12-target-with-fragment",
            "r12-target-star",
            "r12-target-relative",
            "r21-version-0.9",
            "r21-version-2.0",
            "r21-version-1.2",
            "r21-grpc",
            "r21-lower-case-method",
            "absolute-target",
            "absolute-target-without-path",
            "upgrade-with-body",
            "upgrade-with-chunks",
            "r14_half_head",
            "r14_half_body",
            "r14_dripped_body",
            "r15_client_does_not_read_a_stream",
            "other_expectations_are_refused",
            "half_closed_client_is_answered",
        ]
    ),
}


@pytest.mark.parametrize("name", ROWS)
def test_the_transport_passes(seaway: Running, name: str) -> None:
    ROWS[name](seaway)


@pytest.mark.parametrize(
    ("uvicorn_server", "name"),
    [(http, name) for http, names in UVICORN_FAILS.items() for name in sorted(names)],
    indirect=["uvicorn_server"],
)
def test_uvicorn_fails(uvicorn_server: Running, name: str) -> None:
    with pytest.raises((AssertionError, OSError, ValueError)):
        ROWS[name](uvicorn_server)

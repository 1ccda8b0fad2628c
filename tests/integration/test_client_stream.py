"""The Python client's side of a stream, against bytes on a socket: replies, errors, cuts and leaving early."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

import seaway
from seaway.core.errors import PermanentError, SeawayError, TemporaryError, UserError

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


def chunk(text: str) -> bytes:
    data = text.encode()
    return b"%x\r\n%b\r\n" % (len(data), data)


def reply(value: object) -> bytes:
    body = {"model_name": "m", "model_version": "1", "y": value}
    return chunk(f"data: {json.dumps(body)}\n\n")


class Scripted:
    """A server that answers one connection by a script; `received` is the request it got."""

    def __init__(self, script: Callable[[socket.socket], None]) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.received = b""
        self._script = script
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        connection, _ = self._listener.accept()
        with connection:
            connection.settimeout(60)
            while b"\r\n\r\n" not in self.received:
                self.received += connection.recv(65536)
            head, _, body = self.received.partition(b"\r\n\r\n")
            length = next(
                int(line.split(b":")[1])
                for line in head.split(b"\r\n")
                if line.lower().startswith(b"content-length")
            )
            while len(body) < length:
                body += connection.recv(65536)
            self.received = head + b"\r\n\r\n" + body
            self._script(connection)

    def close(self) -> None:
        self._thread.join(60)
        self._listener.close()


@pytest.fixture
def scripted() -> Iterator[Callable[[Callable[[socket.socket], None]], Scripted]]:
    made: list[Scripted] = []

    def make(script: Callable[[socket.socket], None]) -> Scripted:
        made.append(Scripted(script))
        return made[-1]

    yield make
    for server in made:
        server.close()


def test_each_reply_is_given_before_the_next_is_made(scripted) -> None:
    taken = threading.Semaphore(0)

    def script(connection: socket.socket) -> None:
        connection.sendall(HEAD + reply(1))
        for value in ([2, 3], None):
            assert taken.acquire(timeout=60)
            connection.sendall(reply(value))
        connection.sendall(chunk(": still here\n\nevent: end\ndata: {}\n\n") + END)

    server = scripted(script)
    found = []
    for one in seaway.Client(server.url).stream("m", {"x": [0.5]}, request_id="r1"):
        found.append(one)
        taken.release()
    assert found == [{"y": 1}, {"y": [2, 3]}, {"y": None}]
    assert server.received.startswith(b"POST /v2/models/m/generate_stream HTTP/1.1\r\n")
    assert b"x-request-id: r1\r\n" in server.received.lower()
    assert json.loads(server.received.partition(b"\r\n\r\n")[2]) == {"instances": [{"x": [0.5]}]}


@pytest.mark.parametrize(
    ("code", "family"),
    [
        ("deadline_exceeded", TemporaryError),
        ("execution_failed", PermanentError),
        ("wrong_shape", UserError),
        ("of_a_newer_server", PermanentError),
    ],
)
def test_an_error_after_the_first_reply_is_raised(scripted, code: str, family: type[SeawayError]) -> None:
    body = json.dumps({"error": "it went wrong", "code": code, "request_id": "r", "hint": "fix"})
    script = HEAD + reply(1) + chunk(f"event: error\ndata: {body}\n\n") + END
    replies = seaway.Client(scripted(lambda connection: connection.sendall(script)).url).stream("m", {"x": 1})
    assert next(replies) == {"y": 1}
    with pytest.raises(family, match="it went wrong") as caught:
        next(replies)
    assert caught.value.hint == "fix"


def test_a_refusal_before_the_first_reply_is_raised(scripted) -> None:
    body = b'{"error": "no such endpoint", "code": "endpoint_not_found"}'
    script = b"HTTP/1.1 404 Not Found\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
    server = scripted(lambda connection: connection.sendall(script))
    with pytest.raises(UserError, match="no such endpoint"):
        next(seaway.Client(server.url).stream("m", {"x": 1}))


@pytest.mark.parametrize("rest", [b"", b"5\r\nda", chunk('data: {"y": 2')])
def test_a_cut_connection_is_no_end(scripted, rest: bytes) -> None:
    server = scripted(lambda connection: connection.sendall(HEAD + reply(1) + rest))
    replies = seaway.Client(server.url).stream("m", {"x": 1})
    assert next(replies) == {"y": 1}
    with pytest.raises(TemporaryError):
        next(replies)


def test_leaving_early_closes_the_connection(scripted) -> None:
    gone = threading.Event()

    def script(connection: socket.socket) -> None:
        connection.sendall(HEAD + reply(1))
        if connection.recv(1) == b"":
            gone.set()

    replies = seaway.Client(scripted(script).url).stream("m", {"x": 1})
    assert next(replies) == {"y": 1}
    replies.close()
    assert gone.wait(60)

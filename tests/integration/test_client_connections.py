"""The Python client's connections and bodies, against small servers that count and misbehave as they are told."""

from __future__ import annotations

import gc
import http.server
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest

import seaway
from seaway.core.errors import TemporaryError, UserError

METADATA = {"name": "e", "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]}


def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition never held"
        time.sleep(0.005)


class _Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128


class Echo:
    """Answers each prediction with the rows it was sent, and counts connections and requests."""

    def __init__(self) -> None:
        self.opened = self.open = self.posts = 0
        echo, counting = self, threading.Lock()

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle(self) -> None:
                with counting:
                    echo.opened += 1
                    echo.open += 1
                super().handle()
                with counting:
                    echo.open -= 1

            def do_GET(self) -> None:
                self._send(METADATA)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                with counting:
                    echo.posts += 1
                self._send({"predictions": json.loads(body)["instances"]})

            def _send(self, found: dict[str, Any]) -> None:
                body = json.dumps(found).encode()
                self.send_response(200)
                for name in ("seaway-revision", "content-length"):
                    self.send_header(name, str(len(body)))
                for name in ("seaway-digest", "x-request-id"):
                    self.send_header(name, "-")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None: ...

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    yield server
    server.close()


def in_threads(count: int, work: Callable[[int], None]) -> None:
    threads = [threading.Thread(target=work, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_threads_that_ended_leave_no_connection_open(echo: Echo) -> None:
    with seaway.Client(echo.url) as client:
        answers: dict[int, list[Any]] = {}
        together = threading.Barrier(60)

        def work(n: int) -> None:
            client.predict("e", [[n, 0]])
            together.wait(60)  # all connections are open at once, one per thread
            answers[n] = client.predict("e", [[n, 1]])

        in_threads(60, work)
        assert answers == {n: [[n, 1]] for n in range(60)}
        assert (echo.opened, echo.posts) == (60, 120)
        until(lambda: echo.open == 0)
        assert client.predict("e", [[0, 0]]) == [[0, 0]]  # the client itself goes on
        until(lambda: echo.open == 1)
    until(lambda: echo.open == 0)


def test_closing_ends_the_connections_of_living_threads_and_the_next_call_opens_one(echo: Echo) -> None:
    client = seaway.Client(echo.url)
    used, closed = threading.Barrier(3), threading.Barrier(3)

    def work(n: int) -> None:
        client.predict("e", [[n, 0]])
        used.wait(60)
        closed.wait(60)
        assert client.predict("e", [[n, 1]]) == [[n, 1]]

    threads = [threading.Thread(target=work, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    used.wait(60)
    client.close()
    until(lambda: echo.open == 0)
    closed.wait(60)
    for thread in threads:
        thread.join()
    assert echo.posts == 4


def test_a_client_that_is_dropped_closes_its_connections(echo: Echo) -> None:
    client = seaway.Client(echo.url)
    client.predict("e", [[1, 2]])
    until(lambda: echo.open == 1)
    del client
    gc.collect()
    until(lambda: echo.open == 0)


class Breaks:
    """Takes connections one by one; of each, answers so many requests, then reads one more and hangs up on it."""

    def __init__(self, *answers: int) -> None:
        self.requests = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, args=(answers,))
        self._thread.start()

    def _serve(self, answers: tuple[int, ...]) -> None:
        head = "HTTP/1.1 200 OK\r\nseaway-revision: 1\r\nseaway-digest: -\r\nx-request-id: -\r\n"
        body = b'{"predictions":[1]}'
        for count in answers:
            connection, _ = self._listener.accept()
            with connection, connection.makefile("rb") as lines:
                for number in range(count + 1):
                    if not self._read(lines):
                        break
                    self.requests += 1
                    if number < count:
                        connection.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)

    @staticmethod
    def _read(lines: Any) -> bool:
        length = 0
        while (line := lines.readline()) not in (b"", b"\r\n"):
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        lines.read(length)
        return line != b""

    def close(self) -> None:
        self._thread.join(60)
        self._listener.close()


def test_a_kept_connection_that_ends_before_its_answer_is_tried_once_more_on_a_new_one() -> None:
    server = Breaks(1, 1)
    with seaway.Client(server.url) as client:
        assert [client.predict("e", [[1]]), client.predict("e", [[2]])] == [[1], [1]]
    server.close()
    assert server.requests == 3  # the second prediction was read by both: the docstring says so


def test_a_new_connection_that_ends_before_its_answer_is_not_tried_again() -> None:
    server = Breaks(0)
    with seaway.Client(server.url) as client, pytest.raises(TemporaryError) as caught:
        client.predict("e", [[1]])
    server.close()
    assert (caught.value.code, server.requests) == ("control_unavailable", 1)


def test_a_second_try_that_fails_too_is_the_last() -> None:
    server = Breaks(1, 0)
    with seaway.Client(server.url) as client:
        client.predict("e", [[1]])
        with pytest.raises(TemporaryError):
            client.predict("e", [[1]])
    server.close()
    assert server.requests == 3


@pytest.mark.parametrize(
    ("rows", "sent"),
    [
        ([[np.float32(1.5), np.int64(2)], [np.bool_(True), np.str_("a")]], [[1.5, 2], [True, "a"]]),
        ([{"a": np.float64(1.5), "b": np.array([1, 2], np.uint8)}], [{"a": 1.5, "b": [1, 2]}]),
        ([np.array([1.0, np.nan], np.float16), np.array([2, 3])], [[1.0, None], [2, 3]]),
        (np.array([[1, 2], [3, np.nan]], np.float32), [[1.0, 2.0], [3.0, None]]),
        (np.array([["a", None, np.float32(1)]], object), [["a", None, 1.0]]),
        ([[np.longdouble(1.5)]], [[1.5]]),
    ],
    ids=["scalars", "an array in a dict", "arrays as rows", "one array", "an object array", "long doubles"],
)
def test_values_of_numpy_may_stand_anywhere_in_rows(rows: object, sent: object, echo: Echo) -> None:
    with seaway.Client(echo.url) as client:
        assert client.predict("e", rows) == sent


@pytest.mark.parametrize(
    ("rows", "word"),
    [
        ([[1.0], [float("inf")]], "row 1, value 0 is infinite"),
        ([{"a": 1.0, "b": float("-inf")}], "row 0, 'b' is infinite"),
        ([[None, np.float32("inf")]], "row 0, value 1 is infinite"),
        ([{"a": [1.0, np.array([np.nan, np.inf])]}], "row 0, 'a' is infinite"),
        (np.array([[1.0, np.nan], [np.inf, 2.0]]), "row 1, value 0 is infinite"),
        (pd.DataFrame({"first": [1.0, np.nan], "second": [3.0, np.inf]}), "row 1, value 1 is infinite"),
        ([[object()]], "object"),
        ([[np.datetime64("2026-01-01", "ns")]], "datetime64"),
        ([[np.complex64(1)]], "complex64"),
        ([[pd.NA]], "NAType"),
        ([[1, "\ud800"]], "surrogates"),
    ],
)
def test_what_json_cannot_hold_is_refused_before_it_is_sent(rows: object, word: str, echo: Echo) -> None:
    with seaway.Client(echo.url) as client, pytest.raises(UserError) as caught:
        client.predict("e", rows)
    assert caught.value.code == "invalid_value"
    assert word in caught.value.message
    assert echo.posts == 0

"""The envelope around every answer: faults become plain 500s, logged once, with nothing internal in the body."""

from __future__ import annotations

import asyncio
import json

import pytest
from starlette.types import Message, Receive, Scope, Send

from seaway.core.errors import TemporaryError
from seaway.serve import context as contexts
from seaway.serve.counters import Counters
from seaway.serve.envelope import Envelope


class Ticks:
    """A clock that goes on by 1 ms with each look."""

    def __init__(self) -> None:
        self.at_s = 0.0

    def now_s(self) -> float:
        return 1_700_000_000.0

    def monotonic_s(self) -> float:
        self.at_s += 0.001
        return self.at_s


def call(app, headers: list[tuple[bytes, bytes]] = [], closing: bool = False):  # noqa: B006 - never changed
    """One request through the envelope: the status, headers and body, and the counters."""
    counters = Counters(Ticks())
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    scope: Scope = {"type": "http", "headers": headers, "method": "GET", "path": "/"}
    asyncio.run(Envelope(app, counters, Ticks(), lambda: closing)(scope, receive, send))
    start = sent[0]
    body = b"".join(message.get("body", b"") for message in sent[1:])
    return start["status"], dict(start["headers"]), body, counters


async def fine(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


def test_a_fault_tells_nothing_and_is_logged_with_its_trace(capsys: pytest.CaptureFixture[str]) -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise ZeroDivisionError("/secret/path 0xdeadbeef")

    trace = b"00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"
    status, headers, body, counters = call(broken, [(b"x-request-id", b"r-7"), (b"traceparent", trace)])
    assert status == 500
    assert headers[b"x-request-id"] == b"r-7"
    assert json.loads(body)["code"] == "internal"
    assert b"secret" not in body
    assert b"Zero" not in body
    (line,) = capsys.readouterr().err.splitlines()
    logged = json.loads(line)
    assert (logged["error.type"], logged["http.request.id"]) == ("ZeroDivisionError", "r-7")
    assert logged["trace.id"] == "0123456789abcdef0123456789abcdef"
    assert "/secret/path" in logged["error.stack_trace"]
    assert next(iter(counters.families({}))).samples[0].labels["code"] == "internal"


def test_a_temporary_refusal_says_when_to_come_back(capsys: pytest.CaptureFixture[str]) -> None:
    async def busy(scope: Scope, receive: Receive, send: Send) -> None:
        raise TemporaryError("overloaded", "busy", retry_after_s=2.2)

    status, headers, _, _ = call(busy)
    assert (status, headers[b"retry-after"]) == (503, b"3")
    assert capsys.readouterr().err == ""


def test_an_error_after_the_answer_began_writes_no_second_head() -> None:
    async def breaks_off(scope: Scope, receive: Receive, send: Send) -> None:
        await fine(scope, receive, send)
        raise TemporaryError("draining", "too late")

    status, _, body, _ = call(breaks_off)
    assert (status, body) == (200, b"ok")


def test_a_closing_server_asks_for_a_new_connection() -> None:
    assert call(fine, closing=True)[1][b"connection"] == b"close"
    assert b"connection" not in call(fine)[1]


def test_revision_and_digest_are_on_every_prediction_even_a_refused_one() -> None:
    async def predicts(scope: Scope, receive: Receive, send: Send) -> None:
        context = contexts.of(scope)
        context.revision, context.digest = 4, "sha256:x"
        raise TemporaryError("overloaded", "busy")

    headers = call(predicts)[1]
    assert (headers[b"seaway-revision"], headers[b"seaway-digest"]) == (b"4", b"sha256:x")


@pytest.mark.parametrize("given", [b"", b"a b", b"x" * 129, b"\xff", b"a\r\nb", b"<script>"])
def test_a_request_id_that_is_no_token_is_replaced(given: bytes) -> None:
    found = call(fine, [(b"x-request-id", given)])[1][b"x-request-id"]
    assert found not in (b"", given)

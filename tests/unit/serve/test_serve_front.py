"""The front: faults become plain 500s, logged once, with nothing internal in the body; every answer is counted."""

from __future__ import annotations

import asyncio
import json

import pytest
from engine_fakes import Asked, revision
from front_server import Server
from starlette.types import Receive, Scope, Send

from seaway.core.errors import SeawayError, TemporaryError
from seaway.transport.exchange import Exchange

TRACE = b"00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"


def test_a_prediction_says_whose_it_is_and_is_counted() -> None:
    async def scenario() -> None:
        server = Server()
        status, headers, body = await server.ask("/predict/e", b"[1, 2]", headers=[(b"x-request-id", b"r-1")])
        assert (status, json.loads(body)) == (200, {"predictions": [2.0, 4.0]})
        assert headers["x-request-id"] == "r-1"
        assert headers["seaway-revision"] == "1"
        assert headers["seaway-digest"] == revision(1).digest
        assert server.counted() == {("predict", "e", "1", "200"): 1}
        assert server.plane.router.pick("e", Asked()).in_flight == 0

    asyncio.run(scenario())


def test_a_fault_tells_nothing_and_is_logged_with_its_trace(capsys: pytest.CaptureFixture[str]) -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise ZeroDivisionError("/secret/path 0xdeadbeef")

    async def scenario() -> None:
        server = Server(broken)
        given = [(b"x-request-id", b"r-7"), (b"traceparent", TRACE)]
        status, headers, body = await server.ask("/metrics", method="GET", headers=given)
        assert status == 500
        assert headers["x-request-id"] == "r-7"
        assert json.loads(body)["code"] == "internal"
        assert b"secret" not in body
        assert b"Zero" not in body
        assert server.counted() == {("other", "", "", "internal"): 1}

    asyncio.run(scenario())
    (line,) = capsys.readouterr().err.splitlines()
    logged = json.loads(line)
    assert (logged["error.type"], logged["http.request.id"]) == ("ZeroDivisionError", "r-7")
    assert logged["trace.id"] == "0123456789abcdef0123456789abcdef"
    assert "/secret/path" in logged["error.stack_trace"]


def test_a_temporary_refusal_says_when_to_come_back(capsys: pytest.CaptureFixture[str]) -> None:
    async def busy(scope: Scope, receive: Receive, send: Send) -> None:
        raise TemporaryError("overloaded", "busy", retry_after_s=2.2)

    status, headers, _ = asyncio.run(Server(busy).ask("/", method="GET"))
    assert (status, headers["retry-after"]) == (503, "3")
    assert capsys.readouterr().err == ""


def test_revision_and_digest_are_on_a_refused_prediction_too() -> None:
    status, headers, _ = asyncio.run(Server().ask("/predict/e", b'["x"]'))
    assert (status, headers["seaway-revision"], headers["seaway-digest"]) == (400, "1", revision(1).digest)


def test_a_bad_row_fails_its_own_request_only() -> None:
    async def scenario() -> None:
        server = Server()
        answers = await asyncio.gather(*(server.ask("/predict/e", b"[%d]" % n) for n in (1, -1, 2)))
        assert [status for status, _, _ in answers] == [200, 500, 200]
        assert [json.loads(body)["predictions"] for status, _, body in answers if status == 200] == [
            [2.0],
            [4.0],
        ]

    asyncio.run(scenario())


@pytest.mark.parametrize("given", [b"", b"a b", b"x" * 129, b"\xff", b"a\r\nb", b"<script>"])
def test_a_request_id_that_is_no_token_is_replaced(given: bytes) -> None:
    _, headers, _ = asyncio.run(Server().ask("/predict/e", b"[1]", headers=[(b"x-request-id", given)]))
    assert headers["x-request-id"].encode() not in (b"", given)


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/predict/e", 405, "POST, OPTIONS"),
        ("DELETE", "/v2/models/e/infer", 405, "POST, OPTIONS"),
        ("OPTIONS", "/v2/models/e/infer", 204, "POST, OPTIONS"),
        ("OPTIONS", "*", 204, "POST, OPTIONS"),
    ],
)
def test_methods(method: str, path: str, status: int, allow: str) -> None:
    found, headers, _ = asyncio.run(Server().ask(path, method=method))
    assert (found, headers["allow"]) == (status, allow)


@pytest.mark.parametrize(
    "header",
    [
        (b"content-type", b"application/x-pickle"),
        (b"content-type", b"application/vnd.bentoml+pickle"),
        (b"content-type", b"multipart/form-data; boundary=x"),
        (b"content-encoding", b"gzip"),
        (b"content-encoding", b"br"),
    ],
)
def test_r08_r10_media_that_no_door_takes_is_refused_by_its_head(header: tuple[bytes, bytes]) -> None:
    server = Server()
    exchange, _ = server.exchange("/predict/e", headers=[header])
    with pytest.raises(SeawayError) as refused:
        asyncio.run(_head(server, exchange))
    assert refused.value.code == "unsupported_media_type"


async def _head(server: Server, exchange: Exchange) -> int:
    return server.front.head(exchange)


INFER = b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":[1]}],"id":"%b"}'


@pytest.mark.parametrize(
    ("named", "header", "known_as"),
    [
        (b"order-17", None, "order-17"),
        (b"order-17", b"from-header", "from-header"),
        (b"order-17", b"two words", "order-17"),
        (b"no token", None, None),
        (b"", None, None),
        (b"\\u00e9", None, None),
        (b"a" * 129, None, None),
    ],
)
def test_the_id_of_a_protocol_request_is_its_request_id(
    named: bytes, header: bytes | None, known_as: str | None
) -> None:
    server = Server()
    headers = [] if header is None else [(b"x-request-id", header)]

    async def scenario() -> tuple[int, dict[str, str], bytes]:
        return await server.ask("/v2/models/e/infer", INFER % named, headers=headers)

    status, told, _ = asyncio.run(scenario())
    (kept,) = server.recorder.requests
    given = told["x-request-id"]
    assert (status, kept.request_id.decode()) == (200, given)
    assert given == known_as or (known_as is None and given.encode() != named)

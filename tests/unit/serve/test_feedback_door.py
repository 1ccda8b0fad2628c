"""POST /feedback on a worker: handed to a control process on a real Unix socket, or refused with what to do."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from front_server import Server
from starlette.requests import Request
from starlette.responses import Response

from seaway.core.errors import SeawayError, TemporaryError, UserError
from seaway.core.feedback import MAX_BODY_BYTES
from seaway.serve.feedback import MOST_WAITING_BYTES, FeedbackDoor, Forwarded
from seaway.wiring.control_exchange import ControlForward

OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\nx-other: 1\r\n\r\n{}"


def request(body: bytes, media: str | None = "application/json") -> Request:
    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": body, "more_body": False}

    exchange = SimpleNamespace(state=SimpleNamespace(request_id=b"me-1"))
    headers = [] if media is None else [(b"content-type", media.encode())]
    scope = {"type": "http", "method": "POST", "path": "/feedback", "headers": headers}
    return Request({**scope, "state": {"exchange": exchange}}, receive)


def post(
    socket: Path, answer: bytes | None, body: bytes = b"{}", media: str | None = None
) -> tuple[Response, bytes]:
    """What the door answers where the control process writes these bytes, and what it was sent; None: it never does."""
    got = bytearray()

    async def control(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            got.extend(head)
            length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
            got.extend(await reader.readexactly(length))
            if answer is None:
                await reader.read()  # until the other side gives up
            else:
                writer.write(answer)
        finally:
            writer.close()

    async def run() -> Response:
        server = await asyncio.start_unix_server(control, socket)
        async with server:
            forward = ControlForward(socket, timeout_s=0.3 if answer is None else 60.0)
            return await FeedbackDoor(forward, Counter()).post(request(body, media))

    return asyncio.run(run()), bytes(got)


def refusal(call: Callable[[], object]) -> SeawayError:
    with pytest.raises(SeawayError) as raised:
        call()
    return raised.value


def test_the_answer_of_the_control_process_is_handed_back(tmp_path: Path) -> None:
    response, got = post(tmp_path / "s", OK, b'{"a":1}')
    assert (response.status_code, response.body) == (200, b"{}")
    assert "x-other" not in response.headers
    assert got.startswith(b"POST /feedback HTTP/1.1\r\n")
    assert b"x-request-id: me-1\r\n" in got
    assert got.endswith(b'\r\n\r\n{"a":1}')


def test_a_large_body_goes_through(tmp_path: Path) -> None:
    body = b"x" * 8_000_000
    _, got = post(tmp_path / "s", OK, body)
    assert got.endswith(body)


def test_a_refusal_keeps_its_status_and_retry_after(tmp_path: Path) -> None:
    answer = (
        b"HTTP/1.1 503 X\r\nretry-after: 2\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
    )
    response, _ = post(tmp_path / "s", answer)
    assert (response.status_code, response.headers["retry-after"]) == (503, "2")


@pytest.mark.parametrize(
    "answer",
    [b"", OK[:-1], OK[:20], b"HTTP/1.1 200 OK\r\n\r\n", b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n", b"x" * 200_000, None],
    ids=["nothing", "cut body", "cut head", "no length", "no HTTP", "bad length", "endless head", "silence"],
)  # fmt: skip
def test_f05_without_a_whole_answer_the_client_may_send_again(tmp_path: Path, answer: bytes | None) -> None:
    error = refusal(lambda: post(tmp_path / "s", answer))
    assert isinstance(error, TemporaryError)
    assert error.code == "control_unavailable"


def test_f05_no_control_process(tmp_path: Path) -> None:
    door = FeedbackDoor(ControlForward(tmp_path / "nobody"), Counter())
    assert refusal(lambda: asyncio.run(door.post(request(b"{}")))).code == "control_unavailable"


def test_serve_alone_keeps_no_outcomes() -> None:
    error = refusal(lambda: asyncio.run(FeedbackDoor(None, Counter()).post(request(b"{}"))))
    assert error.code == "not_available"
    assert "seaway up" in (error.hint or "")


def test_r10_a_media_type_that_is_not_taken_goes_no_further() -> None:
    async def never(body: bytes, headers: object) -> Awaitable[None]:
        raise AssertionError("it was handed on")

    door = FeedbackDoor(never, Counter())  # type: ignore[arg-type]
    error = refusal(lambda: asyncio.run(door.post(request(b"x", "application/x-pickle"))))
    assert isinstance(error, UserError)
    assert error.code == "unsupported_media_type"


def test_a_compressed_body_goes_no_further() -> None:
    async def never(body: bytes, headers: object) -> Awaitable[None]:
        raise AssertionError("it was handed on")

    compressed = request(b"x")
    compressed.scope["headers"].append((b"content-encoding", b"gzip"))
    error = refusal(lambda: asyncio.run(FeedbackDoor(never, Counter()).post(compressed)))  # type: ignore[arg-type]
    assert (error.code, error.hint) == ("unsupported_media_type", "send the body as it is")


def test_r07_only_feedback_may_be_large() -> None:
    async def limits() -> list[int]:
        server = Server()
        return [server.front.head(server.exchange(path)[0]) for path in ("/feedback", "/feedback/", "/v2")]

    assert asyncio.run(limits()) == [MAX_BODY_BYTES, 65_536, 65_536]


def test_bodies_that_wait_for_a_slow_control_process_are_bounded() -> None:
    body = b"x" * (MOST_WAITING_BYTES // 2)

    async def run() -> None:
        gate = asyncio.Event()

        async def forward(body: bytes, headers: object) -> Forwarded:
            await gate.wait()
            return Forwarded(200, {}, b"{}")

        door = FeedbackDoor(forward, Counter())
        waiting = [asyncio.ensure_future(door.post(request(body))) for _ in range(2)]
        await asyncio.sleep(0)  # both have come to wait
        with pytest.raises(TemporaryError, match="more feedback waits"):
            await door.post(request(b"{}"))
        gate.set()
        assert [(await one).status_code for one in waiting] == [200, 200]
        assert (await door.post(request(body))).status_code == 200

    asyncio.run(run())

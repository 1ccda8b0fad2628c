"""A worker's way to the control process: one HTTP exchange over HOME/control.sock, on the event loop.

Every call has its own connection: that is far cheaper than what it asks for, and no connection can have died unseen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from seaway import sockets
from seaway.core.errors import TemporaryError
from seaway.serve.feedback import Forwarded

_FEEDBACK_S: Final = 60.0
_METRICS_S: Final = 1.0
_HEAD_BYTES: Final = 64 * 1024
# TimeoutError is an OSError.
_NO_ANSWER: Final = (OSError, EOFError, ValueError, LookupError, asyncio.LimitOverrunError)


class ControlForward:
    """`serve.feedback.Forward` over a Unix socket."""

    def __init__(self, socket: Path, timeout_s: float = _FEEDBACK_S) -> None:
        self._socket = socket
        self._timeout_s = timeout_s

    async def __call__(self, body: bytes, headers: Mapping[str, str]) -> Forwarded:
        """See the port."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return await _exchange(self._socket, "POST /feedback", headers, body)
        except _NO_ANSWER as error:
            raise TemporaryError(
                "control_unavailable",
                "the control process gave no answer",
                "send the same feedback again: what was taken already is not counted twice",
            ) from error


class ControlMetrics:
    """What the control process tells Prometheus, for a worker's /metrics."""

    def __init__(self, socket: Path, timeout_s: float = _METRICS_S) -> None:
        self._socket = socket
        self._timeout_s = timeout_s

    async def __call__(self) -> str:
        """Prometheus text, "" where there is no answer in time: a scrape waits no longer for it than for another worker."""
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await _exchange(self._socket, "GET /metrics", {}, b"")
            return answer.body.decode() if answer.status == 200 else ""
        except _NO_ANSWER:
            return ""


async def _exchange(socket: Path, what: str, headers: Mapping[str, str], body: bytes) -> Forwarded:
    with sockets.unix_address(socket) as address:
        reader, writer = await asyncio.open_unix_connection(address, limit=_HEAD_BYTES)
    try:
        lines = [f"{name}: {value}" for name, value in headers.items()]
        head = "\r\n".join(
            (
                f"{what} HTTP/1.1",
                "host: localhost",
                "connection: close",
                f"content-length: {len(body)}",
                *lines,
            )
        )
        writer.write(head.encode("latin-1") + b"\r\n\r\n" + body)
        # The answer may come before the body is sent: a refusal does not wait for it.
        return await _answer(reader)
    finally:
        writer.transport.abort()  # what was not sent by now is of no use


async def _answer(reader: asyncio.StreamReader) -> Forwarded:
    """One answer with a content-length, as uvicorn writes them. Raises `ValueError`, `EOFError`."""
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines if line)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    status = int(first.split(" ", 2)[1])
    return Forwarded(status, headers, await reader.readexactly(int(headers["content-length"])))

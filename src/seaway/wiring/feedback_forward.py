"""A worker's way to the control process for feedback: one HTTP exchange over HOME/control.sock, on the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from seaway import sockets
from seaway.core.errors import TemporaryError
from seaway.serve.feedback import Forwarded

_TIMEOUT_S: Final = 60.0
_HEAD_BYTES: Final = 64 * 1024


class ControlForward:
    """`serve.feedback.Forward` over a Unix socket. Every call has its own connection: it is far cheaper than the fsync
    that it waits for, and no connection can have died unseen."""

    def __init__(self, socket: Path, timeout_s: float = _TIMEOUT_S) -> None:
        self._socket = socket
        self._timeout_s = timeout_s

    async def __call__(self, body: bytes, headers: Mapping[str, str]) -> Forwarded:
        """See the port."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._exchange(body, headers)
        except (
            OSError,
            EOFError,
            ValueError,
            LookupError,
            asyncio.LimitOverrunError,
        ) as error:  # TimeoutError is an OSError
            raise TemporaryError(
                "control_unavailable",
                "the control process gave no answer",
                "send the same feedback again: what was taken already is not counted twice",
            ) from error

    async def _exchange(self, body: bytes, headers: Mapping[str, str]) -> Forwarded:
        with sockets.unix_address(self._socket) as address:
            reader, writer = await asyncio.open_unix_connection(address, limit=_HEAD_BYTES)
        try:
            lines = [f"{name}: {value}" for name, value in headers.items()]
            head = "\r\n".join(
                (
                    "POST /feedback HTTP/1.1",
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

"""One line asks, one line answers, over a Unix socket: how processes of one server talk (`wire.worker_admin`).

Used by control (`control.workers`) and by a worker that asks its siblings (`serve.admin`). The supervisor, which has no
event loop, asks in `control.answers`.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from seaway import sockets

_LINE_BYTES: Final = 64 * 1024 * 1024


class Unanswered(ConnectionError):
    """The other process took the line, or a part of it, and ended before it answered."""


async def ask(path: Path, line: bytes, timeout_s: float) -> bytes:
    """The answer to one line, without its end; `line` has none either.

    Raises `OSError` where nobody listens at `path`, also `TimeoutError` and `Unanswered`, and `ValueError` for an
    answer longer than any.
    """
    async with asyncio.timeout(timeout_s):
        with sockets.unix_address(path) as address:
            reader, writer = await asyncio.open_unix_connection(address, limit=_LINE_BYTES)
        try:
            writer.write(line + b"\n")
            await writer.drain()
            answer = await reader.readline()
        except ConnectionError as error:
            raise Unanswered(f"{path.name} closed the connection before its answer") from error
        finally:
            writer.close()
    if not answer.endswith(b"\n"):
        raise Unanswered(f"{path.name} closed the connection before its answer")
    return answer[:-1]

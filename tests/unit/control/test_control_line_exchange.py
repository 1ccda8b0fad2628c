"""One line and its answer over a Unix socket, and all that can come in between."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from seaway import line_exchange, sockets


@pytest.mark.parametrize("answer", [b"", b"half an answ"])
def test_a_process_that_ends_before_its_answer_is_told_from_one_that_is_not_there(
    tmp_path: Path, answer: bytes
) -> None:
    path = tmp_path / "w.sock"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(answer)
        writer.close()

    async def main() -> None:
        with pytest.raises(FileNotFoundError):
            await line_exchange.ask(path, b"{}", 60.0)
        async with await asyncio.start_unix_server(serve, sock=sockets.listen_unix(path)):
            with pytest.raises(line_exchange.Unanswered, match="closed the connection"):
                await line_exchange.ask(path, b"{}", 60.0)
        with pytest.raises(ConnectionRefusedError):
            await line_exchange.ask(path, b"{}", 60.0)

    asyncio.run(main())


def test_a_long_line_and_a_silent_process(tmp_path: Path) -> None:
    left = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = await reader.readline()
        if line.strip():
            writer.write(line.strip() * 2_000_000 + b"\n")
            await writer.drain()
        await reader.read()
        writer.close()
        await writer.wait_closed()
        left.set()

    async def main() -> None:
        path = tmp_path / "w.sock"
        async with await asyncio.start_unix_server(serve, sock=sockets.listen_unix(path)):
            assert await line_exchange.ask(path, b"x", 60.0) == b"x" * 2_000_000
            await left.wait()
            left.clear()
            while not left.is_set():  # on a slow machine the time is over before it is even asked
                with pytest.raises(TimeoutError):
                    await line_exchange.ask(path, b"", 0.01)
                await asyncio.sleep(0.01)

    asyncio.run(main())

"""A worker's /metrics with what the control process tells, and without it where that gives no answer in time."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from seaway.wiring.control_exchange import ControlMetrics

TEXT = b"# HELP a A.\n# TYPE a gauge\na 1\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(TEXT), TEXT)


def asked(socket: Path, answer: bytes | None) -> tuple[str, bytes]:
    """What is told where the control process writes these bytes, and what it was sent; None: it never answers."""
    got = bytearray()

    async def control(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            got.extend(await reader.readuntil(b"\r\n\r\n"))
            if answer is None:
                await reader.read()  # until the other side gives up
            else:
                writer.write(answer)
        finally:
            writer.close()

    async def run() -> str:
        async with await asyncio.start_unix_server(control, socket):
            return await ControlMetrics(socket, timeout_s=0.2 if answer is None else 60.0)()

    return asyncio.run(run()), bytes(got)


def test_the_text_of_the_control_process_is_taken_whole(tmp_path: Path) -> None:
    text, got = asked(tmp_path / "s", OK)
    assert text == TEXT.decode()
    assert got.startswith(b"GET /metrics HTTP/1.1\r\n")


@pytest.mark.parametrize(
    "answer",
    [OK.replace(b"200 OK", b"503 X"), OK[:-1], b"", b"garbage\r\n\r\n", None],
    ids=["refused", "cut", "nothing", "no HTTP", "silence"],
)
def test_f05_without_an_answer_nothing_of_it_is_told(tmp_path: Path, answer: bytes | None) -> None:
    assert asked(tmp_path / "s", answer)[0] == ""


def test_f05_no_control_process_is_no_fault(tmp_path: Path) -> None:
    assert asyncio.run(ControlMetrics(tmp_path / "nobody")()) == ""

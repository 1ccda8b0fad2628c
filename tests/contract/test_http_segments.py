"""The rows of `http_rows` on our transport without a socket: cut at every byte, the answers are the same."""

from __future__ import annotations

import asyncio

import pytest
from http_rows import ACCEPTED, REFUSED
from http_servers import PATIENT, EchoApplication, World

from seaway.transport.connection import HttpConnection
from seaway.transport.server import HttpServer

ROWS = REFUSED | {
    name: row.raw for name, row in ACCEPTED.items() if b"/slow" not in row.raw and b"/stream" not in row.raw
}


class Wire(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__({"peername": ("192.0.2.1", 1)})
        self.sent = b""
        self.ended = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.ended, "written after the end"
        self.sent += bytes(data)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended = True

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        self.ended = True


def _serve(server: HttpServer, segments: tuple[bytes, ...]) -> tuple[bytes, bool]:
    connection = HttpConnection(server)
    wire = Wire()
    connection.connection_made(wire)
    for segment in segments:
        connection.data_received(segment)
    connection.connection_lost(None)
    return wire.sent, wire.ended


@pytest.mark.parametrize("name", ROWS)
def test_a_row_cut_at_any_byte_gets_the_same_answers(name: str) -> None:
    async def test() -> None:
        server = HttpServer(EchoApplication(World()), PATIENT)
        raw = ROWS[name]
        whole = _serve(server, (raw,))
        assert whole[0].startswith(b"HTTP/1.1 400 " if name in REFUSED else b"HTTP/1.1 200 ")
        for place in range(1, len(raw)):
            assert _serve(server, (raw[:place], raw[place:])) == whole, f"cut at {place}"
        assert _serve(server, tuple(raw[n : n + 1] for n in range(len(raw)))) == whole

    asyncio.run(test())

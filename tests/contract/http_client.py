"""A client on a raw socket that reads answers strictly, for `test_http_conformance`."""

from __future__ import annotations

from typing import NamedTuple

from http_servers import Running


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class Client:
    """Reads answers strictly, and fails where a server writes something else."""

    def __init__(self, server: Running, receive_buffer: int | None = None) -> None:
        self.socket = server.connect(receive_buffer)
        self.socket.settimeout(server.patience_s)
        self._file = self.socket.makefile("rb")

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self.socket.close()

    def send(self, raw: bytes) -> None:
        self.socket.sendall(raw)

    def answer(self, method: str = "GET") -> Answer:
        line = self._file.readline()
        assert line.startswith(b"HTTP/1.1 ") and line.endswith(b"\r\n"), f"no status line: {line!r}"
        status = int(line.split(b" ")[1])
        headers: dict[str, str] = {}
        while (field := self._file.readline()) != b"\r\n":
            assert field.endswith(b"\r\n"), f"no header line: {field!r}"
            name, _, value = field.decode("latin-1").strip().partition(": ")
            assert name.lower() not in headers, f"two {name}"
            headers[name.lower()] = value
        if method == "HEAD" or status in (100, 204, 304):
            return Answer(status, headers, b"")
        if "transfer-encoding" in headers:
            assert "content-length" not in headers
            return Answer(status, headers, self._chunks())
        if "content-length" in headers:
            return Answer(status, headers, self._file.read(int(headers["content-length"])))
        return Answer(status, headers, self._file.read())

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self._file.readline(), 16):
            body += self._file.read(size)
            assert self._file.readline() == b"\r\n"
        assert self._file.readline() == b"\r\n"
        return body

    def assert_closed(self) -> None:
        try:
            rest = self._file.read(1)
        except ConnectionResetError:
            return
        assert rest == b"", f"after its last answer the server sent {rest!r}"

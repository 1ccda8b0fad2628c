"""Whether a process that the supervisor started serves by now; blocks for a moment at most."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from seaway import sockets
from seaway.wire import worker_admin

_ASK_S: Final = 0.5
_CONTROL_S: Final = 0.5
_reply = msgspec.json.Decoder(worker_admin.Reply)


def worker(run: Path, slot: int, pid: int) -> bool:
    """Whether this very process serves: a worker opens its control socket once it accepts requests."""
    try:
        with sockets.connect_unix(worker_admin.socket_path(run, slot), _ASK_S) as connection:
            connection.sendall(msgspec.json.encode(worker_admin.Observe()) + b"\n")
            with connection.makefile("rb") as lines:
                observed = _reply.decode(lines.readline()).observed
    except (OSError, msgspec.DecodeError):
        return False
    return observed is not None and observed.pid == pid


def control(path: Path, pid: int | None) -> bool:
    """Whether this very control process answers a request."""
    try:
        with sockets.connect_unix(path, _CONTROL_S) as connection:
            if sockets.peer_pid(connection) != pid:
                return False
            connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            return connection.recv(64).startswith(b"HTTP/1.1 200 ")
    except OSError:
        return False

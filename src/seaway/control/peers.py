"""Who is at the other end of a Unix socket, told by the kernel (SO_PEERCRED).

The control server listens on a `PeerSocket`. The event loop takes a connection's peer name from `accept` and
`getpeername`, and uvicorn shows it to the app as `scope["client"]`: so the user's number comes through public API
alone, as the host of the client's address.
"""

from __future__ import annotations

import pwd
import socket
import struct
from typing import Final

from seaway.control.auth import Principal, Role

_UCRED: Final = struct.Struct("3i")


class _PeerConnection(socket.socket):
    """An accepted connection whose peer's name is (user number, process number)."""

    def getpeername(self) -> tuple[str, int]:
        pid, uid, _ = _UCRED.unpack(self.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
        return str(uid), pid


class PeerSocket(socket.socket):
    """A listening Unix socket whose connections know who connected."""

    @classmethod
    def adopt(cls, listener: socket.socket) -> PeerSocket:
        """The same listening socket; `listener` is empty afterwards."""
        return cls(fileno=listener.detach())

    def accept(self) -> tuple[socket.socket, tuple[str, int]]:
        """As `socket.accept`; the address is (user number, process number)."""
        accepted, _ = super().accept()
        connection = _PeerConnection(fileno=accepted.detach())
        return connection, connection.getpeername()


def principal_of(uid: int, owner: int) -> Principal:
    """The user as a principal; the owner of this Seaway, and root, may do everything."""
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = f"uid {uid}"
    return Principal(name, Role.OWNER if uid in (owner, 0) else Role.STRANGER)

"""A worker's Unix sockets stay where control and supervisor look for them; `serve.admin` holds two of them.

A path can be deleted by a hand, or taken over by an older worker of the same slot that was still starting when this one
was started beside it. Unseen, such a worker would go on answering requests by its old table.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Final

from seaway import sockets

_ASK_S: Final = 0.5


class OwnPath:
    """One path that this process listens at."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._inode = -1

    def listen(self) -> socket.socket:
        """Listen there, in place of whoever did. Raises `OSError`."""
        listener = sockets.listen_unix(self._path)
        self._inode = self._path.stat().st_ino
        return listener

    def lost(self) -> bool:
        """Whether nobody listens there now, or only an older process. Blocks for a moment where it is another's."""
        try:
            if self._path.stat().st_ino == self._inode:
                return False
            with sockets.connect_unix(self._path, _ASK_S) as connection:
                owner = sockets.peer_pid(connection)
            return _started(owner) < _started(os.getpid())
        except (FileNotFoundError, ConnectionRefusedError):
            return True
        except (OSError, ValueError, IndexError):
            return False  # it cannot be told now


def _started(pid: int) -> int:
    """When a process began, in ticks since the machine did: field 22 of stat(5), counted behind the command's name."""
    return int((Path("/proc") / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()[19])

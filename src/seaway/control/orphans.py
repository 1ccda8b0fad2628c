"""Workers that outlived their supervisor: finds them, and takes over the sockets they listen on.

Used by the supervisor when it starts. A worker is known by its own command line (module, run directory and slot as
the supervisor wrote them), so none is missed that was started in the last moment of the old supervisor.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import struct
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from seaway import sockets

WORKER_MODULE: Final = "seaway.wiring.worker"
_UCRED: Final = struct.Struct("3i")
_ASK_S: Final = 2.0
_STARTING_S: Final = 15.0
_POLL_S: Final = 0.05


class Orphan(msgspec.Struct, frozen=True):
    """A worker of an earlier supervisor; `pidfd` means this very process for ever, and is owned by the orphan."""

    pid: int
    slot: int
    pidfd: int

    @property
    def alive(self) -> bool:
        return not select.select([self.pidfd], [], [], 0)[0]

    def send(self, number: signal.Signals) -> None:
        """Signal it; one that is gone is fine."""
        try:
            signal.pidfd_send_signal(self.pidfd, number)
        except ProcessLookupError:
            pass


def find(run: Path) -> list[Orphan]:
    """All workers of this run directory that this user owns; the caller has started none yet."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if entry.stat().st_uid != os.geteuid():
                continue
            pidfd = os.pidfd_open(int(entry.name))
        except OSError:
            continue  # it ended meanwhile
        slot = _slot(entry, run)
        if slot is None:
            os.close(pidfd)
        else:
            found.append(Orphan(int(entry.name), slot, pidfd))
    return sorted(found, key=lambda orphan: (orphan.slot, orphan.pid))


def _slot(process: Path, run: Path) -> int | None:
    try:
        words = (process / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
        if words[1:3] == ["-m", WORKER_MODULE] and words[words.index("--run") + 1] == str(run):
            return int(words[words.index("--slot") + 1])
    except (OSError, ValueError, IndexError):
        pass  # it ended meanwhile, or is no worker
    return None


def take_sockets(run: Path, orphans: Iterable[Orphan]) -> list[socket.socket]:
    """The listening sockets of the orphans, in the order of their slots.

    An orphan that still starts is given some seconds to open its door; one that never does is killed, since it would
    hold the port without answering. A draining one has closed its socket and is left to end. Blocks.
    """
    taken = []
    for orphan in orphans:
        deadline = time.monotonic() + _STARTING_S
        while orphan.alive:
            listener = _take(run / f"worker-{orphan.slot}.fd", orphan.pid)
            if listener is not None:
                taken.append(listener)
                break
            if _is_draining(run, orphan):
                break
            if time.monotonic() > deadline:
                orphan.send(signal.SIGKILL)
                break
            time.sleep(_POLL_S)
    return taken


def _take(path: Path, pid: int) -> socket.socket | None:
    try:
        with sockets.connect_unix(path, _ASK_S) as connection:
            credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
            if _UCRED.unpack(credentials)[0] != pid:
                return None
            _, descriptors, _, _ = socket.recv_fds(connection, 16, 1)
    except OSError:
        return None
    if not descriptors:
        return None
    listener = socket.socket(fileno=descriptors[0])
    listener.setblocking(False)
    return listener


def _is_draining(run: Path, orphan: Orphan) -> bool:
    """Whether it answers control but no longer hands its socket over."""
    try:
        with sockets.connect_unix(run / f"worker-{orphan.slot}.sock", _ASK_S) as connection:
            credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
            return bool(_UCRED.unpack(credentials)[0] == orphan.pid)
    except OSError:
        return False

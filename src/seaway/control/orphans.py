"""Workers that outlived their supervisor: finds them, and takes over the sockets they listen on.

Used by the supervisor when it starts. A worker is known by its own command line (module, run directory and slot as
the supervisor wrote them), so none is missed that was started in the last moment of the old supervisor.
"""

from __future__ import annotations

import itertools
import os
import select
import signal
import socket
import time
from collections.abc import Iterable, Sequence, Set
from pathlib import Path
from typing import Final

import msgspec

from seaway import sockets
from seaway.wire import worker_admin

WORKER_MODULE: Final = "seaway.wiring.worker"
_ASK_S: Final = 2.0
_STARTING_S: Final = 15.0
_POLL_S: Final = 0.05


class Orphan(msgspec.Struct, frozen=True):
    """A worker of an earlier supervisor; `pidfd` means this very process for ever, and is owned by the orphan."""

    pid: int
    slot: int
    pidfd: int
    grpc: str | None = None
    """The address of its gRPC door."""

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        poller = select.poll()
        poller.register(self.pidfd, select.POLLIN)
        return not poller.poll(0)

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
        words = _words(entry, run)
        slot = _value(words, "--slot")
        if slot is None or not slot.isdigit():
            os.close(pidfd)
        else:
            found.append(Orphan(int(entry.name), int(slot), pidfd, _value(words, "--grpc")))
    return sorted(found, key=lambda orphan: (orphan.slot, orphan.pid))


def _words(process: Path, run: Path) -> Sequence[str]:
    """The command line of a worker of this run directory; nothing for any other process, or one that has ended."""
    try:
        words = (process / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
    except OSError:
        return ()
    return words if words[1:3] == ["-m", WORKER_MODULE] and _value(words, "--run") == str(run) else ()


def _value(words: Sequence[str], option: str) -> str | None:
    """What follows an option in a command line."""
    return next((value for word, value in itertools.pairwise(words) if word == option), None)


def grpc_ports(orphans: Iterable[Orphan]) -> Set[int]:
    """The ports that orphans share with whoever comes after them."""
    return {sockets.parse_address(orphan.grpc)[1] for orphan in orphans if orphan.grpc and orphan.alive}


def take_sockets(run: Path, orphans: Iterable[Orphan]) -> list[socket.socket]:
    """The listening sockets of the orphans, each once, in the order of their slots.

    Where a slot has several orphans (a supervisor died while it took over), they share one socket. A slot that still
    starts is given some seconds to open its door; workers that never do are killed, since they would hold the port
    without answering. A draining one has closed its socket and is left to end. Blocks.
    """
    slots: dict[int, list[Orphan]] = {}
    for orphan in orphans:
        slots.setdefault(orphan.slot, []).append(orphan)
    taken: dict[int, socket.socket] = {}
    for slot, holders in sorted(slots.items()):
        listener = _take_slot(run, slot, holders)
        if listener is not None:
            inode = os.fstat(listener.fileno()).st_ino
            if inode in taken:
                listener.close()
            else:
                taken[inode] = listener
    return list(taken.values())


def _take_slot(run: Path, slot: int, holders: Sequence[Orphan]) -> socket.socket | None:
    deadline = time.monotonic() + _STARTING_S
    while alive := [orphan for orphan in holders if orphan.alive]:
        pids = {orphan.pid for orphan in alive}
        listener = _take(worker_admin.door_path(run, slot), pids)
        if listener is not None or _peer(worker_admin.socket_path(run, slot)) in pids:
            return listener
        if time.monotonic() > deadline:
            for orphan in alive:
                orphan.send(signal.SIGKILL)
            break
        time.sleep(_POLL_S)
    return None


def _take(path: Path, pids: Set[int]) -> socket.socket | None:
    """The socket that one of these processes hands out at `path`."""
    try:
        with sockets.connect_unix(path, _ASK_S) as connection:
            if sockets.peer_pid(connection) not in pids:
                return None
            _, descriptors, _, _ = socket.recv_fds(connection, 16, 1)
    except OSError:
        return None
    if not descriptors:
        return None
    listener = socket.socket(fileno=descriptors[0])
    listener.setblocking(False)
    return listener


def _peer(path: Path) -> int | None:
    """Who listens at `path`; a worker that listens for control but hands out no socket is draining."""
    try:
        with sockets.connect_unix(path, _ASK_S) as connection:
            return sockets.peer_pid(connection)
    except OSError:
        return None


def addresses(host: str) -> frozenset[str]:
    """What `host` means, as listening sockets say it; empty where the name is not known. Blocks for names."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        found = socket.getaddrinfo(host, None, family, socket.SOCK_STREAM)
    except OSError:
        return frozenset()
    return frozenset(str(address[0]) for *_, address in found)

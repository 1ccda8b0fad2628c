"""Listening sockets and addresses: made here once, so that every process binds and refuses in the same way."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

from seaway.core.errors import UserError

_UNIX_PATH_MAX = 100
_UCRED = struct.Struct("3i")


def parse_address(text: str) -> tuple[str, int]:
    """`HOST:PORT`, with an IPv6 host in brackets. Raises `UserError("invalid_config")`."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise UserError("invalid_config", f"{text!r} is not HOST:PORT", "such as 127.0.0.1:8080")
    return host, int(port)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`; a name other than localhost counts as open."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def refuse_open_bind(host: str, *, allow_open: bool) -> None:
    """Raises `UserError("open_bind_refused")` for an address beyond loopback unless it is allowed."""
    if not allow_open and not is_loopback(host):
        raise UserError(
            "open_bind_refused",
            f"{host} can be reached from other machines, and nothing protects it yet",
            "bind 127.0.0.1, or add --allow-open if a proxy in front checks who calls",
        )


def listen_tcp(host: str, port: int, count: int = 1) -> list[socket.socket]:
    """`count` listening sockets on one address, shared by SO_REUSEPORT; port 0 picks a free one.

    A first bind without SO_REUSEPORT finds out whether another program has the port: the kernel would let two
    programs of one user share it, each getting a part of the requests. One that the kernel picks nobody has.
    Raises `UserError("address_in_use")`.
    """
    if port or count == 0:
        _probe(host, port)
    sockets: list[socket.socket] = []
    for _ in range(count):
        listener = _bind_shared(host, port)
        port = listener.getsockname()[1]
        listener.listen(2048)
        listener.setblocking(False)
        sockets.append(listener)
    return sockets


def reserve_tcp(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A socket that is bound with SO_REUSEPORT and never listens: it keeps the port for others of this user's processes.

    The kernel gives it no connection. Port 0 picks a free one. `shared` says that the port is known to be ours already.
    Raises `UserError("address_in_use")`.
    """
    if port and not shared:
        _probe(host, port)
    # Without SO_REUSEADDR: two that have it and do not listen may bind one port, and the second would not notice.
    return _bind_shared(host, port, 0)


def _probe(host: str, port: int) -> None:
    """Raises `UserError("address_in_use")` where another program has the port."""
    with socket.socket(_family(host), socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _bind(probe, host, port)


def _bind_shared(host: str, port: int, reuse_address: int = 1) -> socket.socket:
    """Port 0 is one that no program has, not even with SO_REUSEPORT: that holds for a port named by its number alone."""
    bound = socket.socket(_family(host), socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse_address)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        _bind(bound, host, port)
    except UserError:
        bound.close()
        raise
    return bound


def _bind(chosen: socket.socket, host: str, port: int) -> None:
    try:
        chosen.bind((host, port))
    except OSError as error:
        raise UserError(
            "address_in_use",
            f"cannot bind {host}:{port}: {error.strerror}",
            "stop what listens there or choose another port",
        ) from error


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


@contextlib.contextmanager
def unix_address(path: Path) -> Iterator[str]:
    """A name for the Unix socket at `path` that fits the kernel's 108 bytes, valid inside the `with` block."""
    if len(os.fsencode(path)) < _UNIX_PATH_MAX:
        yield str(path)
        return
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


def listen_unix(path: Path) -> socket.socket:
    """A listening Unix socket of mode 0600 at `path`, in place of whatever stale socket was there."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with unix_address(path) as address:
        old = os.umask(0o177)
        try:
            listener.bind(address)
        finally:
            os.umask(old)
    listener.listen(128)
    listener.setblocking(False)
    return listener


def connect_unix(path: Path, timeout_s: float | None = None) -> socket.socket:
    """A blocking connection to the Unix socket at `path`; raises `OSError` when nobody listens."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(timeout_s)
    try:
        with unix_address(path) as address:
            connection.connect(address)
    except OSError:
        connection.close()
        raise
    return connection


def peer_pid(connection: socket.socket) -> int:
    """The process at the other end of a Unix connection: for one that was connected, the process that listened."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    return int(_UCRED.unpack(credentials)[0])

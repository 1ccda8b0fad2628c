"""Ports for tests that must know one before a server listens on it, and that nobody else is given meanwhile."""

from __future__ import annotations

import socket


def free_port() -> int:
    """A port on loopback that nobody listens on."""
    return keep_port(0)


def keep_port(port: int) -> int:
    """Keep a port on loopback for as long as this process lives, and return it; 0 picks a free one.

    A socket that never listens keeps it from all who let the kernel choose; who binds it by its number, with SO_REUSEADDR or
    SO_REUSEPORT as servers do, gets it all the same, and connections to it are refused while nobody listens.
    """
    keeper = socket.socket()
    keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    keeper.bind(("127.0.0.1", port))
    found: int = keeper.getsockname()[1]
    keeper.detach()  # open until the process ends
    return found

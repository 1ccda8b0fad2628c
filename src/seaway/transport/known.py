"""Heads that were read before: most clients repeat theirs byte for byte, and what was found out of one stays true.

Used by `connection` alone. A head comes in here only after llhttp and `heads` have accepted those very bytes, so
nothing is let through that they would refuse.
"""

from __future__ import annotations

from typing import Final

from seaway.transport.exchange import Exchange

_MOST: Final = 1024
_MOST_BYTES: Final = 1024


class KnownHead:
    """One head of a request whose body, of `body_bytes`, has a Content-Length or is empty, and that keeps the connection."""

    __slots__ = ("body_bytes", "headers", "memo", "method", "path", "query", "target")

    def __init__(self, exchange: Exchange, body_bytes: int) -> None:
        self.method = exchange.method
        self.target = exchange.target
        self.path = exchange.path
        self.query = exchange.query
        self.headers = exchange.headers
        self.memo = exchange.memo
        self.body_bytes = body_bytes


class KnownHeads:
    """The heads of one server, by their bytes; forgets all when it is full, which a flood of unique heads does often."""

    __slots__ = ("_heads", "find")

    def __init__(self) -> None:
        self._heads: dict[bytes, KnownHead] = {}
        self.find = self._heads.get

    def remember(self, head: bytes, exchange: Exchange, body_bytes: int) -> None:
        """Keep what was read of `head`, which ends with its empty line."""
        if len(head) > _MOST_BYTES:
            return
        if len(self._heads) >= _MOST:
            self._heads.clear()
        self._heads[head] = KnownHead(exchange, body_bytes)

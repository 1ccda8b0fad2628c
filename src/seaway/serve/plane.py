"""The data plane of one worker: what its doors share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec

from seaway.core.ports import Clock
from seaway.engine.router import Router
from seaway.serve.counters import Counters


class DataPlane(msgspec.Struct):
    """Built by the worker, read by every door. `draining` is set once, when the worker is told to stop."""

    router: Router
    counters: Counters
    clock: Clock
    metrics: Callable[[], Awaitable[str]]
    """Prometheus text of all workers."""
    version: str
    """Seaway's own version, for those who ask."""
    draining: bool = False


class GrpcDoor(Protocol):
    """The gRPC server as the worker sees it: its library is imported only where it is asked for."""

    async def start(self, address: str) -> int:
        """Listen at HOST:PORT; returns the port."""

    async def drain(self, seconds: float) -> None:
        """Take no more calls, and wait so long for those that run."""

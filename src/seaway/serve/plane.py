"""The data plane of one worker: what its doors share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

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

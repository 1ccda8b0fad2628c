"""The erasure of a home put together, for the one process that holds HOME/lock: the control process, or a verb without a server."""

from __future__ import annotations

import functools

from seaway.control.deployments import Deployments
from seaway.control.erasing import Erasing
from seaway.control.feedback import Feedback
from seaway.core.ports import StateStore
from seaway.wiring import capture_keeping
from seaway.wiring.home import Home


def open_erasing(home: Home, store: StateStore, deployments: Deployments, feedback: Feedback) -> Erasing:
    """Opens nothing yet; captured requests are rewritten in a process of their own."""
    captured = functools.partial(capture_keeping.erase, home.paths.records)
    return Erasing(captured, feedback, deployments, store, home.paths.records, home.paths.log, home.clock)

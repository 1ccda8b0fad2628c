"""RUN/isolated.json: the models that run in a process of their own, since they ran when a worker ended.

The supervisor writes it (`control.isolation`) before the next worker starts; workers read it when they start and when
the supervisor says that it changed (SIGUSR1).
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from seaway.core.bundles import Digest

FILE: Final = "isolated.json"


class Isolated(msgspec.Struct, frozen=True):
    """One model: how many workers ended while it ran, and when the last one did (seconds since 1970-01-01 UTC).

    `alone` counts those in which nothing else ran: it ended them for certain. Else it is a suspect among others.
    """

    crashes: int
    last_at_s: float
    alone: int = 0


class IsolationList(msgspec.Struct, frozen=True):
    """All of them by digest."""

    models: dict[Digest, Isolated] = {}


def read(path: Path) -> IsolationList:
    """The list at `path`; an empty one where there is none or it cannot be read: a model is then found guilty anew."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=IsolationList)
    except (OSError, msgspec.DecodeError):
        return IsolationList()

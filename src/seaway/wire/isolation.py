"""RUN/isolated.json: the models that run in a process of their own, since they ended a worker before.

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
    """One model: how many workers it ended, and when it last did (seconds since 1970-01-01 UTC)."""

    crashes: int
    last_at_s: float


class IsolationList(msgspec.Struct, frozen=True):
    """All of them by digest."""

    models: dict[Digest, Isolated] = {}


def read(path: Path) -> IsolationList:
    """The list at `path`; an empty one where there is none or it cannot be read: a model is then found guilty anew."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=IsolationList)
    except (OSError, msgspec.DecodeError):
        return IsolationList()

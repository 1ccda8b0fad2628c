"""The supervisor's list of the models that no shared worker may run again."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import msgspec

from seaway.core.bundles import Digest
from seaway.wire import isolation
from seaway.wire.isolation import Isolated, IsolationList


class Isolation:
    """The list, in memory and on disk."""

    def __init__(self, run: Path) -> None:
        self._path = run / isolation.FILE
        self._models = dict(isolation.read(self._path).models)
        self.unwritten = False
        """Whether the list on disk is older than the one in memory."""

    def add(self, suspects: Collection[Digest], now_s: float) -> None:
        """Count one more end of a worker against all that ran in it then; `write` is to follow."""
        for digest in suspects:
            known = self._models.get(digest, Isolated(0, now_s))
            alone = known.alone + (len(suspects) == 1)
            self._models[digest] = Isolated(known.crashes + 1, now_s, alone)
        self.unwritten = True

    def write(self) -> None:
        """Write the list, whole or not at all. Raises `OSError` where that cannot be done; it may be tried again."""
        part = self._path.with_suffix(".part")
        part.write_bytes(msgspec.json.encode(IsolationList(self._models)))
        part.replace(self._path)
        self.unwritten = False

"""The supervisor's list of the models that no shared worker may run again."""

from __future__ import annotations

from collections.abc import Collection, Set
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

    def add(
        self, ran: Collection[Digest], now_s: float, on_trial: Set[Digest] = frozenset()
    ) -> Collection[Digest]:
        """Count one more end of a worker against those of all that ran in it then whom it may be of; `write` is to follow.

        Where a rollout's candidate ran in the shared worker, it is of the candidates: what has served for long stays where it is,
        and its endpoint answers on, until a worker ends without them. A candidate that is listed may end other workers in which it
        is not apart yet; one that starts has it apart. Returns those who are suspected.
        """
        suspects = [digest for digest in ran if digest in on_trial] or ran
        for digest in suspects:
            known = self._models.get(digest, Isolated(0, now_s))
            alone = known.alone + (len(ran) == 1)
            self._models[digest] = Isolated(known.crashes + 1, now_s, alone)
        self.unwritten = True
        return suspects

    def write(self) -> None:
        """Write the list, whole or not at all. Raises `OSError` where that cannot be done; it may be tried again."""
        part = self._path.with_suffix(".part")
        part.write_bytes(msgspec.json.encode(IsolationList(self._models)))
        part.replace(self._path)
        self.unwritten = False

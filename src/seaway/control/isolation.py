"""Who is to blame for a worker's end, and the supervisor's list of the models that no shared worker may run again."""

from __future__ import annotations

import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from seaway.core.bundles import Digest
from seaway.wire import isolation
from seaway.wire.isolation import Isolated, IsolationList

# What a process does to itself. SIGKILL is not among them: it comes from outside, be it an operator or the kernel
# that is out of memory, which takes the largest process and not the guilty one. So it blames nobody.
_OWN_FAULTS: Final = frozenset(
    {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGTRAP}
)


def is_own_fault(code: int) -> bool:
    """Whether a worker that was not told to stop ended by what it ran.

    `code` is as `subprocess` has it. An exit code counts: a library that calls exit() ends the process like one that
    crashes.
    """
    return code >= 0 or -code in _OWN_FAULTS


class Isolation:
    """The list, in memory and on disk."""

    def __init__(self, run: Path) -> None:
        self._path = run / isolation.FILE
        self._models = dict(isolation.read(self._path).models)
        self.unwritten = False
        """Whether the list on disk is older than the one in memory."""

    def add(self, digests: Iterable[Digest], now_s: float) -> None:
        """Count one more end of a worker against each; `write` is to follow."""
        for digest in digests:
            known = self._models.get(digest)
            self._models[digest] = Isolated(1 if known is None else known.crashes + 1, now_s)
        self.unwritten = True

    def write(self) -> None:
        """Write the list, whole or not at all. Raises `OSError` where that cannot be done; it may be tried again."""
        part = self._path.with_suffix(".part")
        part.write_bytes(msgspec.json.encode(IsolationList(self._models)))
        part.replace(self._path)
        self.unwritten = False

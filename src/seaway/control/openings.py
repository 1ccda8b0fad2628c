"""Opens the bundles that a snapshot needs, and remembers them as long as what it remembers is true.

Used by `control.effects` alone. Opening checks every byte of a bundle, which takes seconds for a large one, so it is
not done for each look of the loop.
"""

from __future__ import annotations

from collections.abc import Set
from pathlib import Path

import msgspec

from seaway.control.deployments import Bundles
from seaway.core.bundles import Manifest, ModelRef, OpenedBundle
from seaway.core.deployments import Revision
from seaway.core.errors import SeawayError
from seaway.core.observed import Broken, pause_s
from seaway.core.ports import Clock

Key = tuple[str, int]
"""An endpoint and the number of its revision."""


class _Fault(msgspec.Struct, frozen=True):
    """An opening that failed: how often in a row, and when it may be tried again (seconds of the clock's own)."""

    broken: Broken
    failures: int
    due_s: float


class Openings:
    """The opened bundles of one home; `find` is called by one thread at a time, the others by any."""

    def __init__(self, bundles: Bundles, clock: Clock) -> None:
        self._bundles = bundles
        self._clock = clock
        self._found: dict[Key, OpenedBundle] = {}
        self._faults: dict[Key, _Fault] = {}

    def find(self, revision: Revision) -> str | Broken:
        """The directory of a revision's bundle, opened anew where it is gone; a fault stands for a growing pause."""
        key = revision.endpoint, revision.number
        found = self._found.get(key)
        if found is not None and Path(found.directory).is_dir():
            return found.directory
        fault = self._faults.get(key)
        now_s = self._clock.monotonic_s()
        if fault is not None and now_s < fault.due_s:
            return fault.broken
        try:
            ref = ModelRef(name=ModelRef.parse(revision.ref).name, digest=revision.digest)
            opened = self._bundles.open(self._bundles.resolve(ref))
        except SeawayError as error:
            failures = 1 if fault is None else fault.failures + 1
            broken = Broken(error.code, f"{error.message} ({error.code})")
            self._faults[key] = _Fault(broken, failures, now_s + pause_s(failures))
            return broken
        self._faults.pop(key, None)
        self._found[key] = opened
        return opened.directory

    def manifest(self, key: Key) -> Manifest | None:
        """What a bundle that is open says of its model."""
        found = self._found.get(key)
        return None if found is None else found.manifest

    def forget(self, key: Key) -> None:
        """Have a bundle opened, and with it checked, once more: a worker could not load it."""
        self._found.pop(key, None)

    def keep(self, keys: Set[Key]) -> None:
        """Drop what is known of all others."""
        self._found = {key: found for key, found in self._found.items() if key in keys}
        self._faults = {key: fault for key, fault in self._faults.items() if key in keys}

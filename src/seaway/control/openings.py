"""Opens the bundles that a snapshot needs, beside the control loop, and remembers them as long as what it remembers is true.

Used by `control.effects` alone. Opening checks every byte of a bundle, which takes minutes for a very large one: the
loop is told that it is being opened, and goes on with the other endpoints.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import msgspec

from seaway.control.deployments import Bundles
from seaway.core.bundles import Manifest, ModelRef, OpenedBundle
from seaway.core.deployments import Revision
from seaway.core.errors import SeawayError
from seaway.core.observed import Broken, Opening, pause_s
from seaway.core.ports import Clock

MOST: Final = 2
"""Bundles that are opened at a time: more would only share the disk."""
MOST_WITH_ABANDONED: Final = 4
"""Those among them whose revision nobody wants any more, which cannot be stopped."""
_log = logging.getLogger(__name__)

Key = tuple[str, int]
"""An endpoint and the number of its revision."""


class _Fault(msgspec.Struct, frozen=True):
    """An opening that failed: how often in a row, and when it may be tried again (seconds of the clock's own)."""

    broken: Broken
    failures: int
    due_s: float


class Openings:
    """The opened bundles of one home, each once for all revisions that have it. Any thread; nothing here waits for one.

    The threads that open are daemons: a process that ends does not wait for them, and the store is safe against kills.
    """

    def __init__(self, bundles: Bundles, clock: Clock, done: Callable[[], None]) -> None:
        """`done` is called on the thread of each opening that ends."""
        self._bundles = bundles
        self._clock = clock
        self._done = done
        self._lock = threading.Lock()  # held for a few instructions
        self._wanted: dict[Key, ModelRef] = {}
        self._kept: set[ModelRef] = set()
        """The same without their keys."""
        self._found: dict[ModelRef, OpenedBundle] = {}
        self._faults: dict[ModelRef, _Fault] = {}
        self._waiting: dict[ModelRef, bool] = {}
        """In the order in which they came, each with whether others go first."""
        self._running: set[ModelRef] = set()

    def find(self, revision: Revision, *, last: bool = False) -> str | Broken | Opening:
        """The directory of a revision's bundle; where it is not there (any more) it is opened, and a fault stands for a
        growing pause. One that is opened `last` lets all others go first: nobody waits for it."""
        bundle = _bundle(revision)
        with self._lock:
            self._wanted[revision.endpoint, revision.number] = bundle
            self._kept.add(bundle)
            found = None if bundle in self._running else self._found.get(bundle)
        if found is not None and Path(found.directory).is_dir():
            return found.directory
        with self._lock:
            newer = None if bundle in self._running else self._found.get(bundle)
            if newer is not None and newer is not found:
                return newer.directory  # it was opened in this moment
            fault = self._faults.get(bundle)
            if fault is not None and self._clock.monotonic_s() < fault.due_s:
                return fault.broken
            if bundle not in self._running:
                self._waiting[bundle] = last and self._waiting.get(bundle, True)
                self._begin()
        return Opening(revision.ref)

    def manifest(self, key: Key) -> Manifest | None:
        """What a bundle that is open says of its model."""
        with self._lock:
            bundle = self._wanted.get(key)
            found = None if bundle is None else self._found.get(bundle)
        return None if found is None else found.manifest

    def forget(self, key: Key) -> None:
        """Have a bundle opened, and with it checked, once more: a worker could not load it."""
        with self._lock:
            bundle = self._wanted.get(key)
            if bundle is not None:
                self._found.pop(bundle, None)

    def keep(self, revisions: Iterable[Revision]) -> None:
        """Drop what is known of all others. Those that wait are not opened; those that run are no longer waited for."""
        wanted = {(revision.endpoint, revision.number): _bundle(revision) for revision in revisions}
        with self._lock:
            self._wanted, self._kept = wanted, set(wanted.values())
            self._found = {b: found for b, found in self._found.items() if b in self._kept}
            self._faults = {b: fault for b, fault in self._faults.items() if b in self._kept}
            self._waiting = {b: last for b, last in self._waiting.items() if b in self._kept}
            self._begin()

    def _begin(self) -> None:
        """Open as many of those that wait as may be; with the lock held."""
        while (
            self._waiting
            and len(self._running & self._kept) < MOST
            and len(self._running) < MOST_WITH_ABANDONED
        ):
            bundle = min(
                self._waiting, key=lambda one: self._waiting[one]
            )  # of equals the one that came first
            del self._waiting[bundle]
            opening = threading.Thread(target=self._open, args=(bundle,), name="seaway-opening", daemon=True)
            try:
                opening.start()
            except RuntimeError:  # too many threads: it is asked for again with the next look
                return
            self._running.add(bundle)

    def _open(self, bundle: ModelRef) -> None:
        """On a thread of its own."""
        opened: OpenedBundle | Broken
        try:
            opened = self._bundles.open(self._bundles.resolve(bundle))
        except SeawayError as error:
            opened = Broken(error.code, f"{error.message} ({error.code})")
        except Exception as error:  # noqa: BLE001 - the thread's edge: else its endpoint would wait for ever
            _log.exception("%s cannot be opened", bundle)
            opened = Broken("internal", f"{bundle} cannot be opened: {type(error).__name__} (internal)")
        with self._lock:
            self._running.discard(bundle)
            if isinstance(opened, Broken):
                known = self._faults.get(bundle)
                failures = 1 if known is None else known.failures + 1
                due_s = self._clock.monotonic_s() + pause_s(failures)
                self._faults[bundle] = _Fault(opened, failures, due_s)
            else:
                self._faults.pop(bundle, None)
                self._found[bundle] = opened
            self._begin()
        self._done()


def _bundle(revision: Revision) -> ModelRef:
    return ModelRef(name=ModelRef.parse(revision.ref).name, digest=revision.digest)

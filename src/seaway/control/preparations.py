"""What became of each attempt to load a revision into a worker: which run, which failed and how often, which killed.

Kept by `control.effects`; `core.reconciliation` decides with it. On the event loop's thread only.
"""

from __future__ import annotations

from collections.abc import Set
from typing import NamedTuple

from seaway.core.bundles import Digest
from seaway.core.observed import LoadFailure
from seaway.core.ports import Clock


class Preparation(NamedTuple):
    """One revision on its way into one worker."""

    pid: int
    slot: int
    endpoint: str
    number: int
    digest: Digest


class _Failure(NamedTuple):
    code: str
    reason: str
    failures: int
    since_s: float


class Preparations:
    """The loads of one set of workers."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failures: dict[Preparation, _Failure] = {}
        self.running: set[Preparation] = set()
        self.deaths: dict[tuple[str, int], int] = {}
        """By endpoint and revision number: workers that ended while they prepared it."""

    def failed(self, one: Preparation, code: str, reason: str) -> None:
        """An attempt has failed."""
        known = self._failures.get(one)
        failures = 1 if known is None else known.failures + 1
        self._failures[one] = _Failure(code, reason, failures, self._clock.monotonic_s())

    def succeeded(self, one: Preparation) -> None:
        """An attempt has ended well."""
        self._failures.pop(one, None)

    def retired(self, slot: int, endpoint: str, number: int) -> None:
        """A worker has dropped it, with whatever went wrong."""
        gone = (slot, endpoint, number)
        self._failures = {one: why for one, why in self._failures.items() if one[1:4] != gone}

    def killed(self, one: Preparation) -> None:
        """The worker has ended while it tried."""
        key = one.endpoint, one.number
        self.deaths[key] = self.deaths.get(key, 0) + 1

    def failure(self, one: Preparation) -> LoadFailure | None:
        """The last failure, None where there is none or where it is being tried again."""
        known = self._failures.get(one)
        if known is None or one in self.running:
            return None
        age_s = self._clock.monotonic_s() - known.since_s
        return LoadFailure(known.code, known.reason, known.failures, age_s)

    def failures(self) -> tuple[Preparation, ...]:
        """All that have failed in a worker that runs."""
        return tuple(self._failures)

    def keep_workers(self, workers: Set[tuple[int, int]]) -> None:
        """Forget workers that are gone; each of `workers` is (process id, slot)."""
        self._failures = {one: why for one, why in self._failures.items() if one[:2] in workers}

    def keep_revisions(self, wanted: Set[tuple[str, int]]) -> None:
        """Forget the deaths of revisions that nobody wants any more: wanted again, they get a new chance."""
        self.deaths = {key: count for key, count in self.deaths.items() if key in wanted}

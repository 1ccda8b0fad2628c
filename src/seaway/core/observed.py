"""What the control loop knows at one moment: endpoints, the written table, and what each worker holds.

`control.effects` observes a Snapshot; `core.routing` and `core.reconciliation` decide with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from seaway.core.bundles import Digest
from seaway.core.deployments import DeploymentState, Revision
from seaway.core.traffic import Limits, RoutedRevision, RoutingTable

_PAUSES_S: Final = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)


def pause_s(failures: int) -> float:
    """How long to leave alone what has failed so many times (1 or more)."""
    return _PAUSES_S[min(failures, len(_PAUSES_S)) - 1]


class LoadFailure(msgspec.Struct, frozen=True):
    """Why a worker could not load a revision: `code` is one of `errors.CODES`.

    `failures` counts the loads of it that failed there, and `age_s` is how long ago the last one did.
    """

    code: str
    reason: str
    failures: int
    age_s: float

    @property
    def due(self) -> bool:
        """Whether it is time to try again, where trying again makes sense."""
        return self.age_s >= pause_s(self.failures)


class WorkerRevision(msgspec.Struct, frozen=True):
    """A revision in a worker's memory, or on its way there while it is neither ready nor failed."""

    endpoint: str
    number: int
    digest: Digest
    ready: bool
    failure: LoadFailure | None = None


class WorkerView(msgspec.Struct, frozen=True):
    """A worker that answers. `generation` is that of the table it holds."""

    slot: int
    generation: int
    draining: bool
    loaded: tuple[WorkerRevision, ...]

    def find(self, endpoint: str, revision: RoutedRevision) -> WorkerRevision | None:
        return next(
            (
                r
                for r in self.loaded
                if (r.endpoint, r.number, r.digest) == (endpoint, revision.number, revision.digest)
            ),
            None,
        )

    def has_ready(self, endpoint: str, revision: RoutedRevision) -> bool:
        """Whether it could answer with the revision now."""
        found = self.find(endpoint, revision)
        return found is not None and found.ready


class Broken(msgspec.Struct, frozen=True):
    """A bundle that cannot be opened, and why; `code` is one of `errors.CODES`."""

    code: str
    reason: str


class Opening(msgspec.Struct, frozen=True):
    """A bundle that is being opened, or waits for that: each of its bytes is checked first. `ref` is NAME:vN."""

    ref: str


class Snapshot(msgspec.Struct, frozen=True):
    """All that the decision may know.

    `revisions` holds at least what each state needs (`routing.needed`) and those of the table; `bundles` the directory
    of each one's bundle, or why there is none (yet). `table` is the one last written. Workers that do not answer are left out.
    `deaths` counts the workers that ended while they prepared a revision.
    """

    now_s: float
    states: tuple[DeploymentState, ...]
    revisions: Mapping[tuple[str, int], Revision]
    bundles: Mapping[tuple[str, int], str | Broken | Opening]
    table: RoutingTable
    workers: tuple[WorkerView, ...]
    deaths: Mapping[tuple[str, int], int]

    @property
    def serving(self) -> tuple[WorkerView, ...]:
        """The workers that take requests and follow the table."""
        return tuple(worker for worker in self.workers if not worker.draining)

    def limits(self, endpoint: str, number: int) -> Limits:
        return self.revisions[endpoint, number].spec.parsed_limits

    def opening(self, endpoint: str, number: int) -> bool:
        """Whether nobody may be asked to load the revision yet."""
        return isinstance(self.bundles.get((endpoint, number)), Opening)

    def routed(self, endpoint: str, number: int, share: float = 0.0) -> RoutedRevision | Broken | Opening:
        """A revision as workers need it. One that the table names outlives its bundle: it was whole when it was loaded."""
        revision = self.revisions[endpoint, number]
        bundle = self.bundles.get((endpoint, number), Broken("internal", "the bundle was not opened"))
        if not isinstance(bundle, str):
            route = self.table.route(endpoint)
            known = None if route is None else route.revision(number)
            return bundle if known is None else msgspec.structs.replace(known, percent=share)
        return RoutedRevision(
            number=number,
            digest=revision.digest,
            bundle=bundle,
            ref=revision.ref,
            percent=share,
            isolated=revision.spec.serve.isolation == "process",
        )


def ready_everywhere(snapshot: Snapshot, endpoint: str, revision: RoutedRevision) -> bool:
    """Whether every worker that serves has it ready; without workers nothing is."""
    serving = snapshot.serving
    return bool(serving) and all(worker.has_ready(endpoint, revision) for worker in serving)


def failure_of(snapshot: Snapshot, endpoint: str, revision: RoutedRevision) -> LoadFailure | None:
    """Why a worker that serves could not load it, None where none failed."""
    found = (worker.find(endpoint, revision) for worker in snapshot.serving)
    return next((r.failure for r in found if r is not None and r.failure is not None), None)

"""Workers of a simulated world, which keep the protocol and say where the decision does not."""

from __future__ import annotations

import msgspec

from seaway.core import observed
from seaway.core.bundles import Digest
from seaway.core.traffic import RoutingTable


class SimulatedWorker:
    """A worker that keeps the protocol: it starts with the written table, and refuses to commit what is not ready."""

    def __init__(self, slot: int, table: RoutingTable, bad: set[Digest]) -> None:
        self.slot, self.table, self.draining, self.bad = slot, table, False, bad
        self.loaded: dict[tuple[str, int], observed.WorkerRevision] = {}
        self.loading: dict[tuple[str, int], int] = {}
        self.failures: dict[tuple[str, int], list[float]] = {}
        self.now_s = 0.0
        for route in table.routes:
            for revision in route.revisions:
                self.load(route.endpoint, revision.number, revision.digest)

    def begin(self, endpoint: str, number: int, digest: Digest) -> None:
        """Loading takes three looks of the loop; until then the revision is there, but not ready."""
        failed = self.failures.get((endpoint, number), [])
        assert not failed or self.now_s - failed[-1] >= observed.pause_s(len(failed)), (
            "tried again without a pause"
        )
        self.loaded[endpoint, number] = observed.WorkerRevision(endpoint, number, digest, ready=False)
        self.loading[endpoint, number] = 3

    def tick(self) -> None:
        for key, left in list(self.loading.items()):
            self.loading[key] = left - 1
            if left == 0:
                del self.loading[key]
                self.load(*key, self.loaded[key].digest)

    def load(self, endpoint: str, number: int, digest: Digest) -> None:
        bad = digest in self.bad
        if bad:
            self.failures.setdefault((endpoint, number), []).append(self.now_s)
        self.loaded[endpoint, number] = observed.WorkerRevision(endpoint, number, digest, ready=not bad)

    def ready(self, endpoint: str, number: int) -> bool:
        held = self.loaded.get((endpoint, number))
        return held is not None and held.ready

    def commit(self, table: RoutingTable) -> None:
        for route in table.routes:
            for revision in route.revisions:
                held = self.loaded.get((route.endpoint, revision.number))
                known = self.table.route(route.endpoint)
                routed = known is not None and known.revision(revision.number) is not None
                assert held is not None and (held.ready or routed), (
                    "a commit named a revision that is not ready"
                )
        self.table = table

    def retire(self, endpoint: str, number: int) -> None:
        route = self.table.route(endpoint)
        assert route is None or route.revision(number) is None, "a revision was retired that is routed"
        self.loaded.pop((endpoint, number), None)
        self.loading.pop((endpoint, number), None)
        self.failures.pop((endpoint, number), None)

    def view(self) -> observed.WorkerView:
        loaded = tuple(
            msgspec.structs.replace(held, failure=self.failure(key)) for key, held in self.loaded.items()
        )
        return observed.WorkerView(self.slot, self.table.generation, self.draining, loaded)

    def failure(self, key: tuple[str, int]) -> observed.LoadFailure | None:
        failed = self.failures.get(key)
        if not failed or self.loaded[key].ready or key in self.loading:
            return None
        return observed.LoadFailure(
            "digest_mismatch", "it does not load", len(failed), self.now_s - failed[-1]
        )

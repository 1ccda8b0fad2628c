"""What a worker counts of its answers: plain numbers in dictionaries, put into words only when somebody scrapes.

Every series of a worker carries its slot as the label `worker`: a worker that starts again begins at zero in its own
series, which Prometheus takes for the reset that it is, so a sum of rates over workers stays right.
"""

from __future__ import annotations

import bisect
from collections.abc import Collection, Iterator
from typing import Final, NamedTuple

import msgspec

from seaway.core.bundles import Digest
from seaway.core.ports import Clock
from seaway.engine.router import Router
from seaway.serve import execution_metrics
from seaway.wire import prometheus
from seaway.wire.prometheus import Family, Sample

BUCKETS_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
KEEP_S: Final = 900.0
"""A series that nothing can add to any more is dropped this long after its last answer: every scraper has seen it."""
_MAX_SERIES: Final = 2000


class Key(NamedTuple):
    """The labels of one series. `endpoint` and `revision` are "" where none was found, so labels stay bounded."""

    door: str
    endpoint: str
    revision: str
    code: str


_OVERFLOW: Final = Key("other", "", "", "")


class _Series(msgspec.Struct):
    """The answers under one key; `counts` by bucket, not added up."""

    counts: list[int]
    sum_s: float = 0.0
    last_s: float = 0.0


class Counters:
    """Answers by door, endpoint, revision and code; on the event loop's thread only."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._series: dict[Key, _Series] = {}

    def record(self, key: Key, took_s: float) -> None:
        """Count one answer."""
        series = self._series.get(key)
        if series is None:
            if len(self._series) >= _MAX_SERIES:
                key = _OVERFLOW
            series = self._series.setdefault(key, _Series([0] * (len(BUCKETS_S) + 1)))
        series.counts[bisect.bisect_left(BUCKETS_S, took_s)] += 1
        series.sum_s += took_s
        series.last_s = self._clock.monotonic_s()

    def drop_retired(self, alive: Collection[tuple[str, str]]) -> None:
        """Drop the series whose (endpoint, revision) is not among `alive`, once their last answer is `KEEP_S` old."""
        oldest_s = self._clock.monotonic_s() - KEEP_S
        for key, series in list(self._series.items()):
            if series.last_s < oldest_s and (key.endpoint, key.revision) not in alive:
                del self._series[key]

    def families(self, labels: dict[str, str]) -> Iterator[Family]:
        """The counters as Prometheus families; `labels` are put on every series."""
        total = Family("seaway_requests_total", "counter", "Answered requests.", [])
        duration = Family(
            "seaway_request_duration_seconds", "histogram", "Time from a prediction's head to its answer.", []
        )
        for key, series in self._series.items():
            own = {**key._asdict(), **labels}
            total.samples.append(Sample(own, sum(series.counts)))
            if not key.endpoint:
                continue
            seen = 0
            for bound, count in zip((*BUCKETS_S, float("inf")), series.counts, strict=True):
                seen += count
                edge = "+Inf" if bound == float("inf") else f"{bound:g}"
                duration.samples.append(Sample({**own, "le": edge}, seen, "_bucket"))
            duration.samples.append(Sample(own, series.sum_s, "_sum"))
            duration.samples.append(Sample(own, seen, "_count"))
        yield total
        yield duration


def alive(router: Router) -> set[tuple[str, str]]:
    """The (endpoint, revision) labels that an answer can carry now; "" where a request has found less than that."""
    found = {("", "")}
    found |= {(route.endpoint, "") for route in router.table.routes}
    found |= {(handle.endpoint, str(handle.revision.number)) for handle in router.pool.handles()}
    return found


def render(counters: Counters, router: Router, slot: int, memory_bytes: int) -> str:
    """One worker's metrics in Prometheus text."""
    worker = {"worker": str(slot)}
    # A revision can be listed twice: while it leaves and is loaded again.
    ready: dict[tuple[str, int, Digest], bool] = {}
    flying: dict[tuple[str, int], int] = {}
    ready_handles = []
    for handle in router.pool.handles():
        name, number, digest = handle.endpoint, handle.revision.number, handle.revision.digest
        leaving = router.pool.get(name, number) is not handle
        can_answer = handle.ready and not leaving
        ready[name, number, digest] = ready.get((name, number, digest), False) or can_answer
        flying[name, number] = flying.get((name, number), 0) + handle.in_flight
        if can_answer:
            ready_handles.append(handle)
    readiness = Family("seaway_revision_ready", "gauge", "Whether the worker's revision can answer.", [])
    for (name, number, digest), can_answer in ready.items():
        labels = {"endpoint": name, "revision": str(number), "digest": digest, **worker}
        readiness.samples.append(Sample(labels, int(can_answer)))
    in_flight = Family("seaway_requests_in_flight", "gauge", "Requests that are being answered.", [])
    for (name, number), count in flying.items():
        in_flight.samples.append(Sample({"endpoint": name, "revision": str(number), **worker}, count))
    generation = Family("seaway_routing_generation", "gauge", "Generation of the worker's routing table.", [])
    generation.samples.append(Sample(worker, router.table.generation))
    memory = Family("seaway_worker_resident_memory_bytes", "gauge", "Resident memory of the worker.", [])
    memory.samples.append(Sample(worker, memory_bytes))
    workers = Family("seaway_workers", "gauge", "Workers that answered this scrape.", [Sample({}, 1)])
    execution = execution_metrics.families(ready_handles, worker)
    return prometheus.render(
        [*counters.families(worker), readiness, in_flight, *execution, generation, memory, workers]
    )

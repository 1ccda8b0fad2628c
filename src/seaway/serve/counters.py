"""What a worker counts of its answers: plain numbers in dictionaries, put into words only when somebody scrapes."""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from typing import Final, NamedTuple

from seaway.engine.router import Router
from seaway.wire import prometheus
from seaway.wire.prometheus import Family, Sample

BUCKETS_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_MAX_SERIES: Final = 2000


class Key(NamedTuple):
    """The labels of one series. `endpoint` and `revision` are "" where none was found, so labels stay bounded."""

    door: str
    endpoint: str
    revision: str
    code: str


_OVERFLOW: Final = Key("other", "", "", "")


class Counters:
    """Answers by door, endpoint, revision and code; on the event loop's thread only."""

    def __init__(self) -> None:
        self._counts: dict[Key, list[int]] = {}
        self._sums_s: dict[Key, float] = {}

    def record(self, key: Key, took_s: float) -> None:
        """Count one answer."""
        counts = self._counts.get(key)
        if counts is None:
            if len(self._counts) >= _MAX_SERIES:
                key = _OVERFLOW
            counts = self._counts.setdefault(key, [0] * (len(BUCKETS_S) + 1))
            self._sums_s.setdefault(key, 0.0)
        counts[bisect.bisect_left(BUCKETS_S, took_s)] += 1
        self._sums_s[key] += took_s

    def families(self) -> Iterator[Family]:
        """The counters as Prometheus families."""
        total = Family("seaway_requests_total", "counter", "Answered requests.", [])
        duration = Family(
            "seaway_request_duration_seconds", "histogram", "Time from a prediction's head to its answer.", []
        )
        for key, counts in self._counts.items():
            labels = key._asdict()
            total.samples.append(Sample(labels, sum(counts)))
            if not key.endpoint:
                continue
            seen = 0
            for bound, count in zip((*BUCKETS_S, float("inf")), counts, strict=True):
                seen += count
                edge = "+Inf" if bound == float("inf") else f"{bound:g}"
                duration.samples.append(Sample({**labels, "le": edge}, seen, "_bucket"))
            duration.samples.append(Sample(labels, self._sums_s[key], "_sum"))
            duration.samples.append(Sample(labels, seen, "_count"))
        yield total
        yield duration


def render(counters: Counters, router: Router, slot: int, memory_bytes: int) -> str:
    """One worker's metrics in Prometheus text. Gauges that make no sense added up carry the worker's slot."""
    ready = Family("seaway_revision_ready", "gauge", "Workers in which this revision can answer.", [])
    flying = Family("seaway_requests_in_flight", "gauge", "Requests that are being answered.", [])
    for handle in router.pool.handles():
        labels = {"endpoint": handle.endpoint, "revision": str(handle.revision.number)}
        ready.samples.append(Sample({**labels, "digest": handle.revision.digest}, int(handle.ready)))
        flying.samples.append(Sample(labels, handle.in_flight))
    worker = {"worker": str(slot)}
    generation = Family("seaway_routing_generation", "gauge", "Generation of the worker's routing table.", [])
    generation.samples.append(Sample(worker, router.table.generation))
    memory = Family("seaway_worker_resident_memory_bytes", "gauge", "Resident memory of the worker.", [])
    memory.samples.append(Sample(worker, memory_bytes))
    workers = Family("seaway_workers", "gauge", "Workers that answered this scrape.", [Sample({}, 1)])
    return prometheus.render([*counters.families(), ready, flying, generation, memory, workers])

"""A worker's metrics as Prometheus text: what was recorded, which revisions are ready, how they run."""

from __future__ import annotations

from seaway.core.bundles import Digest
from seaway.engine.router import Router
from seaway.serve import execution_metrics
from seaway.serve.plane import Recorder
from seaway.wire import prometheus
from seaway.wire.prometheus import Family, Sample


def alive(router: Router) -> set[tuple[str, str]]:
    """The (endpoint, revision) labels that an answer can carry now; "" where a request has found less than that."""
    found = {("", "")}
    found |= {(route.endpoint, "") for route in router.table.routes}
    found |= {(handle.endpoint, str(handle.revision.number)) for handle in router.pool.handles()}
    return found


def render(recorder: Recorder, router: Router, slot: int, memory_bytes: int) -> str:
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
        [*recorder.families(worker), readiness, in_flight, *execution, generation, memory, workers]
    )

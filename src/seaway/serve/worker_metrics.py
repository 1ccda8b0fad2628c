"""A worker's metrics as Prometheus text: what was recorded, which revisions are ready, how they run."""

from __future__ import annotations

from seaway.core.bundles import Digest
from seaway.engine.router import Router
from seaway.serve import execution_metrics
from seaway.serve.plane import DataPlane
from seaway.wire import metric_names, prometheus
from seaway.wire.prometheus import Sample


def alive(router: Router) -> set[tuple[str, str]]:
    """The (endpoint, revision) labels that an answer can carry now; "" where a request has found less than that."""
    found = {("", "")}
    found |= {(route.endpoint, "") for route in router.table.routes}
    found |= {(handle.endpoint, str(handle.revision.number)) for handle in router.pool.handles()}
    return found


def render_recorded(plane: DataPlane, slot: int) -> str:
    """What the worker's recorder counted, in Prometheus text. Any thread: with a thousand endpoints it takes a second."""
    return prometheus.render(list(plane.recorder.families({"worker": str(slot)})))


def render(plane: DataPlane, slot: int, memory_bytes: int) -> str:
    """One worker's other metrics in Prometheus text; on the event loop's thread."""
    router = plane.router
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
    readiness = metric_names.REVISION_READY.family()
    for (name, number, digest), can_answer in ready.items():
        labels = {"endpoint": name, "revision": str(number), "digest": digest, **worker}
        readiness.samples.append(Sample(labels, int(can_answer)))
    in_flight = metric_names.IN_FLIGHT.family()
    for (name, number), count in flying.items():
        in_flight.samples.append(Sample({"endpoint": name, "revision": str(number), **worker}, count))
    generation = metric_names.GENERATION.family()
    generation.samples.append(Sample(worker, router.table.generation))
    memory = metric_names.WORKER_MEMORY.family()
    memory.samples.append(Sample(worker, memory_bytes))
    limit = metric_names.WORKER_MEMORY_LIMIT.family()
    if plane.memory_limit_bytes is not None:
        limit.samples.append(Sample(worker, plane.memory_limit_bytes))
    feedback = metric_names.FEEDBACK.family()
    for outcome, count in sorted(plane.feedback.items()):
        feedback.samples.append(Sample({"outcome": outcome, **worker}, count))
    fallbacks = metric_names.FALLBACKS.family()
    for (name, revision, code), count in sorted(plane.fallbacks.items()):
        own = {"endpoint": name, "revision": revision, "code": code, **worker}
        fallbacks.samples.append(Sample(own, count))
    mirrored = metric_names.MIRRORED.family()
    for (name, revision, result), count in sorted(plane.mirrors.counts.items() if plane.mirrors else ()):
        own = {"endpoint": name, "revision": revision, "result": result, **worker}
        mirrored.samples.append(Sample(own, count))
    workers = metric_names.WORKERS.family()
    workers.samples.append(Sample({}, 1))
    execution = execution_metrics.families(ready_handles, worker)
    return prometheus.render(
        [
            readiness,
            in_flight,
            *execution,
            generation,
            memory,
            limit,
            feedback,
            fallbacks,
            mirrored,
            workers,
        ]
    )

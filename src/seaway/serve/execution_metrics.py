"""How the engine runs each revision, as Prometheus families: lane, realised batches, time in the queue, start-up, memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from seaway.engine.facts import ROW_BUCKETS, TIME_BUCKETS_S
from seaway.engine.handle import Handle
from seaway.wire import metric_names
from seaway.wire.prometheus import Family, Sample


def families(handles: Iterable[Handle], worker: dict[str, str]) -> Iterator[Family]:
    """The families of all revisions that can answer; `worker` labels every series."""
    rows = metric_names.BATCH_ROWS.family()
    runs = metric_names.BATCH_DURATION.family()
    queue = metric_names.QUEUE_DURATION.family()
    queued = metric_names.QUEUED_ROWS.family()
    streams = metric_names.STREAMS_OPEN.family()
    lane = metric_names.LANE.family()
    fixed = metric_names.BATCH_FIXED.family()
    each = metric_names.BATCH_ROW.family()
    isolated = metric_names.REVISION_ISOLATED.family()
    start = metric_names.REVISION_START.family()
    memory = metric_names.REVISION_MEMORY.family()
    for handle in handles:
        if not handle.ready:
            continue
        own = {"endpoint": handle.endpoint, "revision": str(handle.revision.number), **worker}
        facts = handle.predictor.facts()
        _histogram(rows, own, ROW_BUCKETS, facts.batches, float(facts.rows))
        _histogram(runs, own, TIME_BUCKETS_S, facts.run_counts, facts.run_sum_s)
        _histogram(queue, own, TIME_BUCKETS_S, facts.queue_counts, facts.queue_sum_s)
        queued.samples.append(Sample(own, facts.queued_rows))
        streams.samples.append(Sample(own, facts.streams))
        for name in ("inline", "thread"):
            lane.samples.append(Sample({**own, "lane": name}, int(facts.lane == name)))
        fixed.samples.append(Sample(own, facts.a_s))
        each.samples.append(Sample(own, facts.b_s))
        isolated.samples.append(Sample(own, int(handle.isolated)))
        for phase, took_s in (("verify", handle.open_s), ("load", handle.load_s), ("warm", handle.warm_s)):
            start.samples.append(Sample({**own, "phase": phase}, took_s))
        memory.samples.append(Sample(own, handle.memory_bytes))
    yield from (rows, runs, queue, queued, streams, lane, fixed, each, isolated, start, memory)


def _histogram(
    family: Family, labels: dict[str, str], edges: Sequence[float], counts: Sequence[int], total: float
) -> None:
    seen = 0
    for edge, count in zip((*edges, float("inf")), counts, strict=True):
        seen += count
        shown = "+Inf" if edge == float("inf") else f"{edge:g}"
        family.samples.append(Sample({**labels, "le": shown}, seen, "_bucket"))
    family.samples.append(Sample(labels, total, "_sum"))
    family.samples.append(Sample(labels, seen, "_count"))

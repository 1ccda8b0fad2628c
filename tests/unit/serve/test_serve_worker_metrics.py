"""A worker's metrics: exact, bounded, one worker's apart from another's, and gone some time after their revision."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

import pytest
from engine_fakes import Asked

from seaway.core.bundles import Digest, Manifest, OpenedBundle, Source, Task
from seaway.core.tensors import DType, Signature, Tensors, TensorSpec
from seaway.core.traffic import Limits, Route, RoutedRevision, RoutingTable
from seaway.engine.pool import Pool, Sources
from seaway.engine.router import Router
from seaway.monitor.recording.request_counts import BUCKETS_S, KEEP_S, MAX_SERIES, Key, RequestCounts
from seaway.serve import worker_metrics
from seaway.serve.plane import DataPlane
from seaway.testing.clock import VirtualClock
from seaway.testing.recorder import MemoryRecorder
from seaway.wire import prometheus
from seaway.wire.prometheus import Family

SIGNATURE = Signature((TensorSpec("x", DType.FP32, (-1,)),), (TensorSpec("y", DType.FP32, (-1,)),))


class _Same:
    """A model, and the Runtime of it, that answers what it is asked."""

    signature = SIGNATURE
    formats = ("onnx",)

    def load(self, bundle: OpenedBundle) -> _Same:
        return self

    def predict(self, inputs: Tensors, timeout_s: float | None = None) -> Tensors:
        return {"y": inputs["x"]}

    def close(self) -> None: ...


def revision(number: int) -> RoutedRevision:
    return RoutedRevision(number, Digest("sha256:" + f"{number:064x}"), "-", f"m:v{number}", 100.0)


def table(generation: int, *numbers: int) -> RoutingTable:
    return RoutingTable(generation, tuple(Route("e", (revision(number),)) for number in numbers))


def router_of(clock: VirtualClock, *numbers: int) -> Router:
    manifest = Manifest("m", Task.OTHER, "model.onnx", SIGNATURE, Source("onnx"), ())
    sources = Sources(
        open_bundle=lambda wanted: OpenedBundle(wanted.digest, manifest, wanted.bundle, wanted.ref, 1),
        runtime=lambda _: _Same(),
        sample=lambda _: None,
    )
    pool = Pool(sources, clock)
    for number in numbers:
        pool.load("e", revision(number), Limits())
    return Router(pool, table(1, *numbers))


class Counters(MemoryRecorder):
    """The recorder's exact counts without its threads."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self._clock = clock
        self._counts = RequestCounts()

    def record(self, key: Key, *took_s: float) -> None:
        self._counts.add(key, took_s, self._clock.monotonic_s())

    def drop_retired(self, alive: Collection[tuple[str, str]]) -> None:
        self._counts.drop_retired(alive, self._clock.monotonic_s())

    def families(self, labels: dict[str, str]) -> Iterator[Family]:
        return self._counts.families(labels)


def answered(counters: Counters, number: int | str, count: int = 1, code: str = "200") -> None:
    for _ in range(count):
        counters.record(Key("predict", "e", str(number), code), 0.02)


def rendered(plane: DataPlane, slot: int) -> str:
    """As the admin door answers."""
    return worker_metrics.render_recorded(plane, slot) + worker_metrics.render(plane, slot, 4096)


def plane_of(counters: Counters, router: Router) -> DataPlane:
    async def metrics() -> str:
        return ""

    return DataPlane(router, counters, VirtualClock(), metrics, "1")


def revisions_in(counters: Counters) -> list[str]:
    return [sample.labels["revision"] for sample in next(iter(counters.families({}))).samples]


def test_counters_are_exact_and_bounded() -> None:
    counters = Counters(VirtualClock())
    for took_s in (0.0, BUCKETS_S[0]):
        counters.record(Key("predict", "e", "1", "200"), took_s)
    counters.record(Key("predict", "e", "1", "200"), 0.3, 99.0)
    total, duration = counters.families({})
    assert [sample.value for sample in total.samples] == [4]
    buckets = {sample.labels["le"]: sample.value for sample in duration.samples if sample.suffix == "_bucket"}
    assert (buckets["0.0005"], buckets["0.25"], buckets["0.5"], buckets["10"], buckets["+Inf"]) == (
        2,
        2,
        3,
        3,
        4,
    )
    for number in range(MAX_SERIES + 50):
        counters.record(Key("predict", "e", str(number), "200"), 0.1)
    total, _ = counters.families({})
    assert len(total.samples) <= MAX_SERIES + 1
    assert sum(sample.value for sample in total.samples) == MAX_SERIES + 54


def test_many_answers_at_once_fall_into_the_same_buckets_as_one_by_one() -> None:
    clock = VirtualClock()
    at_once, single = Counters(clock), Counters(clock)
    times = [edge * factor for edge in BUCKETS_S for factor in (0.5, 1.0, 1.0000001)]
    assert len(times) > 32
    at_once.record(Key("predict", "e", "1", "200"), *times)
    for took_s in times:
        single.record(Key("predict", "e", "1", "200"), took_s)
    found = [
        [(s.labels, s.suffix, round(s.value, 9)) for f in one.families({}) for s in f.samples]
        for one in (at_once, single)
    ]
    assert found[0] == found[1]


def test_series_of_a_retired_revision_go_some_time_after_its_last_answer() -> None:
    clock = VirtualClock()
    counters, router = Counters(clock), router_of(clock, 1)
    answered(counters, 1)
    answered(counters, "", code="body_too_large")
    router.pool.load("e", revision(2), Limits())
    router.commit(table(2, 2))
    router.retire("e", 1)
    answered(counters, 2)
    clock.advance(KEEP_S - 1)
    counters.drop_retired(worker_metrics.alive(router))
    assert revisions_in(counters) == ["1", "", "2"]  # every scraper can still see what it ended with
    clock.advance(2)
    counters.drop_retired(worker_metrics.alive(router))
    assert revisions_in(counters) == ["", "2"]  # what still serves is kept, however long it is idle
    router.commit(RoutingTable(3))
    router.retire("e", 2)
    counters.drop_retired(worker_metrics.alive(router))
    assert revisions_in(counters) == []


def test_a_thousand_deploys_do_not_push_a_revision_into_other() -> None:
    clock = VirtualClock()
    counters = Counters(clock)
    for number in range(1, 3000):
        answered(counters, number)
        clock.advance(60.0)
        counters.drop_retired({("", ""), ("e", ""), ("e", str(number))})
    doors = {sample.labels["door"] for sample in next(iter(counters.families({}))).samples}
    assert doors == {"predict"}
    assert len(revisions_in(counters)) <= KEEP_S / 60 + 2


def scrape(*workers: str) -> dict[str, float]:
    """The series of a merged page, which must keep the rules of Prometheus' text format 0.0.4."""
    found: dict[str, float] = {}
    family, kind, told = "", "", set()
    for line in prometheus.merge(workers).splitlines():
        if line.startswith("# HELP "):
            family = line.split(" ")[2]
            assert family not in told, f"{family} is not in one piece"
            assert re.fullmatch(r"# HELP [a-z_]+ [A-Z][^\\]*\.", line)
            told.add(family)
        elif line.startswith("# TYPE "):
            assert line.split(" ")[2] == family
            kind = line.split(" ")[3]
            assert (kind == "counter") == family.endswith("_total")
        else:
            series, _, value = line.rpartition(" ")
            name = series.partition("{")[0]
            assert re.fullmatch(r'[a-z_]+(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})?', series)
            endings = ("_bucket", "_sum", "_count") if kind == "histogram" else ("",)
            assert name in [family + ending for ending in endings]
            assert series not in found, f"{series} appears twice"
            found[series] = float(value)
    for series, value in found.items():
        if 'le="+Inf"' in series:
            count = series.replace("_bucket{", "_count{").replace(',le="+Inf"', "")
            assert found[count] == value
    return found


def total(page: dict[str, float], name: str, *labels: str) -> float:
    return sum(v for k, v in page.items() if k.startswith(name + "{") and all(label in k for label in labels))


def test_each_worker_counts_under_its_own_label_so_that_a_restart_lowers_only_its_own() -> None:
    clock = VirtualClock()
    router = router_of(clock, 1)
    first, second = Counters(clock), Counters(clock)
    answered(first, 1, 5)
    answered(second, 1, 7)

    def page(one: Counters, other: Counters) -> dict[str, float]:
        texts = [rendered(plane_of(counters, router), slot) for slot, counters in enumerate((one, other))]
        return scrape(*texts)

    before = page(first, second)
    assert total(before, "seaway_requests_total") == 12
    assert total(before, "seaway_request_duration_seconds_count") == 12
    assert before["seaway_workers"] == 2
    restarted = Counters(clock)
    answered(restarted, 1, 2)
    after = page(first, restarted)
    assert set(after) == set(before)
    lower = [series for series in before if after[series] < before[series]]
    assert lower and all('worker="1"' in series for series in lower)
    assert total(after, "seaway_requests_total", 'worker="0"') == 5
    assert total(after, "seaway_requests_total", 'worker="1"') == 2


@pytest.mark.parametrize("again", [False, True])
def test_a_revision_that_leaves_is_not_ready_and_is_listed_once_though_it_is_loaded_again(
    again: bool,
) -> None:
    clock = VirtualClock()
    router = router_of(clock, 1)
    handle = router.pick("e", Asked())
    with handle:
        router.commit(RoutingTable(2))
        router.retire("e", 1)
        if again:
            router.pool.load("e", revision(1), Limits())
        page = scrape(rendered(plane_of(Counters(clock), router), 0))
    assert total(page, "seaway_requests_in_flight") == 1
    assert total(page, "seaway_revision_ready") == int(again)

"""Ten million requests of 30 floats through the summaries of four workers: fixed memory, same bytes, quantiles in bounds.

The sinks are the real ones, on a virtual clock; their windows are merged from their files, in shuffled orders and groups.
"""

from __future__ import annotations

import math
import random
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from seaway.core import distinct, summaries
from seaway.core.answers import answer_spec
from seaway.core.live_numbers import LiveNumbers
from seaway.core.profiles import NumericSummary, quantile, summarise_numbers
from seaway.core.records import RecordRules
from seaway.core.tensors import Array, DType, Meaning, Signature, TensorSpec
from seaway.monitor.sinks import Block, RecordPaths, Subject
from seaway.monitor.summaries import compaction, windows
from seaway.monitor.summaries.sink import make
from seaway.testing.answered import Ended
from seaway.testing.clock import VirtualClock

REQUESTS, FEATURES, WORKERS, ROWS = 10_000_000, 30, 4, 1024
POOL = 48
"""Blocks of requests that are made; they come again and again."""
START_S = 1_800_000_000.0
DIGEST = "sha256:" + "5e" * 32
SIGNATURE = Signature(
    (TensorSpec("x", DType.FP32, (-1, FEATURES)),),
    (
        TensorSpec("label", DType.INT64, (-1,), Meaning.LABEL),
        TensorSpec("sure", DType.FP32, (-1, 2), Meaning.PROBABILITY),
    ),
)
SUBJECT = Subject("small", 1, DIGEST, "small:v1", SIGNATURE, answer_spec(SIGNATURE), RecordRules())
FEATURE_BYTES = 18.5 * 1024
GROWTH_BYTES = 16 << 20


def measure(scale: float) -> dict[str, Any]:
    """The figures; costs are of one core, by the thread's own clock."""
    with tempfile.TemporaryDirectory(prefix="seaway-summaries-") as root:
        return _Run(Path(root), scale).figures()


class _Run:
    def __init__(self, root: Path, scale: float) -> None:
        self.root = root
        draw = np.random.default_rng(11)
        sizes = 10.0 ** draw.uniform(-6, 6, FEATURES)
        self.x = (draw.normal(size=(POOL * ROWS, FEATURES)) * sizes).astype(np.float32)
        self.requests = [_ended(row, draw) for row in self.x]
        rounds = max(WORKERS, math.ceil(REQUESTS * scale / len(self.requests)))
        self.rounds = rounds // WORKERS * WORKERS

    def figures(self) -> dict[str, Any]:
        count = self.rounds * len(self.requests)
        took_s, growth = self.feed()
        where = windows.directory(self.root, "small", 1, DIGEST)
        found, damaged = windows.series(where, 0, 4e9)
        assert not damaged and sum(window.seen for window in found) == count
        total = self.merged(found)
        error = self.quantile_error(total)
        compaction.compact(self.root, START_S + 30 * 86_400)
        reading = windows.read(self.root, "small", 1, 0, 4e9)
        assert reading is not None
        assert summaries.encode(reading.window.summary) == summaries.encode(total), "compaction changed them"
        return {
            "requests": count,
            "windows": len(found),
            "sink_us_per_request": round(took_s / count * 1e6, 2),
            "count_ns_per_value": round(self.value_ns(), 1),
            "memory_growth_mib": round(growth / 2**20, 2),
            "memory_per_feature_kib": round(self.feature_bytes() / 1024, 1),
            "worst_quantile_error": round(error, 4),
            "distinct_error": round(self.distinct_error(total), 4),
        }

    def feed(self) -> tuple[float, int]:
        """Seconds that the sinks took, and how much the process grew after its first two rounds."""
        clock = VirtualClock(START_S)
        sinks = [make(RecordPaths(str(self.root), slot, 100 + slot), clock) for slot in range(WORKERS)]
        took_s, first = 0.0, 0
        for turn in range(self.rounds):
            sink = sinks[turn % WORKERS]
            begin_s = time.thread_time()
            for start in range(0, len(self.requests), ROWS):
                part = self.requests[start : start + ROWS]
                sink.take(Block(SUBJECT, part, ROWS, ROWS, 1.0, clock.now_s()))
            clock.advance(5)
            for one in sinks:
                one.tick(clock.now_s())
            took_s += time.thread_time() - begin_s
            if turn == WORKERS - 1:
                first = _resident_bytes()
        growth = _resident_bytes() - first
        for sink in sinks:
            sink.close()
        assert growth < GROWTH_BYTES, f"it grew by {growth} bytes"
        return took_s, growth

    def merged(self, found: list[windows.Window]) -> summaries.Summary:
        """All windows together, whose bytes must not depend on order and grouping."""
        parts = [window.summary for window in found]
        total = summaries.merge(parts)
        chance = random.Random(3)
        for _ in range(3):
            chance.shuffle(parts)
            cut = chance.randint(0, len(parts))
            grouped = summaries.merge([summaries.merge(parts[:cut]), summaries.merge(parts[cut:])])
            assert summaries.encode(grouped) == summaries.encode(total), "the order shows in the bytes"
        return total

    def quantile_error(self, total: summaries.Summary) -> float:
        """The worst of three quantiles of all features, relative."""
        worst = 0.0
        for feature in range(FEATURES):
            column = self.x[:, feature]
            numeric = total.inputs[f"x[{feature}]"].numeric
            assert numeric == _times(summarise_numbers(column), self.rounds), "counts are not exact"
            for q in (0.01, 0.5, 0.99):
                exact = float(np.sort(column)[max(1, math.ceil(q * len(column))) - 1])
                got = quantile(numeric, q)
                assert got is not None
                worst = max(worst, abs(got - exact) / abs(exact))
        assert worst <= 2 ** (1 / 16) - 1, f"a quantile is {worst:.2%} off"
        return worst

    def distinct_error(self, total: summaries.Summary) -> float:
        """The mean over the features, relative."""
        errors = []
        for feature in range(FEATURES):
            exact = len(np.unique(self.x[:, feature]))
            errors.append(distinct.estimate(total.inputs[f"x[{feature}]"].registers) / exact - 1)
        rms = math.sqrt(sum(error**2 for error in errors) / len(errors))
        assert rms < 1.7 * distinct.STANDARD_ERROR
        return rms

    def feature_bytes(self) -> float:
        live = LiveNumbers(FEATURES)
        live.add(self.x)
        assert live.size_bytes / FEATURES <= FEATURE_BYTES
        return live.size_bytes / FEATURES

    def value_ns(self) -> float:
        """The best of ten blocks of 4,096 rows."""
        live, best = LiveNumbers(FEATURES), math.inf
        for start in range(0, 40_960, 4096):
            begin_s = time.thread_time()
            live.add(self.x[start : start + 4096])
            best = min(best, time.thread_time() - begin_s)
        return best / 4096 / FEATURES * 1e9


def _ended(row: Array, draw: np.random.Generator) -> Ended:
    sure = draw.random((1, 2)).astype(np.float32)
    outputs = {"label": np.array([int(sure[0, 1] > 0.5)]), "sure": sure}
    return Ended(tensors={"x": row[np.newaxis].copy()}, outputs=outputs)


def _times(one: NumericSummary, count: int) -> NumericSummary:
    """As if every value had come so many times."""
    return msgspec.structs.replace(
        one,
        count=one.count * count,
        zero=one.zero * count,
        positive=tuple((index, n * count) for index, n in one.positive),
        negative=tuple((index, n * count) for index, n in one.negative),
    )


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

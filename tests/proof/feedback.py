"""A million rows of feedback, shuffled, a tenth twice, a tenth before their predictions; and kill -9 while they come.

The control process takes them on its socket. Live quality must equal what numpy and scikit-learn compute from the same
rows: counts exactly, means to 1e-12. After each kill everything acknowledged is there, and in the end everything once.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import statistics
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from sklearn import metrics

from feedback_kills import Killed, running
from seaway.core.answers import answer_spec
from seaway.core.feedback import FeedbackAnswer
from seaway.core.quality import GroupQuality
from seaway.core.records import RecordRules
from seaway.core.tensors import DType, Meaning, Signature, TensorSpec
from seaway.monitor.feedback import quality
from seaway.monitor.feedback import schema as outcomes_schema
from seaway.monitor.provenance import files as provenance_files
from seaway.monitor.provenance.sink import ProvenanceSink
from seaway.monitor.sinks import Block, RecordPaths, Subject
from seaway.testing.answered import Ended
from seaway.wiring.clock import SystemClock

ROWS, KILLS, HOURS, PART = 1_000_000, 100, 24, 10_000
CLASSES = np.array(["cat", "dog", "eel", "fox", "gnu"], object)
X = TensorSpec("x", DType.FP32, (-1, 1), Meaning.FEATURE, columns=("age",))
LABELS = Signature(
    (X,),
    (
        TensorSpec("label", DType.BYTES, (-1,), Meaning.LABEL),
        TensorSpec("probabilities", DType.FP32, (-1, 2), Meaning.PROBABILITY),
    ),
)
VALUES = Signature((X,), (TensorSpec("y", DType.FP64, (-1, 1), Meaning.VALUE),))


def measure(scale: float) -> dict[str, Any]:
    """Both halves; rows per second and the time of an acknowledgement by the way."""
    with tempfile.TemporaryDirectory(prefix="seaway-feedback-") as work:
        equal = Equal(Path(work), max(20_000, round(ROWS * scale))).run()
    with tempfile.TemporaryDirectory(prefix="seaway-feedback-") as work:
        killed = Killed(Path(work), max(2, round(KILLS * scale))).run()
    return {"equal": equal, "killed": killed}


class Equal:
    """Live quality equals the offline one."""

    def __init__(self, home: Path, rows: int) -> None:
        self.home, self.rows = home, rows
        chance = self.chance = np.random.default_rng(20261122)
        self.is_class = chance.random(rows) < 0.7
        self.revision = chance.integers(1, 3, rows)
        self.hour = chance.integers(0, HOURS, rows)
        self.late = chance.random(rows) < 0.1
        self.base_s = (time.time() // 3600 - HOURS - 1) * 3600.0
        self.answer = chance.integers(0, 5, rows)
        self.truth = np.where(chance.random(rows) < 0.8, self.answer, chance.integers(0, 5, rows))
        self.sure = chance.random(rows).astype(np.float32)
        self.number = chance.normal(size=rows) * 10.0 ** chance.integers(-3, 4, rows)
        self.actual = self.number + chance.normal(size=rows)
        self.revenue = np.where(chance.random(rows) < 0.2, chance.exponential(20, rows), np.nan)

    def run(self) -> dict[str, Any]:
        sink = ProvenanceSink(RecordPaths(str(self.home / "records"), 0, os.getpid()), SystemClock())
        self.predict(sink, ~self.late)
        bodies = self.bodies()
        with running(self.home) as control:
            control.send(b'{"request_id":"start","kpi":{"start":1}}')
            started = time.monotonic()
            with ThreadPoolExecutor(4) as pool:
                answers = list(pool.map(control.send, bodies))
            took_s = time.monotonic() - started
            told = FeedbackAnswer()
            for answer in answers:
                told = told.plus(answer)
            self.predict(sink, self.late)
            joined_s = self.wait()
            lookup_ms = self.lookup_ms()
        sink.close()
        facts = self.rows + int(np.isfinite(self.revenue).sum())
        assert told.accepted == facts, told
        assert told.conflicting == 0, told
        assert abs(told.pending / facts - 0.1) < 0.01, told
        compared = self.compare()
        size = outcomes_schema.path_of(self.home / "records").stat().st_size
        return {
            "rows": self.rows,
            "sent_rows": told.rows,
            "facts": facts,
            "duplicates": told.duplicates,
            "before_their_prediction": told.pending,
            "rows_per_s": round(told.rows / took_s),
            "all_joined_after_s": round(joined_s, 1),
            "bytes_per_fact": round(size / facts),
            "lookup_of_one_ms": lookup_ms,
            **compared,
        }

    def predict(self, sink: ProvenanceSink, chosen: np.ndarray[Any, Any]) -> None:
        """Write the predictions of these rows as workers would: one request each."""
        for is_class in (True, False):
            for revision in (1, 2):
                for hour in range(HOURS):
                    mask = chosen & (self.is_class == is_class) & (self.revision == revision)
                    places = np.flatnonzero(mask & (self.hour == hour))
                    for begin in range(0, len(places), 1024):
                        sink.take(self.block(places[begin : begin + 1024], is_class, revision, hour))

    def block(self, places: Any, is_class: bool, revision: int, hour: int) -> Block:
        signature, endpoint = (LABELS, "animals") if is_class else (VALUES, "prices")
        digest = f"sha256:{revision:064x}"
        rules = RecordRules(slices=("age",))
        spec = answer_spec(signature)
        subject = Subject(endpoint, revision, digest, f"m:v{revision}", signature, spec, rules)
        return Block(
            subject=subject,
            requests=[self.ended(place, is_class) for place in places.tolist()],
            seen=len(places),
            seen_rows=len(places),
            rate=1.0,
            base_s=self.base_s + hour * 3600.0,
        )

    def ended(self, place: int, is_class: bool) -> Ended:
        if is_class:
            sure = self.sure[place]
            outputs = {
                "label": CLASSES[self.answer[place] : self.answer[place] + 1],
                "probabilities": np.array([[sure, 0.0]], np.float32),
            }
        else:
            outputs = {"y": self.number[place : place + 1].reshape(1, 1)}
        at_s = place % 3600 + 0.25
        age = np.array([[place % 3]], np.float32)
        return Ended(
            request_id=b"req-%d" % place, outputs=outputs, tensors={"x": age}, ended_s=at_s, received_s=at_s
        )

    def bodies(self) -> list[bytes]:
        """All rows in random order, a tenth of them twice."""
        twice = np.flatnonzero(self.chance.random(self.rows) < 0.1)
        order = np.concatenate((np.arange(self.rows), twice))
        self.chance.shuffle(order)
        encode = msgspec.json.encode
        lines = [encode(self.row(place)) for place in order.tolist()]
        return [b"\n".join(lines[begin : begin + PART]) for begin in range(0, len(lines), PART)]

    def row(self, place: int) -> dict[str, Any]:
        row: dict[str, Any] = {"request_id": f"req-{place}"}
        row["outcome"] = CLASSES[self.truth[place]] if self.is_class[place] else float(self.actual[place])
        if np.isfinite(self.revenue[place]):
            row["kpi"] = {"revenue": float(self.revenue[place])}
        return row

    def wait(self) -> float:
        """Until no fact but the one that has no prediction waits for its own."""
        started = time.monotonic()
        path = outcomes_schema.path_of(self.home / "records")
        while time.monotonic() < started + 600:
            with contextlib.closing(sqlite3.connect(path, timeout=60)) as connection:
                if connection.execute("SELECT COUNT(*) FROM facts WHERE state = 0").fetchone()[0] == 1:
                    return time.monotonic() - started
            time.sleep(0.5)
        raise AssertionError("facts still wait for their predictions")

    def lookup_ms(self) -> float:
        took = []
        for _ in range(5):
            begun = time.perf_counter()
            provenance_files.lookup(self.home / "records", [b"req-1"])
            took.append(time.perf_counter() - begun)
        return round(statistics.median(took) * 1e3, 2)

    def compare(self) -> dict[str, Any]:
        """Every group of both endpoints, by revision, hour and slice, against the arrays."""
        groups = 0
        begun = time.monotonic()
        for endpoint, kind in (("animals", True), ("prices", False)):
            for by in ("revision", "window", "age"):
                question = quality.Question(endpoint, self.base_s, self.base_s + 400 * 3600, by)
                found = quality.read(self.home / "records", question)
                seen = 0
                for group in found.groups:
                    mask = self.mask(group) & (self.is_class == kind)
                    seen += group.labelled
                    assert group.labelled == int(mask.sum()), (endpoint, by, group)
                    self.same_classes(group, mask) if kind else self.same_numbers(group, mask)
                    self.same_revenue(group, mask)
                    groups += 1
                assert seen == int((self.is_class == kind).sum()), (endpoint, by, seen)
        return {"groups_compared": groups, "compared_in_s": round(time.monotonic() - begun, 1)}

    def mask(self, group: GroupQuality) -> Any:
        mask = self.revision == group.revision
        if group.window_at is not None:
            hours = {quality._iso(self.base_s + hour * 3600): hour for hour in range(HOURS)}
            mask = mask & (self.hour == hours[group.window_at])
        if group.slice is not None:
            mask = mask & (np.arange(self.rows) % 3 == int(float(group.slice)))
        return mask

    def same_classes(self, group: GroupQuality, mask: Any) -> None:
        truths, answers = CLASSES[self.truth[mask]].tolist(), CLASSES[self.answer[mask]].tolist()
        found = group.classes
        assert found is not None
        cells = Counter(zip(truths, answers, strict=True))
        assert {(t, a): n for t, a, n in found.confusion} == dict(cells)
        close(found.accuracy, metrics.accuracy_score(truths, answers))
        scores = metrics.precision_recall_fscore_support(truths, answers, average="macro", zero_division=0)
        for own, other in zip((found.precision, found.recall, found.f1), scores[:3], strict=True):
            close(own, other)
        sure, right = self.sure[mask].astype(float), self.truth[mask] == self.answer[mask]
        assert found.calibration is not None
        close(found.calibration.brier, float(np.mean((sure - right) ** 2)))
        bins = np.minimum((sure * 10).astype(int), 9)
        assert [b.n for b in found.calibration.bins] == np.bincount(bins, minlength=10).tolist()
        assert [b.correct for b in found.calibration.bins] == np.bincount(bins[right], minlength=10).tolist()
        apart = np.abs(
            np.bincount(bins, weights=right, minlength=10) - np.bincount(bins, weights=sure, minlength=10)
        )
        close(found.calibration.ece, float(apart.sum() / len(sure)), 1e-10)

    def same_numbers(self, group: GroupQuality, mask: Any) -> None:
        truths, answers = self.actual[mask], self.number[mask]
        found = group.numbers
        assert found is not None
        assert found.n == int(mask.sum())
        close(found.mae, metrics.mean_absolute_error(truths, answers))
        close(found.rmse, metrics.root_mean_squared_error(truths, answers))
        close(found.bias, float(np.mean(answers - truths)), 1e-11)
        assert found.p90 == float(np.quantile(np.abs(answers - truths), 0.9, method="inverted_cdf"))
        assert found.worst == float(np.abs(answers - truths).max())

    def same_revenue(self, group: GroupQuality, mask: Any) -> None:
        figures = self.revenue[mask & np.isfinite(self.revenue)]
        assert [k.name for k in group.kpis] == (["revenue"] if len(figures) else [])
        for kpi in group.kpis:
            assert kpi.n == len(figures)
            assert kpi.mean is not None
            close(kpi.mean, float(np.mean(figures)))


def close(own: float, other: float, within: float = 1e-12) -> None:
    """Relative to the figure, and to 1 where it is small."""
    assert abs(own - other) <= within * max(1.0, abs(other)), (own, other)

"""What the thread lane runs next and refuses, in simulated time: no threads, no clock, no waiting."""

from __future__ import annotations

import heapq
import random
from collections import Counter

import numpy as np
import pytest

from seaway.core.errors import SeawayError, TemporaryError
from seaway.core.traffic import Limits
from seaway.engine.batcher import Batcher
from seaway.engine.batches import Batch
from seaway.engine.cost import CostModel
from seaway.engine.jobs import Job

ROW = {"x": np.zeros((1, 1), np.float32)}
OUTPUT = {"y": ROW["x"]}


def job_at(now_s: float, limits: Limits, caller: str = "", rows: int = 1) -> Job:
    job = Job(ROW, now_s, lambda job: None, caller, True)
    job.rows = rows
    job.deadline_s = now_s + limits.deadline_s
    return job


class Line:
    """One lane in simulated time: a batch of n rows takes a + b·n, spread by chance."""

    def __init__(
        self, a_s: float, b_s: float, limits: Limits, spread: float = 0.0, together: bool = True
    ) -> None:
        self.limits, self.a_s, self.b_s, self.spread = limits, a_s, b_s, spread
        self.chance = random.Random(7)
        self.now_s = 0.0
        self.ended: Counter[tuple[str, str]] = Counter()
        self.refusals: list[TemporaryError] = []
        self.sizes: list[int] = []
        self.end_s = float("inf")
        self.running: Batch | None = None
        self.batcher = Batcher(limits, CostModel(a_s, b_s, 10), lambda job: None, together, self.dropped)

    def dropped(self, job: Job, error: SeawayError | None) -> None:
        self.ended[job.caller, "cancelled" if error is None else error.code] += 1

    def send(self, caller: str = "", rows: int = 1) -> None:
        job = job_at(self.now_s, self.limits, caller, rows)
        early = self.refused_early(job)
        try:
            out = self.batcher.admit(job, self.now_s)
            assert not early, "refused before it was decoded, though it would have been let in"
        except TemporaryError as error:
            self.refusals.append(error)
            self.ended[caller, error.code] += 1
            return
        if out is not None:
            self.ended[out.caller, "overloaded"] += 1
        self.pump()

    def refused_early(self, job: Job) -> bool:
        try:
            self.batcher.refuse(job.caller, job.deadline_s, self.now_s)
        except TemporaryError:
            return True
        return False

    def pump(self) -> None:
        if self.running is None:
            self.running = self.batcher.take(self.now_s)
            if self.running is not None:
                self.sizes.append(self.running.rows)
                took_s = self.a_s + self.b_s * self.running.rows
                self.end_s = self.now_s + took_s * self.chance.uniform(1 - self.spread, 1 + self.spread)

    def until(self, at_s: float) -> None:
        """Let time pass, ending batches and waits as they come."""
        while True:
            waits = self.running is None and self.batcher.backlog.jobs > 0
            next_s = self.batcher.resume_s if waits else self.end_s
            if next_s > at_s:
                break
            self.now_s = max(self.now_s, next_s)
            if self.running is not None:
                self.finish(self.running)
            self.pump()
        self.now_s = at_s

    def finish(self, batch: Batch) -> None:
        batch.took_s = self.end_s - batch.started_s
        batch.runs = 1
        batch.results = [OUTPUT] * len(batch.jobs)
        self.running, self.end_s = None, float("inf")
        for job in batch.jobs:
            late = self.now_s > job.deadline_s
            self.ended[job.caller, "deadline_exceeded" if late else "answered"] += 1
        self.batcher.ended(batch, self.now_s)

    def flood(self, seconds: float, rates: dict[str, float]) -> None:
        """Poisson arrivals of each caller at its rate."""
        end_s = self.now_s + seconds
        coming = [(self.now_s + self.chance.expovariate(rate), name) for name, rate in rates.items()]
        heapq.heapify(coming)
        while coming[0][0] < end_s:
            at_s, name = heapq.heappop(coming)
            self.until(at_s)
            self.send(name)
            heapq.heappush(coming, (at_s + self.chance.expovariate(rates[name]), name))
        self.until(end_s)


@pytest.mark.parametrize("factor", [2.0, 5.0])
@pytest.mark.parametrize(
    ("a_s", "b_s", "together"),
    [(0.004, 0.0002, True), (0.0001, 0.005, True), (0.02, 0.0, False), (0.3, 0.002, True)],
)
def test_v01_under_overload_at_least_85_percent_of_the_peak_is_answered_in_time(
    factor: float, a_s: float, b_s: float, together: bool
) -> None:
    line = Line(a_s, b_s, Limits(), spread=0.3, together=together)
    cap = line.batcher.most_rows()
    peak = cap / (a_s + b_s * cap)
    seconds = 30.0 if peak < 1000 else 1.5  # a hundred batches or so
    line.flood(seconds, {"": factor * peak})
    answered = line.ended["", "answered"]
    assert answered >= 0.85 * peak * seconds, (line.ended, peak * seconds)
    assert line.ended["", "deadline_exceeded"] <= 0.1 * answered
    assert line.ended["", "overloaded"] > 0


def test_v01_those_let_in_are_answered_even_where_the_model_becomes_slower_meanwhile() -> None:
    line = Line(0.0, 0.004, Limits(), together=False)
    line.flood(3.0, {"": 500.0})
    line.b_s *= 1.4
    line.flood(3.0, {"": 500.0})
    after_a_wait = line.ended["", "overloaded"] - len(line.refusals)
    assert (after_a_wait, line.ended["", "deadline_exceeded"]) == (0, 0)
    assert line.ended["", "answered"] >= 0.85 * (3.0 / 0.004 + 3.0 / 0.0056)


def test_v04_one_caller_floods_and_the_others_are_served() -> None:
    line = Line(0.004, 0.0002, Limits(), spread=0.3)
    peak = 64 / (0.004 + 0.0002 * 64)
    others = {f"c{n}": 0.1 * peak / 5 for n in range(5)}
    line.flood(2.0, {"flood": 5 * peak, **others})
    line.until(line.now_s + 2.0)
    for name in others:
        mine = {code: count for (caller, code), count in line.ended.items() if caller == name}
        assert mine["answered"] >= 0.99 * sum(mine.values()), mine
    assert line.ended["flood", "answered"] > 0.7 * peak * 2


def test_v06_refusals_tell_when_to_come_back_and_not_all_the_same() -> None:
    line = Line(0.4, 0.0, Limits(deadline_s=1.0), together=False)
    for _ in range(20):
        line.send()
    assert line.sizes == [1]
    times = [error.retry_after_s for error in line.refusals]
    assert len(times) == 18  # one runs, one waits, a third would end after 1.2 s
    assert 0.8 <= min(times) < max(times) <= 1.6
    assert len(set(times)) > 10


def test_an_idle_lane_runs_at_once_and_a_low_load_never_waits() -> None:
    line = Line(0.004, 0.0002, Limits())
    for _ in range(50):
        line.send()
        assert line.running is not None
        line.until(line.now_s + 0.01)
    assert line.sizes == [1] * 50


def test_after_a_batch_it_waits_for_those_just_answered_and_no_longer_than_they_need() -> None:
    line = Line(0.010, 0.0001, Limits())
    line.send()
    for _ in range(8):
        line.send()
    line.until(line.end_s)  # the first alone, then the 8 together
    line.until(line.end_s)
    assert line.sizes == [1, 8]
    for _ in range(7):
        line.send()
    assert line.running is None
    line.send()
    assert line.sizes == [1, 8, 8]
    line.until(line.end_s)
    line.send()
    assert line.running is None
    waited_s = line.batcher.resume_s - line.now_s
    assert 0 < waited_s <= 0.15 * 0.0108 + 1e-9
    line.until(line.batcher.resume_s)
    assert line.sizes == [1, 8, 8, 1]


def test_a_model_that_gains_nothing_from_company_runs_each_alone_and_never_waits() -> None:
    line = Line(0.0001, 0.005, Limits())
    for _ in range(6):
        line.send()
    for _ in range(5):
        line.until(line.end_s)
        assert line.running is not None
    assert line.sizes == [1] * 6


def test_a_batch_takes_no_more_than_half_of_the_deadline() -> None:
    assert Line(0.002, 0.001, Limits(deadline_s=0.02)).batcher.most_rows() == 8
    assert Line(0.002, 0.0, Limits(max_rows=16)).batcher.most_rows() == 16


@pytest.mark.parametrize(("wait_s", "sizes"), [(0.0, [1, 1]), (0.05, [2])])
def test_a_wait_that_was_set_is_kept(wait_s: float, sizes: list[int]) -> None:
    line = Line(0.004, 0.0001, Limits(wait_s=wait_s))
    line.send()
    line.until(0.02)
    line.send()
    line.until(0.06)
    assert line.sizes == sizes


def test_a_model_that_was_slow_once_is_tried_again() -> None:
    line = Line(0.01, 0.0, Limits(deadline_s=1.0), together=False)
    line.batcher.cost = CostModel(5.0, 0.0, 10)
    for _ in range(200):
        line.send()
        line.until(line.now_s + 0.02)
    assert line.ended["", "answered"] == 200
    assert line.batcher.cost.seconds(1) < 0.1


def test_v07_what_is_past_its_deadline_or_cannot_make_it_is_dropped_unrun() -> None:
    line = Line(0.4, 0.0, Limits(deadline_s=1.0), together=False)
    line.send()
    line.a_s = 0.7  # the running batch began when 0.4 was known
    line.end_s = 0.7
    line.send("late")
    line.until(0.75)
    assert line.ended["late", "overloaded"] == 1
    assert line.sizes == [1]


def test_a_client_s_own_batch_counts_as_its_rows_and_a_larger_one_runs_alone() -> None:
    line = Line(0.010, 0.00001, Limits())
    line.send()
    for rows in (40, 30, 24, 200):
        line.send(rows=rows)
    for _ in range(4):
        line.until(line.end_s if line.running else line.batcher.resume_s)
    assert sorted(line.sizes) == [1, 30, 64, 200]


def test_a_belief_that_batches_never_pay_is_put_to_the_test_and_given_up() -> None:
    line = Line(0.0042, 0.00025, Limits())
    line.batcher.cost.a_s, line.batcher.cost.b_s = 0.0, 0.0045
    assert line.batcher.most_rows() == 1
    line.flood(20.0, {"": 500.0})
    assert max(line.sizes[-100:]) > 4
    assert line.ended["", "answered"] > 0.85 * 500 * 20


def test_a_model_that_gains_nothing_from_batches_is_seldom_tried_with_more() -> None:
    line = Line(0.0, 0.005, Limits())
    line.flood(20.0, {"": 300.0})
    assert line.batcher.most_rows() == 1
    assert sum(size > 1 for size in line.sizes) < 0.05 * len(line.sizes)

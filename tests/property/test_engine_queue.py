"""The queue of one model: fair between callers, nothing lost, nothing twice; and t(n) found from what was seen."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seaway.engine.backlog import Backlog
from seaway.engine.cost import CostModel
from seaway.engine.jobs import Job


def job_of(caller: str, rows: int, width: int = 1, alone: bool = False) -> Job:
    job = Job({"x": np.zeros((rows, width), np.float32)}, 0.0, lambda job: None, caller)
    job.rows, job.alone = rows, alone
    return job


COMING = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, 9), st.integers(1, 2), st.booleans(), st.booleans()),
    max_size=40,
)


@given(coming=COMING, most=st.integers(1, 12), together=st.booleans())
def test_all_that_waits_is_taken_once_in_the_order_of_its_caller(
    coming: list[tuple[str, int, int, bool, bool]], most: int, together: bool
) -> None:
    backlog = Backlog(lambda job: job.tensors["x"].shape[1:])
    jobs = [job_of(caller, rows, width, alone) for caller, rows, width, alone, _ in coming]
    for job in jobs:
        backlog.add(job)
    removed = [job for job, (*_, remove) in zip(jobs, coming, strict=True) if remove]
    for job in removed:
        backlog.remove(job)
    taken: list[Job] = []
    while batch := backlog.take(most, together, lambda job: False):
        assert len(batch) == 1 or sum(job.rows for job in batch) <= most
        assert len({job.tensors["x"].shape[1:] for job in batch}) == 1
        assert len(batch) == 1 or (together and not any(job.alone for job in batch[1:]))
        taken.extend(batch)
    assert Counter(map(id, taken)) == Counter(id(job) for job in jobs if job not in removed)
    assert (backlog.jobs, backlog.rows, backlog.callers) == (0, 0, 0)
    for caller in "abc":  # those of one kind keep their order
        kinds = {(job.rows, job.tensors["x"].shape[1], job.alone) for job in jobs}
        for kind in kinds:
            came = [
                job
                for job in jobs
                if job not in removed
                and job.caller == caller
                and (job.rows, job.tensors["x"].shape[1], job.alone) == kind
            ]
            assert [job for job in taken if job in came] == came


@given(
    waiting=st.dictionaries(
        st.sampled_from("abcde"), st.tuples(st.integers(20, 60), st.integers(1, 4)), min_size=2
    )
)
def test_v04_callers_that_all_have_work_get_the_same_rows(waiting: dict[str, tuple[int, int]]) -> None:
    backlog = Backlog(lambda job: None)
    for caller, (count, rows) in waiting.items():
        for _ in range(count):
            backlog.add(job_of(caller, rows))
    given_rows: Counter[str] = Counter()
    while all(backlog.rows_of(caller) for caller in waiting):
        # One job at a time: in a batch, small jobs may also fill the room that no other's next job fits in.
        for job in backlog.take(8, False, lambda job: False):
            given_rows[job.caller] += job.rows
    most_rows = max(rows for _, rows in waiting.values())
    assert max(given_rows.values()) - min(given_rows[caller] for caller in waiting) <= 2 * most_rows


def test_a_job_to_put_out_is_the_newest_of_the_longest_line() -> None:
    backlog = Backlog(lambda job: None)
    assert backlog.newest_of_longest(0) is None
    many = [job_of("flood", 1) for _ in range(5)]
    for job in (*many, job_of("other", 2)):
        backlog.add(job)
    assert backlog.newest_of_longest(4) is many[-1]
    assert backlog.newest_of_longest(5) is None


@given(
    a_s=st.floats(1e-5, 0.05),
    b_s=st.floats(1e-6, 0.005),
    sizes=st.lists(st.integers(1, 64), min_size=2, max_size=6, unique=True),
)
def test_a_and_b_are_found_whatever_they_are(a_s: float, b_s: float, sizes: list[int]) -> None:
    cost = CostModel()
    for _ in range(400):
        for rows in sizes:
            cost.observe(rows, a_s + b_s * rows)
    for rows in sizes:
        assert cost.seconds(rows) == pytest.approx(a_s + b_s * rows, rel=0.1)
    if max(sizes) - min(sizes) >= 8:
        assert cost.b_s == pytest.approx(b_s, rel=0.2, abs=1e-6)
    assert cost.a_s >= 0


@given(seen=st.lists(st.tuples(st.integers(0, 500), st.floats(0, 100)), max_size=60))
def test_no_prediction_is_negative_or_infinite(seen: list[tuple[int, float]]) -> None:
    cost = CostModel()
    for rows, took_s in seen:
        cost.observe(rows, took_s)
        assert 0 <= cost.a_s <= 100
        assert 0 <= cost.b_s <= 100

"""Requests that end a model's process are refused in the end, and only those."""

from __future__ import annotations

import numpy as np
import pytest
from engine_fakes import digest

from seaway.core.errors import UserError
from seaway.core.tensors import Tensors
from seaway.engine import quarantine
from seaway.engine.jobs import Job
from seaway.engine.quarantine import Quarantine, Quarantines


def job(*values: float, name: str = "x") -> Job:
    return Job({name: np.array(values, np.float32)}, 0.0, lambda _: None)


def test_nobody_is_suspected_before_a_crash() -> None:
    screen, asked = Quarantine(), job(1)
    screen.admit(asked)
    assert not asked.alone


def test_f02_the_jobs_of_a_crashed_batch_run_alone_and_the_guilty_one_is_refused_after_three() -> None:
    screen = Quarantine()
    screen.crashed([job(1), job(2), job(3)])
    for value in (1, 2, 3):
        suspect = job(value)
        screen.admit(suspect)
        assert suspect.alone
    other = job(4)
    screen.admit(other)
    assert not other.alone
    screen.crashed([job(2)])
    screen.admit(job(2))
    screen.crashed([job(2)])
    with pytest.raises(UserError, match="3 times") as refused:
        screen.admit(job(2))
    assert refused.value.code == "quarantined"
    screen.admit(job(1))


def test_the_same_request_twice_in_a_batch_counts_once() -> None:
    screen = Quarantine()
    screen.crashed([job(1)] * 5)
    screen.admit(job(1))


def test_suspects_are_forgotten_and_the_last_seen_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quarantine, "_REMEMBERED", 3)
    screen = Quarantine()
    screen.crashed([job(0)])
    for value in range(1, 6):
        screen.admit(job(0))
        screen.crashed([job(value)])
    kept = []
    for value in range(6):
        asked = job(value)
        screen.admit(asked)
        kept += [value] * asked.alone
    assert kept == [0, 4, 5]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"x": np.array([1.0])}, {"y": np.array([1.0])}),
        ({"x": np.array([1.0], np.float32)}, {"x": np.array([1.0], np.float64)}),
        ({"x": np.zeros((2, 1))}, {"x": np.zeros((1, 2))}),
        ({"x": np.array(["a", "bc"], object)}, {"x": np.array(["ab", "c"], object)}),
        ({"x": np.array([0.0])}, {"x": np.array([1.0])}),
    ],
    ids=["name", "datatype", "shape", "strings", "value"],
)
def test_other_requests_have_other_fingerprints(one: Tensors, other: Tensors) -> None:
    assert quarantine.fingerprint(one) != quarantine.fingerprint(other)


def test_a_fingerprint_knows_neither_order_nor_memory_layout() -> None:
    wide = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert quarantine.fingerprint({"a": wide[:, ::2], "b": wide}) == quarantine.fingerprint(
        {"b": wide.copy(), "a": wide[:, ::2].copy()}
    )


def test_one_screen_for_each_model() -> None:
    screens = Quarantines()
    screens.of(digest("a")).crashed([job(1)])
    asked = job(1)
    screens.of(digest("b")).admit(asked)
    assert not asked.alone
    screens.of(digest("a")).admit(asked)
    assert asked.alone

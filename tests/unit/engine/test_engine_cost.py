"""t(n) = a + b·n, learned online."""

from __future__ import annotations

import math
import random

import pytest

from seaway.engine.cost import CostModel


def test_nothing_is_known_at_first() -> None:
    cost = CostModel()
    assert (cost.samples, cost.seconds(64), cost.rows_within(0.0)) == (0, 0.0, math.inf)


def test_a_and_b_are_found_from_mixed_batches() -> None:
    cost, chance = CostModel(), random.Random(1)
    for _ in range(300):
        rows = chance.choice([1, 8, 32, 64])
        cost.observe(rows, (0.004 + 0.0002 * rows) * chance.uniform(0.95, 1.05))
    assert cost.a_s == pytest.approx(0.004, rel=0.1)
    assert cost.b_s == pytest.approx(0.0002, rel=0.1)
    assert cost.rows_within(0.0104) == pytest.approx(32, rel=0.1)


def test_an_outlier_hardly_counts_and_a_lasting_change_is_believed() -> None:
    cost = CostModel()
    for _ in range(50):
        cost.observe(1, 0.001)
    cost.observe(1, 10.0)
    assert cost.seconds(1) < 0.0012
    for _ in range(120):
        cost.observe(1, 0.010)
    assert cost.seconds(1) == pytest.approx(0.010, rel=0.2)


def test_equal_batches_keep_the_slope_and_move_the_offset() -> None:
    cost = CostModel(0.004, 0.0001, 10)
    for _ in range(500):
        cost.observe(64, 0.0204)
    assert cost.seconds(64) == pytest.approx(0.0204, rel=0.02)
    assert cost.b_s == pytest.approx(0.0001, rel=0.5)


def test_no_time_is_ever_negative() -> None:
    cost = CostModel()
    for rows, took_s in ((1, 0.01), (64, 0.001), (1, 0.02), (64, 0.0)):
        cost.observe(rows, took_s)
        assert cost.a_s >= 0
        assert cost.b_s >= 0
    assert CostModel(0.01, 0.001, 1).rows_within(0.001) == 0.0

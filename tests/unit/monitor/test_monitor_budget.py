"""The sampling rate follows what the sinks cost."""

from __future__ import annotations

import pytest

from seaway.monitor.recording.budget import HOLDING_S, SHARE, Budget


def drive(budget: Budget, per_s: int, cost_s: float, seconds: int, at_s: float = 0.0) -> float:
    """Seconds of traffic of which each drawn request costs so much in all; returns the share of a core of the last ten."""
    spent_s = 0.0
    for tick in range(seconds * 10):
        drawn = int(per_s / 10 * budget.rate)
        budget.seen(per_s // 10)
        budget.spent(drawn, drawn * (cost_s - HOLDING_S))
        budget.adjust(at_s + (tick + 1) / 10)
        if tick >= (seconds - 10) * 10:
            spent_s += drawn * cost_s
    return spent_s / 10


def test_all_is_drawn_where_it_costs_little() -> None:
    budget = Budget(0.0)
    drive(budget, 1000, 5e-6, 60)
    assert budget.rate == 1.0


@pytest.mark.parametrize("cost_s", [6e-6, 20e-6, 2e-4])
def test_a_dear_sink_gets_its_share_of_a_core_and_no_more(cost_s: float) -> None:
    budget = Budget(0.0)
    assert drive(budget, 30_000, cost_s, 60) == pytest.approx(SHARE, rel=0.1)
    assert 0 < budget.rate < 1


def test_it_comes_back_when_the_load_goes() -> None:
    budget = Budget(0.0)
    drive(budget, 30_000, 20e-6, 60)
    low = budget.rate
    drive(budget, 100, 20e-6, 40, at_s=60.0)
    assert low < 0.1 and budget.rate == 1.0


def test_without_traffic_nothing_changes() -> None:
    budget = Budget(0.0)
    budget.adjust(100.0)
    assert budget.rate == 1.0

"""The sampling rate follows what the sinks cost, and what they may."""

from __future__ import annotations

import pytest

from seaway.monitor.recording.budget import HOLDING_S, IDLE_SHARE, SHARE, Budget


class Drive:
    """Traffic whose drawn requests cost so much each, in all; `writing_s` is what a second costs besides."""

    def __init__(self, cost_s: float, writing_s: float = 0.0, busy: float = 1.0) -> None:
        self.budget = Budget(0.0, 0.0)
        self.busy = busy
        self.cpu_s = 0.0
        self.cost_s = cost_s
        self.writing_s = writing_s
        self.at_s = 0.0

    def go(self, per_s: int, seconds: int) -> float:
        """Returns the share of a core that the last ten seconds took, or all where there are fewer."""
        budget, spent_s, measured = self.budget, 0.0, min(seconds, 10)
        for tick in range(seconds * 10):
            drawn = round(per_s / 10 * budget.rate)
            budget.seen(per_s // 10)
            budget.spent(drawn, drawn * (self.cost_s - HOLDING_S))
            if tick % 10 == 0:
                budget.spent(0, self.writing_s)
            self.at_s += 0.1
            self.cpu_s += 0.1 * self.busy
            budget.adjust(self.at_s + 1e-9, self.cpu_s)
            if tick >= (seconds - measured) * 10:
                spent_s += drawn * self.cost_s + (self.writing_s if tick % 10 == 0 else 0.0)
        return spent_s / measured


def test_all_is_drawn_where_it_costs_little() -> None:
    drive = Drive(10e-6, busy=0.1)
    drive.go(1000, 60)
    assert drive.budget.rate == 1.0


@pytest.mark.parametrize("cost_s", [8e-6, 20e-6, 2e-4])
def test_a_dear_sink_gets_its_share_of_a_core_and_no_more(cost_s: float) -> None:
    drive = Drive(cost_s)
    assert drive.go(30_000, 60) == pytest.approx(SHARE, rel=0.15)
    assert 0 < drive.budget.rate < 1


@pytest.mark.parametrize(
    ("busy", "share"), [(0.0, IDLE_SHARE), (0.5, (SHARE + IDLE_SHARE) / 2), (4.0, SHARE)]
)
def test_an_idle_worker_draws_more(busy: float, share: float) -> None:
    assert Drive(20e-6, busy=busy).go(30_000, 60) == pytest.approx(share, rel=0.15)


def test_it_comes_back_within_seconds_when_the_load_goes() -> None:
    drive = Drive(20e-6)
    drive.go(30_000, 60)
    low = drive.budget.rate
    drive.busy = 0.05
    drive.go(300, 3)
    assert low < 0.05 and drive.budget.rate == 1.0


def test_a_burst_after_a_quiet_time_is_drawn_whole() -> None:
    drive = Drive(20e-6, busy=0.2)
    drive.go(10, 20)
    drive.go(1500, 1)
    assert drive.budget.rate == 1.0


def test_what_it_costs_to_write_is_no_reason_to_draw_ever_less() -> None:
    drive = Drive(20e-6, writing_s=0.001)
    assert drive.go(30_000, 120) == pytest.approx(SHARE, rel=0.2)
    assert drive.budget.rate > 0.002


def test_one_dear_moment_does_not_keep_the_rate_down() -> None:
    drive = Drive(20e-6, busy=0.2)
    drive.go(500, 30)
    drive.budget.spent(50, 1.5)  # a library was loaded
    drive.go(500, 10)
    assert drive.budget.rate == 1.0


def test_something_is_always_drawn() -> None:
    drive = Drive(0.5)
    drive.go(1000, 60)
    assert drive.budget.rate >= 1 / 1000


def test_without_traffic_nothing_is_held_back() -> None:
    budget = Budget(0.0, 0.0)
    budget.adjust(100.0, 0.0)
    assert budget.rate == 1.0

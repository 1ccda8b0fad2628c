"""How many labels a plan says that a check takes: from labels in a real SQLite file, and beside what it then took."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from label_world import BEGAN_S, STABLE, World

from seaway.control.rollouts import sample_sizes
from seaway.control.rollouts.sample_sizes import PastLabels
from seaway.core.evidence import arms, units
from seaway.core.evidence.arms import Rule
from seaway.core.rollouts import margins
from seaway.core.rollouts.spec import RolloutCheck

REVENUE = RolloutCheck("outcome", kpi="revenue", harm="10%")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    for number in range(200):
        made.answer(f"r{number}", "up" if number % 4 else "down", after_s=-100.0)
    yield made
    made.outcomes.close()


def known(world: World, tmp_path: Path, *checks: RolloutCheck) -> dict[str, PastLabels]:
    return {**sample_sizes.past(tmp_path, "prices", STABLE, BEGAN_S, checks)}


def test_it_stands_on_the_labels_of_the_live_revision(world: World, tmp_path: Path) -> None:
    checks = RolloutCheck("quality"), RolloutCheck("outcome", good="down"), RolloutCheck("errors")
    assert known(world, tmp_path, *checks) == {}
    world.tell(*((f"r{number}", "down" if number % 2 else "up") for number in range(200)))
    world.tell(*((f"r{number}", "left") for number in range(200)), name="")  # conflicts: the first counts
    found = known(world, tmp_path, *checks)
    assert found["quality"] == PastLabels(200, pytest.approx(0.75), pytest.approx(0.1875))
    assert found["outcome"] == PastLabels(200, pytest.approx(0.5), pytest.approx(0.25))
    assert "errors" not in found


def test_a_kpi_is_capped_as_in_the_rollout(world: World, tmp_path: Path) -> None:
    world.tell(*((f"r{number}", str(number)) for number in range(150)), name="revenue")
    found = known(world, tmp_path, REVENUE)["outcome"]
    assert found.count == 150
    assert found.mean == pytest.approx(0.5, abs=0.02)  # of what lacks to the cap
    assert 0.07 < found.variance < 0.1
    few = RolloutCheck("outcome", kpi="clicks", cap=4.0)
    assert known(world, tmp_path, few) == {}


@pytest.mark.parametrize(
    ("options", "lift"),
    [({"harm": "10%"}, 0.0), ({"gain": "10%"}, 0.2), ({"harm": "10%", "better": "lower"}, 0.0)],
    ids=str,
)
def test_what_it_takes_is_of_that_order(options: dict[str, str], lift: float) -> None:
    check = RolloutCheck("outcome", kpi="revenue", **options)  # type: ignore[arg-type]
    draw = np.random.default_rng(11)

    def bad(count: int, mean: float) -> np.ndarray:  # type: ignore[type-arg]
        share = np.minimum(draw.exponential(mean, count) / 4.6, 1.0)
        return share if check.better == "lower" else 1.0 - share

    before = bad(10_000, 1.0)
    said = sample_sizes.needed(check, PastLabels(10_000, float(before.mean()), float(before.var())), 0.5)
    assert said is not None
    found = arms.begin(
        Rule(margins.margin_of(check), rate=0.8, axis=margins.axis_of(check), interval=False), 0.0
    )
    while found.peak_pass < math.log(20) and found.looks < 3000:
        looked = units.labels(found.looks + 1.0, bad(100, 1.0 + lift).tolist(), bad(100, 1.0).tolist())
        found = arms.seen(found, looked)
    assert said / 4 < found.total.candidate < said * 4


def test_more_of_the_stables_labels_make_the_candidates_worth_more() -> None:
    past = PastLabels(500, 0.2, 0.16)
    tight, wide = (sample_sizes.needed(RolloutCheck("quality"), past, share) for share in (0.05, 0.5))
    assert tight is not None
    assert wide is not None
    assert wide / tight == pytest.approx(1.9, rel=0.05)
    assert sample_sizes.needed(RolloutCheck("quality"), PastLabels(500, 0.0, 0.0), 0.5) is None


def test_a_gain_that_no_candidate_could_have_takes_no_number_of_labels() -> None:
    rare = PastLabels(5_000, 0.01, 0.0099)
    assert sample_sizes.needed(RolloutCheck("quality", gain="2%"), rare, 0.5) is None
    assert sample_sizes.needed(RolloutCheck("quality", gain="0.2%"), rare, 0.5) is not None

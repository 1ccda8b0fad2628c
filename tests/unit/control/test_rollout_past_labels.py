"""A rollout's checks of labels begin with how the stable revision's labels hung together; with caution where nobody knows."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from label_world import ASKED, STABLE, World

from seaway.control.rollouts import past_labels
from seaway.core.evidence import units
from seaway.core.rollouts import processes
from seaway.core.rollouts.baseline import Baseline
from seaway.core.rollouts.processes import LabelLook, Rates
from seaway.core.rollouts.spec import RolloutCheck

QUALITY = RolloutCheck("quality")
REVENUE = RolloutCheck("outcome", kpi="revenue", cap=100.0)
SECONDS, EACH = 90, 16


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    for number in range(SECONDS * EACH):
        made.answer(f"r{number}", "up", after_s=-2000.0)
    yield made
    made.outcomes.close()


def told(world: World, alike: int, name: str = "") -> None:
    """Sixteen labels a second for 90 s; one in seven groups of so many neighbours is wrong (has a value)."""
    values = ("100", "0") if name else ("down", "up")
    draw = random.Random(2)
    lucky = [draw.random() > 1 / 7 for _ in range(SECONDS * EACH)]
    for second in range(SECONDS):
        numbers = range(second * EACH, (second + 1) * EACH)
        world.tell(*((f"r{n}", values[lucky[n // alike]]) for n in numbers), name=name)


def begun(world: World, tmp_path: Path, check: RolloutCheck) -> Rates:
    """The check after a rollout's first look, in which no label came."""
    asked = msgspec.structs.replace(ASKED, outcome=check if check.check == "outcome" else None)
    look = past_labels.with_past(world.look(asked), tmp_path, asked, [check])
    found = processes.labelled(processes.begin(check, Baseline(), (), 0.0), check, look)
    assert isinstance(found, Rates)
    return found


def divisors(found: Rates) -> tuple[float, float]:
    arms = found.parts[0].arms
    return arms.divisor(fail=True), arms.divisor(fail=False)


def test_labels_of_a_minute_and_more_end_the_caution(world: World, tmp_path: Path) -> None:
    told(world, alike=1)
    failing, passing = divisors(begun(world, tmp_path, QUALITY))
    assert failing == passing < 2.0


def test_clusters_in_them_are_known_from_the_first_look_on(world: World, tmp_path: Path) -> None:
    told(world, alike=8)
    failing, passing = divisors(begun(world, tmp_path, QUALITY))
    assert failing == passing > 4.0


def test_so_are_those_of_a_kpi(world: World, tmp_path: Path) -> None:
    told(world, alike=1, name="revenue")
    failing, passing = divisors(begun(world, tmp_path, REVENUE))
    assert failing == passing < 2.0
    past = past_labels.known(tmp_path, "prices", STABLE, ASKED.started_s, REVENUE)
    assert past is not None
    assert past.variance == pytest.approx(1.0)  # all or nothing


def test_without_a_past_or_with_one_of_a_single_body_both_sides_are_divided_by_eight(
    world: World, tmp_path: Path
) -> None:
    assert divisors(begun(world, tmp_path, QUALITY)) == (8.0, 8.0)
    world.tell(*((f"r{n}", "down" if n % 7 == 0 else "up") for n in range(SECONDS * EACH)))
    assert divisors(begun(world, tmp_path, QUALITY)) == (8.0, 8.0)


def test_the_past_is_taken_before_the_first_label_and_not_again(world: World, tmp_path: Path) -> None:
    told(world, alike=1)
    found = begun(world, tmp_path, QUALITY)
    fed = processes.labelled(found, QUALITY, LabelLook(units.labels(5.0, [0.0, 1.0], [0.0, 0.0])))
    again = begun(world, tmp_path, QUALITY)
    past = past_labels.known(tmp_path, "prices", STABLE, ASKED.started_s, QUALITY)
    assert processes.labelled(fed, QUALITY, LabelLook(quality_past=past)) == fed
    assert again == found

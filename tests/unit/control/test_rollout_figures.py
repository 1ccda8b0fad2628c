"""The check `outcome` of a KPI: what its figures say, on which scale, and which never count; on a real SQLite file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from label_world import ASKED, CANDIDATE, STABLE, World, counts

from seaway.control.rollouts.labels import LabelsAsked
from seaway.core.rollouts.spec import RolloutCheck


def asked(**options: object) -> LabelsAsked:
    check = RolloutCheck("outcome", kpi="revenue", **options)  # type: ignore[arg-type]
    return msgspec.structs.replace(ASKED, quality=False, outcome=check)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    for name, by in (("a", STABLE), ("b", CANDIDATE), ("c", STABLE), ("d", CANDIDATE), ("e", CANDIDATE)):
        made.answer(name, "up", by=by)
    yield made
    made.outcomes.close()


def test_bad_is_what_lacks_to_the_cap(world: World) -> None:
    world.tell(("a", "20"), ("b", "10"), ("c", "55"), ("d", "0"), name="revenue")
    found = world.look(asked(cap=40.0))
    assert counts(found.outcome) == (2, 0.75 + 1.0, 2, 0.5 + 0.0)
    assert (found.cap, found.below, found.quality, found.fault) == (40.0, 0, None, None)


def test_where_lower_is_better_bad_is_the_value(world: World) -> None:
    world.tell(("a", "20"), ("b", "10"), ("c", "55"), ("d", "0"), name="revenue")
    assert counts(world.look(asked(cap=40.0, better="lower")).outcome) == (2, 0.25, 2, 1.5)


def test_values_below_0_count_as_0_and_are_told(world: World) -> None:
    world.tell(("b", "-7"), ("d", "-0.5"), ("a", "40"), name="revenue")
    found = world.look(asked(cap=40.0))
    assert (counts(found.outcome), found.below) == ((2, 2.0, 1, 0.0), 2)
    world.tell(("e", "-1"), name="revenue")
    assert world.look(asked(cap=40.0)).below == 3


def test_a_request_counts_once_with_its_first_figure_and_other_facts_do_not(world: World) -> None:
    world.tell(("a", "1"), ("b", "1"))
    world.tell(("b", "3"), name="clicks")
    world.tell(("b", "10", 0), ("b", "30", 1), ("b", "20", 0), name="revenue")
    assert counts(world.look(asked(cap=40.0)).outcome) == (1, 0.75, 0, 0)
    world.tell(("b", "5", 2), name="revenue")
    assert world.look(asked(cap=40.0)).outcome is None


def test_quality_and_a_kpi_count_each_their_own(world: World) -> None:
    both = msgspec.structs.replace(asked(cap=40.0), quality=True)
    world.tell(("b", "10"), ("a", "40"), name="revenue")
    world.tell(("a", "down"), ("d", "up"))
    found = world.look(both)
    assert counts(found.outcome) == (1, 0.75, 1, 0.0)
    assert counts(found.quality) == (1, 0, 1, 1)
    assert world.look(both).outcome is None


def test_the_cap_is_the_stables_past_largest_but_a_hundredth_of_what_is_above_0(world: World) -> None:
    for number in range(1, 201):
        world.answer(f"past{number}", "up", after_s=-100.0)
    world.tell(*((f"past{n}", str(n)) for n in range(1, 201)), name="revenue")
    for number in range(300):
        world.answer(f"none{number}", "up", after_s=-90.0)
    world.tell(*((f"none{n}", "0") for n in range(300)), name="revenue")
    world.tell(("b", "99"), name="revenue")
    found = world.look(asked())
    assert (found.cap, counts(found.outcome)) == (198.0, (1, 0.5, 0, 0))


def test_without_a_past_the_first_values_tell_the_cap_and_do_not_count(world: World) -> None:
    for number in range(150):
        world.answer(f"s{number}", "up", by=STABLE)
    world.tell(*((f"s{n}", str(n)) for n in range(60)), ("b", "-10"), name="revenue")
    assert world.look(asked()) == world.look(asked())
    assert world.cursor is not None
    assert (world.cursor.figure.cap, len(world.cursor.figure.values)) == (None, 59)  # a 0 tells nothing
    world.tell(*((f"s{n}", str(n)) for n in range(60, 101)), ("d", "10"), name="revenue")
    assert world.look(asked()).outcome is None
    assert (world.cursor.figure.cap, world.cursor.figure.values) == (99.0, ())
    world.tell(("e", "33"), ("s149", "99"), name="revenue")
    found = world.look(asked())
    assert (counts(found.outcome), found.below) == ((1, pytest.approx(2 / 3), 1, 0), 0)  # of what counted


def test_figures_that_come_for_one_arm_alone_are_not_believed(world: World) -> None:
    """Such as revenue that is told only where something was bought, which is what differs."""
    for number in range(60):
        world.answer(f"x{number}", "up", by=CANDIDATE)
    world.tell(*((f"x{n}", "1") for n in range(60)), name="revenue")
    found = world.look(asked(cap=40.0))
    assert found.fault is None
    assert found.outcome_fault is not None
    assert "60 of 60 labelled requests are the candidate's" in found.outcome_fault
    world.tell(("a", "1"), name="revenue")
    assert (
        world.look(msgspec.structs.replace(asked(cap=40.0), since_s=ASKED.since_s + 1)).outcome_fault is None
    )

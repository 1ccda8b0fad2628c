"""Labels as evidence: each counts once, in the look in which it came, and only where it is fair; on a real SQLite file."""

from __future__ import annotations

import math
import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from label_world import ASKED, BEGAN_S, CANDIDATE, STABLE, World, counts

from seaway.control.rollouts import figures
from seaway.control.rollouts import labels as rollout_labels
from seaway.control.rollouts.labels import LabelCursor
from seaway.core.rollouts.processes import LabelLook
from seaway.core.rollouts.spec import RolloutCheck
from seaway.monitor.feedback import schema


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.outcomes.close()


def test_no_outcome_was_ever_told(world: World) -> None:
    assert world.look() == LabelLook()
    assert world.cursor == LabelCursor(0, ASKED.since_s)


def test_each_label_counts_in_the_look_in_which_it_came(world: World) -> None:
    for name, by in (("a", STABLE), ("b", CANDIDATE), ("c", STABLE), ("d", CANDIDATE)):
        world.answer(name, "up", by=by)
    assert world.look().quality is None
    world.tell(("a", "up"), ("b", "down"))
    found = world.look()
    assert (counts(found.quality), found.outcome, found.fault) == ((1, 1, 1, 0), None, None)
    assert found.quality is not None
    assert found.quality.at_s == world.now_s
    assert world.look().quality is None
    world.tell(("d", "up"), ("c", "down"))
    assert counts(world.look().quality) == (1, 0, 1, 1)


def test_a_label_that_was_early_counts_once_its_prediction_is_seen(world: World) -> None:
    world.tell(("late", "up"))
    world.answer("other", "up")
    world.tell(("other", "up"))
    assert counts(world.look().quality) == (0, 0, 1, 0)
    world.answer("late", "down", by=CANDIDATE)
    world.now_s += 10
    assert world.outcomes.retry(world.now_s) == 1
    assert counts(world.look().quality) == (1, 1, 0, 0)
    assert world.look().quality is None


def test_a_label_told_again_or_corrected_changes_nothing(world: World) -> None:
    world.answer("a", "up")
    world.answer("b", "up", by=CANDIDATE)
    world.tell(("a", "down"))
    assert counts(world.look().quality) == (0, 0, 1, 1)
    world.tell(("a", "down"), ("a", "up"), ("b", "up"), ("b", "up"))
    assert counts(world.look().quality) == (1, 0, 0, 0)


def test_the_order_in_which_labels_come_changes_no_total(tmp_path: Path) -> None:
    numbers = list(range(200))
    totals = set()
    for seed in range(3):
        world = World(tmp_path / str(seed))
        shuffled = random.Random(seed).sample(numbers, len(numbers))
        for number in numbers:
            world.answer(f"r{number}", "up" if number % 3 else "down", by=CANDIDATE if number % 2 else STABLE)
        sums = [0.0] * 4
        for start in range(0, len(shuffled), 50):
            world.tell(*((f"r{number}", "up") for number in shuffled[start : start + 50]))
            sums = [a + b for a, b in zip(sums, counts(world.look().quality) or (0,) * 4, strict=True)]
        world.outcomes.close()
        totals.add(tuple(sums))
    assert totals == {(100, 33, 100, 34)}


def test_a_request_of_many_rows_is_one_unit(world: World) -> None:
    world.answer("batch", "up", "down", "up", by=CANDIDATE)
    world.answer("one", "up")
    world.tell(("batch", "down", 1), ("batch", "down", 0), ("one", "up"))
    assert counts(world.look().quality) == (1, 0, 1, 0)
    world.tell(("batch", "down", 2))
    assert world.look().quality is None


def test_what_cannot_be_compared_is_no_label_and_the_next_one_is(world: World) -> None:
    """But it is an outcome: that of the request, whatever was answered."""
    asked = msgspec.structs.replace(ASKED, outcome=RolloutCheck("outcome", good="down"))
    world.known("down")
    world.answer("a", "up", by=CANDIDATE)
    world.tell(("a", "down", 7))
    found = world.look(asked)
    assert (found.quality, counts(found.outcome)) == (None, (1, 0, 0, 0))
    assert world.cursor is not None
    assert world.cursor.errors == ()
    world.tell(("a", "down", 0))
    found = world.look(asked)
    assert (counts(found.quality), found.outcome) == ((1, 1, 0, 0), None)


@pytest.mark.parametrize(
    "answer",
    [
        {"after_s": -5.0},
        {"after_s": 5.0},
        {"after_s": 10.75},
        {"by": STABLE - 1},
        {"unit": False},
        {"endpoint": "rents"},
    ],
    ids=[
        "before the rollout",
        "in an earlier step",
        "in a second that moved",
        "a revision before, as of an endpoint deleted since",
        "no unit",
        "other",
    ],
)
def test_what_no_verdict_may_count(world: World, answer: dict[str, object]) -> None:
    world.answer("a", "up", **answer)  # type: ignore[arg-type]
    world.tell(("a", "down"), ("nobody", "down"))
    found = world.look(msgspec.structs.replace(ASKED, outcome=RolloutCheck("outcome", good="up")))
    assert (found.quality, found.outcome, found.fault) == (None, None, None)


def test_business_figures_are_no_labels(world: World) -> None:
    world.answer("a", "up")
    world.tell(("a", "3"), name="revenue")
    assert (
        world.look(msgspec.structs.replace(ASKED, outcome=RolloutCheck("outcome", good="3"))) == LabelLook()
    )


def test_outcomes_count_whatever_was_answered(world: World) -> None:
    asked = msgspec.structs.replace(ASKED, quality=False, outcome=RolloutCheck("outcome", good="True"))
    world.known("true", answer=2.5)
    world.answer("a", 3.5, by=CANDIDATE)
    world.answer("b", 3.5, by=CANDIDATE)
    world.answer("c", 1.5)
    world.answer("failed")
    world.tell(("a", "true"), ("b", "left the shop"), ("c", "1"), ("failed", "0"))
    found = world.look(asked)
    assert found.quality is None
    assert counts(found.outcome) == (2, 1, 2, 1)


def test_an_outcome_that_never_comes_is_no_measure(world: World) -> None:
    """Such as `Bought` where they are called `bought`: both arms are as bad as can be, so the candidate is no worse."""
    asked = msgspec.structs.replace(ASKED, outcome=RolloutCheck("outcome", good="Bought"))
    for number in range(40):
        world.answer(f"r{number}", "up", by=CANDIDATE if number % 2 else STABLE)
    world.tell(*((f"r{number}", ("bought", "left")[number % 3 == 0]) for number in range(20)))
    found = world.look(asked)
    assert found.outcome is None
    assert found.outcome_fault == "no outcome was 'Bought' yet, but 'bought', 'left'"
    assert found.fault is None
    assert counts(found.quality) == (10, 10, 10, 10)
    assert world.look(asked).outcome_fault == found.outcome_fault
    world.tell(("r20", "left"), ("r21", "Bought"), ("r22", "left"), ("r23", "Bought"))
    found = world.look(asked)
    assert found.outcome_fault is None
    assert found.outcome is None  # which of a look come behind the first is no chance where they are sorted
    world.tell(("r24", "left"))
    assert counts(world.look(asked).outcome) == (0, 0, 1, 1)


@pytest.mark.parametrize(
    ("value", "good", "same"),
    [
        ("1", "1", True),
        ("true", "1", True),
        ("1", "true", True),
        ("true", "TRUE", True),
        ("2", "2.0", True),
        ("bought", "bought", True),
        ("bought", "1", False),
        ("Bought", "bought", False),
        ("0", "true", False),
    ],
)
def test_how_a_wanted_outcome_may_be_spelled(value: str, good: str, same: bool) -> None:
    assert rollout_labels.is_good(value, good) is same


def test_numbers_are_judged_by_a_cap_from_before_the_rollout(world: World) -> None:
    for number in range(100):  # the stable revision was wrong by 1 to 100
        world.answer(f"old{number}", 0.0, after_s=-50.0)
        world.tell((f"old{number}", str(number + 1)))
    world.answer("s", 0.0)
    world.answer("c", 0.0, by=CANDIDATE)
    world.answer("worse", 0.0, by=CANDIDATE)
    world.tell(("s", "-9.9"), ("c", "49.5"), ("worse", "1e9"))
    found = world.look()
    assert world.cursor is not None
    assert world.cursor.cap == 99.0
    assert counts(found.quality) == (2, pytest.approx(1.5), 1, pytest.approx(0.1))


def test_a_cap_is_learnt_where_there_were_too_few_labels_and_those_do_not_count(world: World) -> None:
    for number in range(99):
        world.answer(f"old{number}", 0.0, after_s=-50.0)
        world.tell((f"old{number}", "1000"))
    for number in range(250):
        world.answer(f"s{number}", 0.0)
        world.answer(f"c{number}", 0.0, by=CANDIDATE)
    for first in (0, 60):
        names = [f"{arm}{number}" for number in range(first, first + 60) for arm in "sc"]
        world.tell(*((name, "2") for name in names))
        assert world.look().quality is None
    assert world.cursor is not None
    assert (world.cursor.cap, world.cursor.errors) == (2.0, ())
    world.tell(("s200", "1"), ("c200", "3"))
    assert counts(world.look().quality) == (1, 1.0, 1, 0.5)


def test_a_stable_revision_that_was_never_wrong_makes_any_error_a_whole_one(world: World) -> None:
    for number in range(100):
        world.answer(f"old{number}", 7.0, after_s=-50.0)
        world.tell((f"old{number}", "7"))
    world.answer("s", 7.0)
    world.answer("c", 7.0, by=CANDIDATE)
    world.tell(("s", "7"), ("c", "7.001"))
    assert counts(world.look().quality) == (1, 1.0, 1, 0.0)


def test_a_new_step_counts_only_its_own_requests(world: World) -> None:
    world.answer("early", "up", by=CANDIDATE, after_s=12.0)
    world.answer("late", "up", by=CANDIDATE, after_s=31.5)
    assert world.look().quality is None
    later = msgspec.structs.replace(ASKED, since_s=BEGAN_S + 30.2)
    world.tell(("early", "down"), ("late", "up"))
    assert counts(world.look(later).quality) == (1, 0, 0, 0)


def test_labels_that_come_for_one_arm_only_are_not_believed(world: World) -> None:
    """Nothing is wrong with any answer; but only the stable revision's are ever labelled."""
    for number in range(40):
        world.answer(f"s{number}", "up")
        world.answer(f"c{number}", "up", by=CANDIDATE)
    world.tell(*((f"s{number}", "up") for number in range(40)))
    found = world.look()
    assert found.fault is not None
    assert "0 of 40 labelled requests are the candidate's, its share is 0.5" in found.fault
    world.tell(*((f"c{number}", "up") for number in range(40)))
    assert world.look().fault is not None  # what was once uneven in a step stays so
    asked = msgspec.structs.replace(ASKED, since_s=BEGAN_S + 11)
    assert world.look(asked).fault is None


def test_labels_in_the_share_of_the_split_are_believed(world: World) -> None:
    asked = msgspec.structs.replace(ASKED, percent=10.0)
    draw = random.Random(7)
    for number in range(3000):
        world.answer(f"r{number}", "up", by=CANDIDATE if draw.random() < 0.1 else STABLE)
    for start in range(0, 3000, 100):
        world.tell(*((f"r{number}", "up") for number in range(start, start + 100)))
        assert world.look(asked).fault is None


def test_what_is_erased_neither_comes_again_nor_hides_what_comes_later(world: World) -> None:
    for name in ("a", "b", "c"):
        world.answer(name, "up", by=CANDIDATE)
    world.tell(("a", "up"), ("b", "down"))
    assert counts(world.look().quality) == (2, 1, 0, 0)
    assert world.outcomes.erase(["a", "b"]) == 2
    world.tell(("c", "down"))
    assert counts(world.look().quality) == (1, 1, 0, 0)


def test_labels_of_a_rollout_that_nobody_looked_at_yet_are_found(world: World) -> None:
    for number in range(30):
        world.answer(f"old{number}", "up", after_s=-100.0 - number)
    world.tell(*((f"old{number}", "up" if number else "down") for number in range(30)))
    world.answer("a", "up", by=CANDIDATE)
    world.answer("b", 1.0)
    world.tell(("a", "down"), ("b", "red"))
    world.tell(*((f"x{number}", "up") for number in range(30)))
    found = world.look(msgspec.structs.replace(ASKED, outcome=RolloutCheck("outcome", good="down")))
    assert (counts(found.quality), counts(found.outcome)) == ((1, 1, 0, 0), (1, 0, 1, 1))
    assert world.cursor is not None
    assert world.cursor.number == 62  # those that wait have no number yet


def test_a_large_heap_is_taken_in_several_looks(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(25):
        world.answer(f"r{number}", "up", by=CANDIDATE if number % 2 else STABLE)
    world.look()
    world.tell(*((f"r{number}", "up") for number in range(25)))
    after = rollout_labels.arrivals.after
    monkeypatch.setattr(
        rollout_labels.arrivals, "after", lambda *asked, **more: after(*asked, **more, most=10)
    )
    looks = [world.look() for _ in range(4)]
    assert [counts(one.quality) for one in looks] == [(5, 0, 5, 0), (5, 0, 5, 0), (2, 0, 3, 0), None]


def test_outcomes_that_cannot_be_read_are_a_fault_and_lose_nothing(tmp_path: Path, world: World) -> None:
    world.answer("a", "up", by=CANDIDATE)
    world.tell(("a", "down"))
    world.look(msgspec.structs.replace(ASKED, since_s=BEGAN_S + 15))
    before = world.cursor
    path = schema.path_of(tmp_path)
    data = path.read_bytes()
    path.write_bytes(b"no database at all" * 300)
    found = world.look()
    assert found.fault is not None
    assert (found.fault[:26], found.quality, world.cursor) == ("outcomes cannot be read: o", None, before)
    path.write_bytes(data)
    assert world.look().fault is None


def test_another_file_of_outcomes_is_a_fault(tmp_path: Path, world: World) -> None:
    world.answer("a", "up", by=CANDIDATE)
    world.tell(("a", "down"))
    world.look()
    schema.path_of(tmp_path).unlink()
    assert world.look().fault == "outcomes.db is not the one that was counted before: labels are lost"


def test_outcomes_of_the_first_version_are_brought_up(tmp_path: Path, world: World) -> None:
    """As an older Seaway left them: without the order of arrival. They never count, what comes then does."""
    world.answer("a", "up", by=CANDIDATE)
    world.answer("b", "up", by=CANDIDATE)
    world.tell(("a", "down"), ("waits", "down"))
    world.outcomes.close()
    with sqlite3.connect(schema.path_of(tmp_path)) as connection:
        connection.executescript(
            "DROP INDEX facts_arrived; ALTER TABLE facts DROP COLUMN arrived; ALTER TABLE facts DROP COLUMN unit;"
            "DROP TABLE arrivals; PRAGMA user_version = 1;"
        )
    connection.close()
    assert world.look() == LabelLook()
    world.answer("waits", "up", by=CANDIDATE)
    world.now_s += 10
    world.outcomes.retry(world.now_s)
    world.tell(("b", "up"))
    assert counts(world.look().quality) == (2, 1, 0, 0)


def test_the_cap_is_the_99th_percentile() -> None:
    assert figures.cap_of([1.0]) == 1.0
    assert figures.cap_of([float(n) for n in range(200, 0, -1)]) == 198.0
    with pytest.raises(ValueError, match="no values"):
        figures.cap_of([])
    assert math.isclose(figures.cap_of([0.1] * 99 + [5.0]), 0.1)

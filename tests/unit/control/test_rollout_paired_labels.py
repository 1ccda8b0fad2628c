"""Labels of mirrored requests: each counts once, for whoever was right alone; on real files of workers and outcomes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from outcome_lookups import Lookup, Made, answered
from provenance_fakes import CLASSIFIER, REGRESSOR, subject

from seaway.control.rollouts import labels
from seaway.control.rollouts.paired_labels import (
    SETTLED_S,
    PairCursor,
    PairedLabels,
    Pairings,
    PairsAsked,
    harm_of,
)
from seaway.core import agreement
from seaway.core.evidence.pairs import PairLook
from seaway.core.feedback import Fact
from seaway.core.provenance import OVERFLOW, AnsweredBy
from seaway.core.records import MirroredAnswer
from seaway.core.tensors import Tensors
from seaway.monitor.feedback import schema
from seaway.monitor.feedback.arrivals import Arrived
from seaway.monitor.feedback.outcomes import OutcomeRules, Outcomes
from seaway.monitor.recording import mirrored
from seaway.monitor.recording.mirrored import MirroredAnswers
from seaway.monitor.sinks import RecordPaths
from seaway.testing.clock import VirtualClock

BEGAN_S = 1_800_000_000.0
STABLE, CANDIDATE = 4, 5
ASKED = PairsAsked("prices", CANDIDATE, STABLE, BEGAN_S, 100.0, "prices/5")


class World:
    """Requests that were answered live and in the shadow, and what is told of them."""

    def __init__(self, records: Path) -> None:
        self.records = records
        self.lookup = Lookup()
        self.outcomes = Outcomes(records, self.lookup, OutcomeRules())
        self.clock = VirtualClock(BEGAN_S + 20)
        self.kept = MirroredAnswers(RecordPaths(str(records), 0, 1), self.clock, 4 * 2**20)
        self.cursor: PairCursor | None = None
        self.seen: list[PairLook] = []
        self.lost = 0

    def answer(
        self, name: str, *live: str | float, unit: bool = True, after_s: float = 12.0, by: int = STABLE
    ) -> None:
        """A request that was answered `after_s` after the rollout began."""
        who = AnsweredBy("prices", by, "sha256:" + "a" * 64)
        self.lookup.made[name] = Made(answered(*live).rows, at_s=BEGAN_S + after_s, by=who, unit=unit)

    def shadow(self, name: str, *said: str | float, failed: bool = False, by: int = CANDIDATE) -> None:
        """What the candidate said to it, on disk."""
        texts = isinstance(said[0], str) if said else False
        outputs: Tensors = (
            {"label": np.array(said, object)} if texts else {"y": np.array(said, np.float32).reshape(-1, 1)}
        )
        of = subject(CLASSIFIER if texts else REGRESSOR, "prices", by)
        told = MirroredAnswer(name.encode(), max(1, len(said)), None if failed else outputs)
        self.kept.put(of, told)
        for block in self.kept.take()[0]:
            self.kept.write(block)

    def both(self, name: str, live: str | float, said: str | float, **rest: float) -> None:
        self.answer(name, live, **rest)  # type: ignore[arg-type]
        self.shadow(name, said)

    def tell(self, *facts: tuple[str, str] | tuple[str, str, int]) -> None:
        """Outcomes as (request, value) or (request, value, row)."""
        found = [Fact(one[0], one[2] if len(one) > 2 else 0, "", one[1], None, None, None) for one in facts]
        self.outcomes.add([found], self.clock.now_s())

    def look(self, asked: PairsAsked = ASKED, after_s: float = SETTLED_S) -> Pairings:
        """The next look, its cursor stored as JSON in between, by a control process that knows nothing else."""
        self.clock.advance(after_s)
        known = msgspec.json.decode(msgspec.json.encode(self.cursor), type=PairCursor | None)
        found, self.cursor = PairedLabels(self.records).look(asked, known, self.clock.now_s())
        if found.look is not None:
            self.seen.append(found.look)
        self.lost += found.lost
        return found

    @property
    def total(self) -> tuple[int, int, int]:
        """(worse, better, same) of all looks."""
        return (
            sum(one.worse for one in self.seen),
            sum(one.better for one in self.seen),
            sum(one.same for one in self.seen),
        )


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.outcomes.close()
    made.kept.close()


def test_no_outcome_was_ever_told(world: World) -> None:
    assert world.look() == Pairings()
    assert world.cursor == PairCursor(0)


def test_who_was_right_alone(world: World) -> None:
    for name, live, said in (
        ("worse", "cat", "dog"),
        ("better", "dog", "cat"),
        ("right", "cat", "cat"),
        ("wrong", "dog", "bat"),
    ):
        world.both(name, live, said)
        world.tell((name, "cat"))
    world.answer("failed", "cat")
    world.shadow("failed", failed=True)
    world.answer("both fail", "dog")
    world.shadow("both fail", failed=True)
    world.tell(("failed", "cat"), ("both fail", "cat"))
    found = world.look()
    assert found == Pairings(PairLook(world.clock.now_s(), 2, 1, 3))
    assert world.look() == Pairings()


def test_each_request_counts_once_with_its_first_label(world: World) -> None:
    world.answer("r", "cat", "cat", "cat")
    world.shadow("r", "cat", "dog", "dog")
    world.tell(("r", "cat", 1), ("r", "cat", 0))
    world.tell(("r", "cat", 1))
    world.look()
    world.tell(("r", "cat", 2))
    world.tell(("r", "dog", 1))
    world.look()
    assert world.total == (1, 0, 0)


def test_labels_in_any_order_and_very_late(world: World) -> None:
    for n in range(20):
        world.both(f"r{n}", "cat", "dog" if n % 2 else "cat")
    order = np.random.default_rng(1).permutation(20).tolist()
    for n in order:
        world.tell((f"r{n}", "cat"))
        world.look(after_s=3600.0 * n)
    assert world.total == (10, 0, 10) and world.lost == 0


def test_a_label_waits_until_the_mirrored_answer_must_be_there(world: World) -> None:
    """It is told before the worker has written what the candidate said; one that was settled before does not overtake it."""
    world.answer("quick", "cat", after_s=20.0)
    world.both("old", "cat", "dog")
    world.tell(("quick", "cat"), ("old", "cat"))
    assert world.look(after_s=1.0) == Pairings()
    world.shadow("quick", "dog")
    assert world.look(after_s=1.0) == Pairings()
    world.look()
    assert world.total == (2, 0, 0) and world.lost == 0


def test_one_whose_mirrored_answer_never_comes_holds_up_nothing(world: World) -> None:
    world.answer("dropped", "cat", after_s=20.0)
    world.both("next", "cat", "dog", after_s=20.0)
    world.tell(("dropped", "cat"), ("next", "cat"))
    world.look()
    assert world.total == (1, 0, 0) and world.lost == 1
    world.shadow("dropped", "dog")
    assert world.look() == Pairings()


def test_a_clock_that_was_set_back_holds_up_nothing(world: World) -> None:
    world.both("r", "cat", "dog", after_s=86_400.0)
    world.tell(("r", "cat"))
    world.look()
    assert world.total == (1, 0, 0)


def test_requests_that_were_not_drawn_are_no_pairs_and_not_missed(world: World) -> None:
    half = msgspec.structs.replace(ASKED, shadow_percent=50.0)
    names = [f"r{n}" for n in range(100)]
    drawn = [name for name in names if agreement.draw(name.encode(), half.salt).point < 50.0]
    for name in names:
        world.answer(name, "cat")
        if name in drawn:
            world.shadow(name, "cat")
        world.tell((name, "cat"))
    world.look(half)
    assert 30 < len(drawn) < 70
    assert world.total == (0, 0, len(drawn)) and world.lost == 0


def test_what_is_no_unit_or_of_another_time_does_not_count(world: World) -> None:
    world.answer("named", "cat", unit=False)
    world.answer("before", "cat", after_s=-5.0)
    world.answer("candidate", "cat", by=CANDIDATE)
    for name in ("named", "before", "candidate"):
        world.shadow(name, "dog")
        world.tell((name, "cat"))
    assert world.look() == Pairings()
    world.answer("last rollout", "cat")
    world.shadow("last rollout", "dog", by=CANDIDATE - 1)
    world.tell(("last rollout", "cat"))
    assert world.look() == Pairings(lost=1)


def test_a_row_that_the_candidate_did_not_answer_and_names_that_stand_for_many(world: World) -> None:
    world.answer("short", "cat", "cat")
    world.shadow("short", "dog")
    world.both("many", "cat", OVERFLOW)
    world.tell(("short", "cat", 1), ("many", "cat"))
    assert world.look() == Pairings(lost=2)


def test_an_erased_request_is_no_pair(world: World) -> None:
    world.both("gone", "cat", "dog")
    world.both("stays", "cat", "dog")
    world.tell(("gone", "cat"), ("stays", "cat"))
    assert mirrored.erase(world.records, [b"gone"]) == 1
    assert mirrored.erase(world.records, [b"gone"]) == 0
    world.look()
    assert world.total == (1, 0, 0)
    world.outcomes.erase(["stays"])
    assert world.look() == Pairings()


def test_numbers_count_by_how_much_further_off_they_are(world: World) -> None:
    """The cap is that of `quality`: learnt from the stable's errors first, where it has no past."""
    for n in range(labels.FEWEST_ERRORS):
        world.both(f"first{n}", 10.0, 10.0)
        world.tell((f"first{n}", "12"))
    assert world.look() == Pairings()
    assert world.cursor is not None and (world.cursor.cap, world.cursor.errors) == (2.0, ())
    world.both("nearer", 11.0, 10.5)
    world.both("further", 10.0, 11.0)
    world.both("far", 10.0, 99.0)
    for name in ("nearer", "further", "far"):
        world.tell((name, "10"))
    found = world.look().look
    assert found == PairLook(world.clock.now_s(), 1, 0, 0, (-0.25, 0.5))


def test_the_cap_is_that_of_the_past_where_there_is_one(world: World) -> None:
    for n in range(labels.FEWEST_ERRORS):
        world.answer(f"past{n}", 10.0, after_s=-60.0)
        world.tell((f"past{n}", "14"))
    world.both("r", 10.0, 12.0)
    world.tell(("r", "10"))
    assert world.look().look == PairLook(world.clock.now_s(), 0, 0, 0, (0.5,))


@pytest.mark.parametrize(
    ("live", "truth", "value", "said", "harm"),
    [
        ("1", "1", "true", 1.0, 0.0),
        ("1", "1", "1", 0.0, 1.0),
        (3.0, 4.0, "4", "4", -1.0),
        (3.0, 4.0, "4", "3", 0.0),
        (4.0, 4.0, "4", float("nan"), 1.0),
        (4.0, 4.0, "4", float("inf"), 1.0),
        (3.0, 4.0, "4", float("nan"), 0.0),
        ("True", "True", "true", "1", 0.0),
        ("cat", "cat", "cat", None, 1.0),
    ],
)
def test_models_of_another_kind(
    live: str | float, truth: str | float, value: str, said: str | float | None, harm: float
) -> None:
    label = Arrived(STABLE, value, live, truth, True, True, 1, "r", 0, BEGAN_S)
    assert harm_of(label, said, 1.0) == harm


def test_outcomes_that_cannot_be_read_pass_nothing(world: World) -> None:
    world.both("r", "cat", "dog")
    world.tell(("r", "cat"))
    world.look()
    path = schema.path_of(world.records)
    kept = path.read_bytes()
    world.outcomes.close()
    path.write_bytes(b"no database" * 100)
    before = world.cursor
    found = world.look()
    assert found.fault is not None and "cannot be read" in found.fault and world.cursor == before
    path.write_bytes(kept)
    assert world.look() == Pairings()
    path.unlink()
    assert "labels are lost" in (world.look().fault or "")

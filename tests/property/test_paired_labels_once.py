"""However answers, labels, looks and kills follow each other, each labelled request that was mirrored counts exactly once."""

from __future__ import annotations

import tempfile
from pathlib import Path

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from outcome_lookups import Lookup, Made, answered
from provenance_fakes import CLASSIFIER, subject

from seaway.control.rollouts.paired_labels import SETTLED_S, PairCursor, PairedLabels, PairsAsked
from seaway.core.feedback import Fact
from seaway.core.provenance import AnsweredBy
from seaway.core.records import MirroredAnswer
from seaway.monitor.feedback.outcomes import OutcomeRules, Outcomes
from seaway.monitor.recording.mirrored import MirroredAnswers
from seaway.monitor.sinks import RecordPaths
from seaway.testing.clock import VirtualClock

BEGAN_S = 1_800_000_000.0
ASKED = PairsAsked("prices", 2, 1, BEGAN_S, 100.0, "prices/2")
BY = AnsweredBy("prices", 1, "sha256:" + "a" * 64)
REQUESTS = 4
ACTIONS = st.one_of(
    st.tuples(st.just("answer"), st.integers(0, REQUESTS - 1)),
    st.tuples(st.just("tell"), st.integers(0, REQUESTS - 1)),
    st.tuples(st.just("tell_at_once"), st.integers(0, REQUESTS - 1)),
    st.tuples(st.just("look"), st.sampled_from([0, 1, int(SETTLED_S)])),
    st.tuples(st.just("retry"), st.just(30)),
)


class World:
    """`wrong` says of each request whether the candidate alone is wrong on it; else both are right."""

    def __init__(self, records: Path, wrong: list[bool]) -> None:
        self.records, self.wrong = records, wrong
        self.clock = VirtualClock(BEGAN_S + 1)
        self.lookup = Lookup()
        self.outcomes = Outcomes(records, self.lookup, OutcomeRules())
        self.kept = MirroredAnswers(RecordPaths(str(records), 0, 1), self.clock, 4 * 2**20)
        self.cursor: PairCursor | None = None
        self.told: set[int] = set()
        self.counted = (0, 0)
        self.lost = 0

    def answer(self, number: int) -> None:
        name = f"r{number}"
        if name in self.lookup.made:
            return
        self.lookup.made[name] = Made(answered("cat").rows, self.clock.now_s(), BY, unit=True)
        outputs = {"label": np.array(["dog" if self.wrong[number] else "cat"], object)}
        self.kept.put(subject(CLASSIFIER, "prices", 2), MirroredAnswer(name.encode(), 1, outputs))

    def tell(self, number: int) -> None:
        self.told.add(number)
        fact = Fact(f"r{number}", 0, "", "cat", None, None, None)
        self.outcomes.add([[fact]], self.clock.now_s())

    def tell_at_once(self, number: int) -> None:
        self.answer(number)
        self.tell(number)

    def look(self, after_s: int) -> None:
        """The worker writes what waits within a second or so; the control process knows its cursor alone."""
        self.clock.advance(after_s)
        if after_s:
            for block in self.kept.take()[0]:
                self.kept.write(block)
        stored = msgspec.json.decode(msgspec.json.encode(self.cursor), type=PairCursor | None)
        found, self.cursor = PairedLabels(self.records).look(ASKED, stored, self.clock.now_s())
        assert found.fault is None
        self.lost += found.lost
        if found.look is not None:
            self.counted = self.counted[0] + found.look.worse, self.counted[1] + found.look.same

    def retry(self, after_s: int) -> None:
        self.clock.advance(after_s)
        self.outcomes.retry(self.clock.now_s())


@settings(max_examples=100, deadline=None)
@given(
    wrong=st.lists(st.booleans(), min_size=REQUESTS, max_size=REQUESTS),
    actions=st.lists(ACTIONS, min_size=5, max_size=25),
)
def test_each_pair_counts_exactly_once(wrong: list[bool], actions: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder), wrong)
        try:
            for name, value in actions:
                if name == "retry":
                    world.look(1)  # half a minute without the keeping thread is no worker
                getattr(world, name)(value)
            world.look(1)
            world.retry(4000)
            world.look(int(SETTLED_S))
            world.look(1)
        finally:
            world.outcomes.close()
            world.kept.close()
        here = [number for number in world.told if f"r{number}" in world.lookup.made]
        worse = sum(wrong[number] for number in here)
        assert (world.counted, world.lost) == ((worse, len(here) - worse), 0)

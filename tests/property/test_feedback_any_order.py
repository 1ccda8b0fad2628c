"""Whatever order, however often and in whatever parts feedback and predictions come: live quality is the same."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from seaway.core.feedback import Fact
from seaway.core.provenance import SLICES, AnsweredBy, Joined
from seaway.core.quality import Quality
from seaway.monitor.feedback import quality
from seaway.monitor.feedback.outcomes import OutcomeRules, Outcomes

BY = (AnsweredBy("e", 1, "sha256:1"), AnsweredBy("e", 2, "sha256:2"))
NAMES = ("no", "yes")
START_S = 1_800_000_000.0

# Of request i: its revision, its answer (a class for even i, else a number), the outcome, and whether it is seen late.
REQUESTS = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 1), st.floats(-1e9, 1e9), st.booleans()),
    min_size=1,
    max_size=12,
)


class World:
    """The predictions, of which the late ones are seen only after `all_seen`."""

    def __init__(self, requests: Sequence[tuple[int, int, float, bool]]) -> None:
        self.requests, self.all_seen = requests, False

    def __call__(self, ids: Sequence[bytes], /) -> Joined:
        n, places = len(ids), [int(one) for one in ids]
        found = [self.requests[place] for place in places]
        classes = [one[1] if place % 2 == 0 else -1 for place, one in zip(places, found, strict=True)]
        return Joined(
            subjects=BY,
            texts=NAMES,
            by=np.array([one[0] if self.all_seen or not one[3] else -1 for one in found], np.int32),
            at_s=np.array([START_S + 1800 * place for place in places]),
            rate=np.ones(n),
            units=np.ones(n, np.bool_),
            first=np.arange(n, dtype=np.int64),
            rows=np.ones(n, np.int64),
            numbers=np.array([one[2] for one in found]),
            classes=np.array(classes, np.int32),
            confidences=np.full(n, 0.7, np.float32),
            slices=np.full((n, SLICES), -1, np.int32),
        )

    def facts(self) -> list[Fact]:
        made = []
        for place, (_, answer, number, _) in enumerate(self.requests):
            outcome = NAMES[1 - answer] if place % 4 else NAMES[answer]
            value = outcome if place % 2 == 0 else repr(number / 3)
            made.append(Fact(str(place), 0, "", value, None, None, None))
            made.append(Fact(str(place), 0, "eur", repr(number), None, None, None))
        return made

    def quality(self, parts: Sequence[Sequence[Fact]], seen_after: int) -> Quality:
        with tempfile.TemporaryDirectory() as work:
            outcomes = Outcomes(Path(work), self, OutcomeRules())
            self.all_seen = False
            for index, part in enumerate(parts):
                self.all_seen = self.all_seen or index >= seen_after
                outcomes.add([part], START_S)
                outcomes.retry(START_S + 10 * index)
            self.all_seen = True
            outcomes.retry(START_S + 3000)
            outcomes.close()
            return quality.read(Path(work), quality.Question("e", START_S - 1, START_S + 86_400, "window"))


@settings(max_examples=25, deadline=None)
@given(REQUESTS, st.randoms(use_true_random=False), st.integers(1, 5), st.integers(0, 5))
def test_order_repetition_and_lateness_change_nothing(
    requests: list[tuple[int, int, float, bool]], chance: object, size: int, seen_after: int
) -> None:
    world = World(requests)
    facts = world.facts()
    shuffled = [*facts, *facts[::3]]
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    parts = [shuffled[begin : begin + size] for begin in range(0, len(shuffled), size)]
    told = world.quality(parts, seen_after)
    assert told == world.quality([facts], 0)
    assert sum(group.labelled for group in told.groups) == len(requests)
    assert told.state.pending == 0

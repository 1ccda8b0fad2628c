"""Whatever order answers, labels, looks and kills come in, each request's first label counts exactly once."""

from __future__ import annotations

import tempfile
from pathlib import Path

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from outcome_lookups import Lookup, Made, answered

from seaway.control.rollouts.labels import LabelCursor, Labels, LabelsAsked
from seaway.core.feedback import Fact
from seaway.core.provenance import AnsweredBy
from seaway.monitor.feedback.outcomes import OutcomeRules, Outcomes

BEGAN_S = 1_800_000_000.0
STABLE, CANDIDATE = 1, 2
ASKED = LabelsAsked("prices", CANDIDATE, STABLE, BEGAN_S, BEGAN_S, 50.0)
names = st.sampled_from("abcdef")
steps = st.one_of(
    st.tuples(st.just("answer"), names, st.sampled_from((STABLE, CANDIDATE)), st.booleans()),
    st.tuples(st.just("tell"), names, st.integers(0, 2), st.sampled_from(("up", "down"))),
    st.tuples(st.just("retry")),
    st.tuples(st.just("look")),
    st.tuples(st.just("kill")),
)


class Machine:
    """A home, and an analysis that is killed between its look and its write now and then."""

    def __init__(self, records: Path) -> None:
        self.lookup = Lookup()
        self.outcomes = Outcomes(records, self.lookup, OutcomeRules())
        self.labels = Labels(records)
        self.now_s = BEGAN_S + 10.0
        self.stored = msgspec.json.encode((None, [0.0] * 4))
        """What a kill leaves: the cursor and the evidence, written together."""
        self.expected: dict[str, tuple[int, bool]] = {}
        """By request: which revision answered, and whether its first label says that it was wrong."""
        self.told: dict[tuple[str, int], str] = {}
        self.waiting: dict[tuple[str, int], tuple[float, float]] = {}
        """By fact: when it was told, and when its prediction is looked for next."""

    def answer(self, name: str, by: int, unit: bool) -> None:
        if name not in self.lookup.made:
            subject = AnsweredBy("prices", by, "sha256:" + "a" * 64)
            self.lookup.made[name] = Made(answered("up", "up").rows, BEGAN_S + 5.0, subject, unit)

    def tell(self, name: str, row: int, value: str) -> None:
        self.now_s += 0.01
        self.outcomes.add([[Fact(name, row, "", value, None, None, None)]], self.now_s)
        if (name, row) not in self.told:
            self.told[name, row] = value
            if not self._joined(name, row):
                self.waiting[name, row] = self.now_s, self.now_s + 1.0

    def retry(self, after_s: float = 30.0) -> None:
        self.now_s += after_s
        self.outcomes.retry(self.now_s)
        for (name, row), (told_s, due_s) in sorted(self.waiting.items(), key=lambda one: one[1][1]):
            if due_s > self.now_s:
                break
            del self.waiting[name, row]
            if not self._joined(name, row):
                self.waiting[name, row] = told_s, self.now_s + self.now_s - told_s

    def _joined(self, name: str, row: int) -> bool:
        """Whether the prediction is known; then the request's first label may be this one."""
        made = self.lookup.made.get(name)
        if made is None:
            return False
        if made.unit and row < 2:
            self.expected.setdefault(name, (made.by.revision, self.told[name, row] != "up"))
        return True

    def look(self, written: bool) -> None:
        cursor, sums = msgspec.json.decode(self.stored, type=tuple[LabelCursor | None, list[float]])
        found, cursor = self.labels.look(ASKED, cursor, self.now_s)
        one = found.quality
        if one is not None:
            new = (one.candidate, one.candidate_bad, one.stable, one.stable_bad)
            sums = [a + b for a, b in zip(sums, new, strict=True)]
        if written:
            self.stored = msgspec.json.encode((cursor, sums))

    def counted(self) -> list[float]:
        sums: list[float] = msgspec.json.decode(self.stored)[1]
        return sums


@settings(max_examples=60)
@given(st.lists(steps, max_size=40))
def test_every_first_label_counts_once(script: list[tuple[object, ...]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        machine = Machine(Path(directory))
        try:
            for kind, *words in script:
                if kind in ("look", "kill"):
                    machine.look(written=kind == "look")
                else:
                    getattr(machine, str(kind))(*words)
            machine.retry(after_s=3000.0)
            machine.look(written=True)
            machine.look(written=True)
        finally:
            machine.outcomes.close()
        found = {
            arm: [wrong for revision, wrong in machine.expected.values() if revision == arm]
            for arm in (CANDIDATE, STABLE)
        }
        assert [
            number for wrongs in found.values() for number in (len(wrongs), sum(wrongs))
        ] == machine.counted()

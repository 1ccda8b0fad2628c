"""Outcomes joined with what the workers' own files tell: the real sink, its files, the real lookup."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
from provenance_fakes import CLASSIFIER, block, labels, number, subject

from seaway.core.feedback import Fact
from seaway.core.quality import FeedbackState
from seaway.monitor.feedback import quality
from seaway.monitor.feedback.outcomes import OutcomeRules, Outcomes
from seaway.monitor.feedback.quality import Question
from seaway.monitor.provenance import files as provenance_files
from seaway.monitor.provenance.sink import ProvenanceSink
from seaway.monitor.sinks import RecordPaths
from seaway.testing.clock import VirtualClock

AT_S = 1_700_000_000.0


@pytest.fixture
def sink(tmp_path: Path) -> ProvenanceSink:
    return ProvenanceSink(RecordPaths(str(tmp_path), 0, 1), VirtualClock(), space_bytes=4 * 2**20)


def fact(request_id: str, value: str, row: int = 0, name: str = "") -> Fact:
    return Fact(request_id, row, name, value, None, None, None)


def test_outcomes_of_recorded_requests(tmp_path: Path, sink: ProvenanceSink) -> None:
    outcomes = Outcomes(tmp_path, functools.partial(provenance_files.lookup, tmp_path), OutcomeRules())
    long_id = "very-long/" * 12
    sink.take(block([number(b"n-1", 1.5, 2.5), number(b"n-2", 3.0)]))
    animals = subject(CLASSIFIER, "animals", 7, slices=("city",))
    sink.take(block([labels(long_id.encode(), "cat", "dog", cities=("Bern", "Uri"))], animals))
    facts = [
        fact("n-1", "2", row=1),
        fact("n-2", "3"),
        fact("n-2", "9.5", name="eur"),
        fact(long_id, "cat"),
        fact(long_id, "cat", row=1),
        fact("later", "4"),
        fact("n-2", "1", row=5),
    ]
    (told,) = outcomes.add([facts], AT_S)
    assert (told.accepted, told.pending) == (7, 1)
    sink.take(block([number(b"later", 4.0)]))
    assert outcomes.retry(AT_S + 5) == 1
    sink.close()
    outcomes.close()

    prices = quality.read(tmp_path, Question("prices", AT_S - 60, AT_S + 60))
    assert [group.revision for group in prices.groups] == [3]
    found = prices.groups[0]
    assert found.numbers is not None
    assert (found.numbers.n, found.numbers.bias, found.kpis[0].sum) == (3, 0.5 / 3, 9.5)
    assert prices.state == FeedbackState(unusable=1)
    by_city = quality.read(tmp_path, Question("animals", AT_S - 60, AT_S + 60, by="city"))
    told_by_city = [
        (g.slice, g.classes.accuracy, g.classes.calibration.brier)
        for g in by_city.groups
        if g.classes is not None and g.classes.calibration is not None
    ]
    assert told_by_city == [("Bern", 1.0, 0.0625), ("Uri", 0.0, 0.5625)]

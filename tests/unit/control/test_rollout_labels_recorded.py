"""Labels of what workers really wrote: the provenance sink's own files, the thread that writes outcomes, and a cursor that
is all that survives."""

from __future__ import annotations

import functools
from pathlib import Path

import msgspec
from provenance_fakes import BASE_S, CLASSIFIER, Ended, block, labels, subject

from seaway.control.rollouts.labels import LabelCursor, Labels, LabelsAsked
from seaway.core.feedback import Fact
from seaway.core.records import Chosen
from seaway.monitor.feedback.outcomes import OutcomeRules, Outcomes
from seaway.monitor.feedback.writer import OutcomeWriter
from seaway.monitor.provenance import files as provenance_files
from seaway.monitor.provenance.sink import ProvenanceSink
from seaway.monitor.sinks import RecordPaths
from seaway.testing.clock import VirtualClock

STABLE, CANDIDATE = 3, 4
ASKED = LabelsAsked("animals", CANDIDATE, STABLE, BASE_S, BASE_S, 50.0)


def answered(name: str, *classes: str, chosen: Chosen = Chosen.SPLIT) -> Ended:
    return msgspec.structs.replace(labels(name.encode(), *classes), chosen=chosen)


def record(records: Path, slot: int, revision: int, requests: list[Ended]) -> None:
    """As one worker does; units are those that the split sent."""
    sink = ProvenanceSink(RecordPaths(str(records), slot, 1), VirtualClock(), space_bytes=4 * 2**20)
    one = block(requests, subject(CLASSIFIER, "animals", revision))
    sink.take(msgspec.structs.replace(one, units=[r.chosen is Chosen.SPLIT for r in requests]))
    sink.close()


def test_labels_of_what_two_workers_wrote(tmp_path: Path) -> None:
    record(tmp_path, 0, STABLE, [answered(f"s{n}", "cat", "cat") for n in range(4)])
    record(
        tmp_path,
        1,
        CANDIDATE,
        [
            *(answered(f"c{n}", "cat") for n in range(4)),
            answered("named", "cat", chosen=Chosen.NAMED),
            answered("flag", "cat", chosen=Chosen.FLAG),
        ],
    )
    record(tmp_path, 2, STABLE, [answered("fallback", "cat", chosen=Chosen.FALLBACK)])
    lookup = functools.partial(provenance_files.lookup, tmp_path)
    writer = OutcomeWriter(Outcomes(tmp_path, lookup, OutcomeRules()), VirtualClock())
    told = {"s0": "cat", "s1": "dog", "c0": "dog", "c1": "cat", "c2": "dog"}
    told |= {"named": "dog", "flag": "dog", "fallback": "dog", "nobody": "dog"}
    sums = [0.0] * 4
    stored = b"null"
    for _ in range(2):  # all of it sent twice
        facts = [Fact(name, 0, "", value, None, None, None) for name, value in told.items()]
        assert writer.add(facts).result(10) is not None
        cursor = msgspec.json.decode(stored, type=LabelCursor | None)
        look, cursor = Labels(tmp_path).look(ASKED, cursor, BASE_S + 60)
        if (found := look.quality) is not None:
            counts = (found.candidate, found.candidate_bad, found.stable, found.stable_bad)
            sums = [a + b for a, b in zip(sums, counts, strict=True)]
        stored = msgspec.json.encode(cursor)
        assert look.fault is None
    writer.close()
    assert sums == [3, 2, 2, 1]

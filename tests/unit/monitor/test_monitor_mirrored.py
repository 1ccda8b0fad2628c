"""What candidates said to mirrored requests: kept by the recorder, bounded, found by id, erased; never in the way."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import numpy as np
import recorder_fakes as fakes
from provenance_fakes import CLASSIFIER, REGRESSOR, number, subject

from seaway.core.answers import answer_spec
from seaway.core.provenance import AnsweredRow
from seaway.core.records import MirroredAnswer, RecordRules
from seaway.core.tensors import Tensors
from seaway.monitor.provenance import files as provenance_files
from seaway.monitor.provenance.sink import ProvenanceSink
from seaway.monitor.recording import mirrored
from seaway.monitor.recording.mirrored import MirroredAnswers
from seaway.monitor.recording.recorder import Recorder
from seaway.monitor.sinks import Block, RecordPaths
from seaway.testing.clock import VirtualClock
from seaway.wire.prometheus import Family


def keeper(root: Path, pid: int = 1) -> MirroredAnswers:
    return MirroredAnswers(RecordPaths(str(root), 0, pid), VirtualClock(1000.0), 4 * 2**20)


def said(request_id: bytes, *values: float) -> MirroredAnswer:
    return MirroredAnswer(request_id, len(values), {"y": np.array(values, np.float32).reshape(-1, 1)})


def write(kept: MirroredAnswers, *told: MirroredAnswer, by: int = 5) -> None:
    for one in told:
        kept.put(subject(REGRESSOR, revision=by), one)
    for block in kept.take()[0]:
        kept.write(block)


def rows(root: Path, request_id: bytes) -> list[str | float] | None:
    """The answers alone, which is all that is kept of a row; None where the request is not."""
    found = mirrored.lookup(root, [request_id])
    if found.by[0] < 0:
        return None
    kept = [found.row(int(found.first[0]) + n) for n in range(int(found.rows[0]))]
    assert all(one.confidence is None and not any(one.slices) for one in kept)
    return [one.answer for one in kept]


def test_answers_are_found_by_the_request_and_its_row(tmp_path: Path) -> None:
    write(keeper(tmp_path), said(b"a", 1.0, 2.0), said(b"b", 3.0))
    write(keeper(tmp_path, 2), said(b"c", 4.0), by=6)
    found = mirrored.lookup(tmp_path, [b"b", b"c", b"none"])
    assert [found.subjects[by].revision if by >= 0 else None for by in found.by] == [5, 6, None]
    assert rows(tmp_path, b"a") == [1.0, 2.0]
    assert found.at_s[0] == 1000.0


def test_a_class_is_kept_without_its_probabilities_and_slices(tmp_path: Path) -> None:
    kept = keeper(tmp_path)
    outputs: Tensors = {"label": np.array(["cat"], object)}
    kept.put(subject(CLASSIFIER, slices=["city"]), MirroredAnswer(b"a", 1, outputs))
    for block in kept.take()[0]:
        kept.write(block)
    assert rows(tmp_path, b"a") == ["cat"]


def test_a_failure_is_told_from_an_answer_that_is_not_there(tmp_path: Path) -> None:
    write(keeper(tmp_path), MirroredAnswer(b"failed", 3, None), said(b"well", 1.0))
    found = mirrored.lookup(tmp_path, [b"failed", b"well"])
    assert (found.units.tolist(), found.rows.tolist()) == ([True, False], [0, 1])


def test_they_are_not_taken_for_what_was_answered(tmp_path: Path) -> None:
    """Nor does the erasure of one forget the other."""
    live = ProvenanceSink(RecordPaths(str(tmp_path), 0, 1), VirtualClock())
    live.take(Block(subject(), [number(b"a", 7.0)], 1, 1, 1.0, 0.0))
    write(keeper(tmp_path), said(b"a", 1.0))
    (found,) = provenance_files.find(tmp_path, b"a")
    assert (found.by.revision, found.answers) == (3, (AnsweredRow(7.0),))
    assert mirrored.erase(tmp_path, [b"a"]) == 1
    assert rows(tmp_path, b"a") is None and len(provenance_files.find(tmp_path, b"a")) == 1


def test_what_waits_is_bounded_and_the_rest_counted(tmp_path: Path) -> None:
    kept = keeper(tmp_path)
    of = subject(REGRESSOR)
    for n in range(mirrored.MOST_WAITING + 10):
        kept.put(of, said(b"r%d" % n, 1.0))
    (block,), dropped = kept.take()
    assert (len(block.requests), dropped) == (mirrored.MOST_WAITING, 10)
    assert kept.take() == ([], 0)
    large = MirroredAnswer(b"large", 1, {"y": np.zeros((mirrored.MOST_BYTES // 8, 1), np.float32)})
    for _ in range(3):
        kept.put(of, large)
    (block,), dropped = kept.take()
    assert (len(block.requests), dropped) == (1, 2)


def test_c11_a_torn_segment_costs_what_was_torn_alone(tmp_path: Path) -> None:
    kept = keeper(tmp_path)
    for n in range(3):
        write(kept, said(b"r%d" % n, float(n)))
    (path,) = (tmp_path / "_mirrored").rglob("*.bin")
    os.truncate(path, path.stat().st_size - 8)
    assert [rows(tmp_path, b"r%d" % n) for n in range(3)] == [[0.0], [1.0], []]
    assert not mirrored.lookup(tmp_path, [b"r2"]).units[0], "what is damaged did not fail"
    write(keeper(tmp_path, 2), said(b"next", 9.0))
    assert rows(tmp_path, b"next") == [9.0]


class Recorded:
    """A recorder with revision 1 in the shadow."""

    def __init__(self, root: Path, keeps: bool = True) -> None:
        clock = VirtualClock(1000.0)
        paths = RecordPaths(str(root), 0, 77)
        self.lines: list[str] = []
        kept = MirroredAnswers(paths, clock, 4 * 2**20) if keeps else None
        self.recorder = Recorder(paths, (), lambda _: RecordRules(), clock, self.lines.append, kept)
        self.handle = fakes.handle(clock)
        manifest = self.handle.bundle.manifest
        spec = answer_spec(manifest.signature, manifest.classes)
        assert spec is not None
        self.output = spec.output

    def run(self, *ids: bytes) -> None:
        async def scenario() -> None:
            self.recorder.begin()
            for one in ids:
                outputs: Tensors = {self.output: np.array([2.0], np.float32)}
                self.recorder.mirrored(self.handle, MirroredAnswer(one, 1, outputs))

        asyncio.run(scenario())
        self.recorder.close()

    def counts(self) -> dict[str, float]:
        families: list[Family] = list(self.recorder.families({}))
        (family,) = [one for one in families if one.name == "seaway_recorder_requests_total"]
        return {s.labels["outcome"]: s.value for s in family.samples if s.labels["sink"] == "mirrored"}


def test_the_recorder_writes_them_before_it_ends(tmp_path: Path) -> None:
    recorded = Recorded(tmp_path)
    recorded.run(b"a", b"b")
    assert rows(tmp_path, b"a") == rows(tmp_path, b"b") == [2.0]
    assert recorded.counts() == {"kept": 2, "dropped": 0}
    assert all(path.parent.stat().st_mode & 0o077 == 0 for path in (tmp_path / "_mirrored").rglob("*.bin"))


def test_f10_a_disk_that_refuses_costs_the_answers_alone_and_is_told(tmp_path: Path) -> None:
    (tmp_path / "_mirrored").write_text("in the way")
    recorded = Recorded(tmp_path)
    recorded.run(b"a", b"b")
    assert recorded.counts() == {"kept": 0, "dropped": 2}
    assert len(recorded.lines) == 1 and recorded.lines[0].startswith("mirrored: ")
    assert any(line.startswith("mirrored: ") for line in recorded.recorder.faults)


def test_without_a_place_for_them_nothing_is_kept(tmp_path: Path) -> None:
    recorded = Recorded(tmp_path, keeps=False)
    recorded.run(b"a")
    assert rows(tmp_path, b"a") is None and recorded.counts() == {}

"""What the stores do where somebody removes their files while they write: they begin anew, and count what went."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import sys
from pathlib import Path

import capture_requests as captures
import provenance_fakes as fakes
import pytest
import recorder_fakes
from engine_fakes import SIGNATURE, FakeClock

from seaway.adapters.records.parquet import ParquetSegments
from seaway.core.errors import UserError
from seaway.core.records import RecordRules
from seaway.core.user_keys import UserKey
from seaway.monitor.capture import files as capture_files
from seaway.monitor.capture import segments
from seaway.monitor.capture import spool as capture_spool
from seaway.monitor.open_files import FileGoneError
from seaway.monitor.provenance import explanations
from seaway.monitor.provenance import files as provenance_files
from seaway.monitor.provenance.sink import ProvenanceSink
from seaway.monitor.recording.first_requests import FirstRequests
from seaway.monitor.sinks import RecordPaths, Subject
from seaway.testing.clock import VirtualClock


@pytest.mark.parametrize("gone", [".", "prices", "prices/capture"])
def test_capture_makes_its_directory_anew_and_tells_what_was_lost(tmp_path: Path, gone: str) -> None:
    root = tmp_path / "records"
    taken = captures.sink(root, VirtualClock(captures.BASE_S))
    taken.take(captures.block([captures.Ended(1), captures.Ended(2)]))
    shutil.rmtree(root / gone)
    with pytest.raises(FileGoneError, match="2 requests") as told:
        taken.tick(captures.BASE_S)
    assert told.value.requests == 2
    taken.tick(captures.BASE_S)  # said once
    taken.take(captures.block([captures.Ended(3)]))
    (path,) = capture_files.spools(captures.place(root))
    assert [request.request_id for request in capture_spool.read(path).requests] == ["request-3"]
    taken.close()


def test_capture_reads_the_key_of_pseudonyms_anew_where_it_was_removed(tmp_path: Path) -> None:
    """Else an erasure, which makes a new key, would not find what the old one hid."""
    rules = RecordRules(capture_percent=100.0, redact=("x-user-id",), subject="x-user-id")
    taken = captures.sink(tmp_path / "records", VirtualClock(captures.BASE_S))
    taken.take(captures.block([captures.Ended(1, subject="ada")], rules))
    before = capture_files.secret(tmp_path / "records")
    taken.tick(captures.BASE_S + capture_spool.ROTATE_S)  # no spool is open
    shutil.rmtree(tmp_path / "records")
    taken.take(captures.block([captures.Ended(2, subject="ada")], rules))
    assert taken._secret == capture_files.secret(tmp_path / "records") != before
    taken.close()


@pytest.mark.parametrize("pattern", ["ring-.*", r"ring-.*\.names"])
def test_provenance_begins_a_new_segment_and_tells_what_was_lost(tmp_path: Path, pattern: str) -> None:
    kept = ProvenanceSink(RecordPaths(str(tmp_path), 0, 7), VirtualClock())
    kept.take(fakes.block([fakes.number(b"a", 1.0), fakes.number(b"b", 1.0)]))
    for path in (tmp_path / "_requests").iterdir():
        if re.fullmatch(pattern, path.name):
            path.unlink()
    with pytest.raises(FileGoneError, match="2 requests"):
        kept.tick(fakes.BASE_S)
    kept.tick(fakes.BASE_S)
    shutil.rmtree(tmp_path / "_requests", ignore_errors=True)
    kept.take(fakes.block([fakes.number(b"c", 1.0)]))
    (found,) = provenance_files.find(tmp_path, b"c")
    assert found.code == "200"
    kept.close()


def test_first_requests_are_remembered_where_the_file_of_the_filter_was_removed(tmp_path: Path) -> None:
    subject = Subject(
        "e",
        1,
        "sha256:1",
        "m:v1",
        SIGNATURE,
        None,
        RecordRules(judged=True, unit=UserKey(header="x-user"), scope=3),
    )
    asked = [recorder_fakes.Ended(headers={"x-user": b"user-%d" % n}) for n in range(9)]
    one, other = FirstRequests(tmp_path), FirstRequests(tmp_path)
    assert len(one.of(subject, asked[:5])) == 5
    assert len(other.of(subject, asked[:6])) == 1
    shutil.rmtree(tmp_path / "e")
    assert one.of(subject, asked[:6]) == []
    assert [len(each.of(subject, asked[:7])) for each in (other, one)] == [1, 0]
    assert len(FirstRequests(tmp_path).of(subject, asked)) == 2  # a new worker knows them from the file


def test_what_went_with_a_file_counts_as_dropped(tmp_path: Path) -> None:
    class Losing(recorder_fakes.MemorySink):
        ticks = 0

        def tick(self, now_s: float) -> None:
            self.ticks += 1
            if self.ticks == 1:
                raise FileGoneError(tmp_path / "file", 7)

    said: list[str] = []
    one = recorder_fakes.recorder(tmp_path, FakeClock(), [Losing()], said=said)

    async def scenario() -> None:
        one.begin()

    asyncio.run(scenario())
    one.close()
    dropped = [
        sample.value
        for family in one.families({})
        for sample in family.samples
        if sample.labels.get("sink") == "memory" and sample.labels.get("outcome") == "dropped"
    ]
    assert dropped == [7]
    assert len(said) == 1 and "7 requests with it" in said[0]


_KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import capture_requests as captures
import provenance_fakes as fakes
from seaway.monitor.provenance.sink import ProvenanceSink
from seaway.monitor.sinks import RecordPaths
from seaway.testing.clock import VirtualClock

kept = ProvenanceSink(RecordPaths(sys.argv[1], 0, 7), VirtualClock())
kept.take(fakes.block([fakes.number(b"a", 1.0, ended_s=5.0)]))
taken = captures.sink(Path(sys.argv[1]), VirtualClock(captures.BASE_S))
taken.take(captures.block([captures.Ended(1)]))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_worker_is_told_where_nothing_is_found(tmp_path: Path) -> None:
    alive = ProvenanceSink(RecordPaths(str(tmp_path), 1, 8), VirtualClock())
    alive.take(fakes.block([fakes.number(b"b", 1.0, ended_s=9.0)]))
    ended = ProvenanceSink(RecordPaths(str(tmp_path), 2, 9), VirtualClock())
    ended.take(fakes.block([fakes.number(b"c", 1.0, ended_s=9.0)]))
    ended.close()
    assert provenance_files.kept(tmp_path).killed == 0
    words = [sys.executable, "-c", _KILLED, str(tmp_path), str(Path(__file__).parent)]
    assert subprocess.run(words, check=False).returncode == -9
    state = provenance_files.kept(tmp_path)
    assert (state.killed, state.killed_at_s) == (1, fakes.BASE_S + 5.0)
    with pytest.raises(UserError) as told:
        explanations.explain(tmp_path, "nobody")
    assert "A worker was killed at about 2023-11-14T22:13:25Z" in str(told.value.hint)
    alive.close()


def test_a_killed_worker_is_told_of_what_was_captured(tmp_path: Path) -> None:
    def unended() -> int:
        with segments.view(tmp_path, "prices", 0.0) as view:
            return view.unended

    taken = captures.sink(tmp_path, VirtualClock(captures.BASE_S))
    taken.take(captures.block([captures.Ended(2)]))
    words = [sys.executable, "-c", _KILLED, str(tmp_path), str(Path(__file__).parent)]
    assert unended() == 0
    assert subprocess.run(words, check=False).returncode == -9
    assert unended() == 1
    taken.close()
    assert unended() == 1
    segments.convert(tmp_path, captures.BASE_S + 1000, ParquetSegments(), {}, every=True)
    assert unended() == 1

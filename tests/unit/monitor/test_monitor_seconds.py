"""The ledger on disk: torn lines, many writers, retention by age and by space."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest
from engine_fakes import SIGNATURE

from seaway.core.ledger import Counts, Second
from seaway.core.records import RecordRules
from seaway.monitor.recording import seconds
from seaway.monitor.recording.seconds import SecondsWriter
from seaway.monitor.sinks import RecordPaths, Subject

HOUR = 3600


def subject(revision: int = 1, endpoint: str = "e") -> Subject:
    return Subject(endpoint, revision, f"sha256:{revision}", "m:v1", SIGNATURE, None, RecordRules())


def second(at_s: int, finished: int = 1) -> Second:
    return Second(at_s, Counts(finished=finished, latency=((3, finished),)))


def test_many_writers_are_read_as_one(tmp_path: Path) -> None:
    for slot in range(3):
        writer = SecondsWriter(RecordPaths(str(tmp_path), slot, 100 + slot))
        writer.write([(subject(), second(at, slot + 1)) for at in range(HOUR - 5, HOUR + 5)], HOUR)
        writer.write([(subject(2), second(HOUR + slot))], HOUR)
    one, two = seconds.read(tmp_path, "e", HOUR - 5, HOUR + 5)
    assert [s.at_s for s in one.seconds] == list(range(HOUR - 5, HOUR + 5))
    assert {s.counts.finished for s in one.seconds} == {6}
    assert [s.at_s for s in two.seconds] == [HOUR, HOUR + 1, HOUR + 2]
    (narrow,) = seconds.read(tmp_path, "e", HOUR + 3, HOUR + 4)
    assert [s.at_s for s in narrow.seconds] == [HOUR + 3]


@pytest.mark.parametrize("cut", range(2, 50, 7))
def test_f10_a_torn_line_costs_itself_alone_also_where_the_writer_goes_on(tmp_path: Path, cut: int) -> None:
    writer = SecondsWriter(RecordPaths(str(tmp_path), 0, 7))
    writer.write([(subject(), second(10)), (subject(), second(11))], 12)
    (path,) = (tmp_path / "e" / "seconds").iterdir()
    path.write_bytes(path.read_bytes()[:-cut])
    writer.write([(subject(), second(12))], 13)
    (page,) = seconds.read(tmp_path, "e", 0, 100)
    assert [s.at_s for s in page.seconds] == [10, 12]


def test_f10_bytes_that_are_no_lines_are_left_out(tmp_path: Path) -> None:
    writer = SecondsWriter(RecordPaths(str(tmp_path), 0, 7))
    writer.write([(subject(), second(10))], 11)
    (path,) = (tmp_path / "e" / "seconds").iterdir()
    path.write_bytes(b"\x00\xff" * 400 + b"\n" + path.read_bytes() + b"[1,2]\n[]\n")
    (page,) = seconds.read(tmp_path, "e", 0, 100)
    assert [s.at_s for s in page.seconds] == [10]


def test_old_hours_go_and_the_oldest_first_where_space_runs_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 100 * HOUR
    writer = SecondsWriter(RecordPaths(str(tmp_path), 0, 7))
    for hours_ago in (60, 40, 20, 1):
        writer.write([(subject(), second(now_s - hours_ago * HOUR))], now_s)
    seconds.sweep(tmp_path, now_s)
    kept = [s.at_s for s in seconds.read(tmp_path, "e", 0, now_s)[0].seconds]
    assert kept == [now_s - hours * HOUR for hours in (40, 20, 1)]
    sizes = [path.stat().st_size for path in (tmp_path / "e" / "seconds").iterdir()]
    monkeypatch.setattr(seconds, "MOST_BYTES", sum(sizes) - 1)
    seconds.sweep(tmp_path, now_s)
    assert [s.at_s for s in seconds.read(tmp_path, "e", 0, now_s)[0].seconds] == kept[1:]


def test_f10_one_endpoint_that_cannot_be_written_costs_the_others_nothing(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a file where a folder should be")
    writer = SecondsWriter(RecordPaths(str(tmp_path), 0, 7))
    left = writer.write([(subject(endpoint="a"), second(10)), (subject(), second(10))], 11)
    assert left is not None and [(s.endpoint, one.at_s) for s, one in left.seconds] == [("a", 10)]
    assert len(seconds.read(tmp_path, "e", 0, 100)) == 1
    (tmp_path / "a").unlink()
    assert writer.write(left.seconds, 12) is None
    assert len(seconds.read(tmp_path, "a", 0, 100)) == 1


def test_f10_a_disk_that_takes_a_part_takes_nothing_and_nothing_is_kept_twice(tmp_path: Path) -> None:
    writer = SecondsWriter(RecordPaths(str(tmp_path), 0, 7))
    assert writer.write([(subject(), second(10))], 11) is None
    (path,) = (tmp_path / "e" / "seconds").iterdir()
    size = path.stat().st_size
    more = [(subject(), second(at)) for at in range(11, 15)]
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size * 2 + 20, old[1]))  # two lines and a part of the next one
    try:
        left = writer.write(more, 15)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert left is not None and len(left.seconds) == 4
    assert path.stat().st_size == size
    assert writer.write(left.seconds, 16) is None
    (page,) = seconds.read(tmp_path, "e", 0, 100)
    assert [(s.at_s, s.counts.finished) for s in page.seconds] == [(at, 1) for at in range(10, 15)]

"""Kill -9 of whoever writes, converts or erases captured requests, at random points: nothing lost, nothing twice."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pytest
from capture_requests import ALL, BASE_S, Ended, block, sink, written

from seaway.adapters.records.parquet import ParquetSegments
from seaway.monitor.capture import segments
from seaway.testing.clock import VirtualClock

NOW_S = BASE_S + 1_000_000
_SCRIPT = """
import sys, itertools
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from capture_requests import BASE_S, Ended, block, sink
from seaway.adapters.records.parquet import ParquetSegments
from seaway.monitor.capture import segments
from seaway.testing.clock import VirtualClock

NOW_S = BASE_S + 1_000_000
work, root, first = sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])
form = ParquetSegments()
print("ready", flush=True)
if work == "write":
    taken = sink(root, VirtualClock(BASE_S))
    for number in itertools.count(first):
        taken.take(block([Ended(number)]))
        print(number, flush=True)
while work == "convert":
    segments.convert(root, NOW_S, form, {}, every=True)
while work == "erase":
    segments.erase(root, None, "ada lovelace", NOW_S, form)
"""


def killed(work: str, root: Path, after_s: float, first: int = 0) -> list[str]:
    """Run this work for so long, and kill it; what it said."""
    helpers = str(Path(__file__).parents[1] / "unit" / "monitor")
    process = subprocess.Popen(
        [sys.executable, "-c", _SCRIPT, helpers, work, str(root), str(first)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(after_s)  # the random point
    process.kill()
    said = process.stdout.read().splitlines()
    process.wait()
    process.stdout.close()
    return said


def found(root: Path) -> list[str]:
    with segments.view(root, "prices", 0.0) as view:
        assert view.damaged == ()
        ids = [str(cell) for cell in view.rows.cells["request_id"]]
        for segment in view.segments:
            with duckdb.connect() as database:
                rows = database.execute(f"SELECT request_id FROM '{segment.path}'").fetchall()
            ids += [row[0] for row in rows]
    return ids


def fill(root: Path, first: int, count: int, subject: str) -> list[str]:
    taken = sink(root, VirtualClock(BASE_S))
    for number in range(first, first + count):
        taken.take(block([Ended(number, subject=subject)], ALL))
    taken.close()
    return [f"request-{number}" for number in range(first, first + count)]


@pytest.mark.slow
def test_killed_converters_lose_and_double_nothing(tmp_path: Path) -> None:
    chance, expected = random.Random(4), []
    for turn in range(12):
        expected += fill(tmp_path, turn * 10_000, 1000, "bob")
        expected += fill(tmp_path, turn * 10_000 + 5000, 1000, "eve")
        killed("convert", tmp_path, chance.uniform(0, 0.06))
        assert sorted(found(tmp_path)) == sorted(expected)
    segments.convert(tmp_path, NOW_S, ParquetSegments(), {}, every=True)
    assert sorted(found(tmp_path)) == sorted(expected)


@pytest.mark.slow
def test_killed_erasers_leave_nothing_of_the_subject_and_all_of_the_others(tmp_path: Path) -> None:
    chance, expected = random.Random(5), []
    for turn in range(10):
        expected += fill(tmp_path, turn * 10_000, 500, "bob")
        fill(tmp_path, turn * 10_000 + 5000, 500, "ada lovelace")
        if turn % 2:
            segments.convert(tmp_path, NOW_S, ParquetSegments(), {}, every=True)
        killed("erase", tmp_path, chance.uniform(0, 0.06))
        assert set(expected) <= set(found(tmp_path)) and len(found(tmp_path)) == len(set(found(tmp_path)))
    segments.erase(tmp_path, None, "ada lovelace", NOW_S, ParquetSegments())
    assert sorted(found(tmp_path)) == sorted(expected)
    assert b"ada lovelace" not in written(tmp_path)


@pytest.mark.slow
def test_killed_workers_lose_none_of_what_was_taken(tmp_path: Path) -> None:
    chance, expected = random.Random(6), []
    for turn in range(6):
        said = killed("write", tmp_path, chance.uniform(0.01, 0.1), turn * 100_000)
        expected += [f"request-{number}" for number in said]
    segments.convert(tmp_path, NOW_S, ParquetSegments(), {}, every=True)
    have = found(tmp_path)
    assert set(expected) <= set(have) and len(have) == len(set(have))
    assert len(have) <= len(expected) + 6, "the one that each was at"

"""Provenance against a plain model: whatever is written, killed, torn or removed, a reader sees whole records or none."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import msgspec
import numpy as np
import provenance_fakes as fakes
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seaway.core.provenance import Joined
from seaway.monitor.provenance import files as provenance_files
from seaway.monitor.provenance import layout as form
from seaway.monitor.provenance.sink import ProvenanceSink
from seaway.monitor.sinks import RecordPaths
from seaway.testing.clock import VirtualClock

SMALL = 16 * 64 * 200

ids = st.binary(min_size=1, max_size=60).map(bytes.hex).map(str.encode)
answers = st.lists(st.floats(width=32, allow_nan=False), max_size=40)
blocks = st.lists(st.lists(st.tuples(ids, st.none() | answers), min_size=1, max_size=90), max_size=12)


def write(sink: ProvenanceSink, requests: list[tuple[bytes, list[float] | None]]) -> None:
    made = [
        fakes.Ended(one, code="internal") if values is None else fakes.number(one, *values)
        for one, values in requests
    ]
    sink.take(fakes.block(made))


def read(joined: Joined, place: int) -> list[float]:
    first = int(joined.first[place])
    return joined.numbers[first : first + int(joined.rows[place])].tolist()


@settings(max_examples=40, deadline=None)
@given(blocks)
def test_the_ring_holds_the_newest_as_they_were(
    written: list[list[tuple[bytes, list[float] | None]]],
) -> None:
    """Over many turns of a small ring: of each id what is found is what was written, and the last block is there."""
    with tempfile.TemporaryDirectory() as directory:
        sink = ProvenanceSink(RecordPaths(directory, 0, 1), VirtualClock(), space_bytes=SMALL)
        said: dict[bytes, list[list[float]]] = {}
        for block in written:
            write(sink, block)
            for one, values in block:
                said.setdefault(one, []).append([float(np.float32(v)) for v in values or ()])
        asked = [*said, b"never"]
        joined = provenance_files.lookup(directory, asked)
        for place, one in enumerate(asked[:-1]):
            if joined.by[place] >= 0:
                assert any(read(joined, place) == values[:128] for values in said[one])
            for found in provenance_files.find(directory, one, rows=50):
                assert [row.answer for row in found.answers] in [values[:50] for values in said[one]]
        assert joined.by[-1] == -1
        if written:
            last = {one for one, _ in written[-1]}
            assert all(joined.by[asked.index(one)] >= 0 for one in last)
        sink.close()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 400), st.binary(max_size=30))
def test_a_torn_or_damaged_names_file_costs_names_alone(cut: int, garbage: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        sink = ProvenanceSink(RecordPaths(directory, 0, 1), VirtualClock())
        sink.take(fakes.block([fakes.labels(b"r", "up")], fakes.subject(fakes.CLASSIFIER, slices=("city",))))
        sink.close()
        (names,) = Path(directory, "_requests").glob("*.names")
        names.write_bytes(names.read_bytes()[:cut] + garbage)
        (found,) = provenance_files.find(directory, b"r")
        assert found.took_s == 0.25
        assert found.caller in ("ada", "…")
        assert found.answers[0].answer in ("up", "…")
        assert found.by.endpoint in ("prices", "…")
        joined = provenance_files.lookup(directory, [b"r"])
        assert joined.rows[0] == 1
        assert joined.row(int(joined.first[0])).answer in ("up", "…")


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_flipped_byte_never_gives_a_false_record(data: st.DataObject) -> None:
    """One byte of a request or of an answer is changed: each is found as it was, without answers, or not at all."""
    with tempfile.TemporaryDirectory() as directory:
        sink = ProvenanceSink(RecordPaths(directory, 0, 1), VirtualClock(), space_bytes=SMALL)
        sink.take(fakes.block([fakes.number(b"r-%d" % n, float(n), float(-n)) for n in range(40)]))
        sink.close()
        before = {n: provenance_files.find(directory, b"r-%d" % n)[0] for n in range(40)}
        (path,) = Path(directory, "_requests").glob("*.bin")
        content = bytearray(path.read_bytes())
        requests, answers = form.requests_at(64), form.answers_at(64)
        at = data.draw(
            st.integers(requests, requests + 40 * form.REQUEST.itemsize - 1)
            | st.integers(answers, answers + 80 * form.ANSWER.itemsize - 1)
        )
        content[at] ^= data.draw(st.integers(1, 255))
        path.write_bytes(content)
        joined = provenance_files.lookup(directory, [b"r-%d" % n for n in range(40)])
        lost = 0
        for n, whole in before.items():
            found = provenance_files.find(directory, b"r-%d" % n)
            kept = whole.answers[: len(found[0].answers)] if found else ()
            assert found in ([], [msgspec.structs.replace(whole, answers=kept)])
            lost += not found or len(kept) < 2
            assert read(joined, n) in ([], [float(n), float(-n)])
        assert lost == 1
        assert (joined.rows == 2).sum() == 39


def test_readers_beside_a_writer_that_turns_its_ring_see_only_whole_records(tmp_path: Path) -> None:
    """The writer removes the oldest segments while they are read; request n always answers n and -n."""
    sink = ProvenanceSink(RecordPaths(str(tmp_path), 0, 1), VirtualClock(), space_bytes=SMALL)
    done = threading.Event()

    def turn() -> None:
        for start in range(0, 6000, 30):
            write(sink, [(b"r-%d" % n, [float(n), float(-n)]) for n in range(start, start + 30)])
        done.set()

    writer = threading.Thread(target=turn)
    writer.start()
    asked = [b"r-%d" % n for n in range(6000)]
    seen, last = 0, False
    while not last:
        last = done.is_set()
        joined = provenance_files.lookup(tmp_path, asked)
        known = np.flatnonzero(joined.rows > 0)
        seen += len(known)
        first = joined.first[known]
        assert (joined.numbers[first] == known).all()
        assert (joined.numbers[first + 1] == -known).all()
        assert {by.endpoint for by in joined.subjects} <= {"prices", "…"}
    writer.join()
    assert seen > 100


_WRITER = """
import sys
sys.path[:0] = sys.argv[2:]
import provenance_fakes as fakes
from seaway.monitor.provenance.sink import ProvenanceSink
from seaway.monitor.sinks import RecordPaths
from seaway.testing.clock import VirtualClock
sink = ProvenanceSink(RecordPaths(sys.argv[1], 0, 1), VirtualClock(), space_bytes=16 * 64 * 200)
start = 0
while True:
    sink.take(fakes.block([fakes.number(b"r-%d" % n, float(n), float(-n)) for n in range(start, start + 30)]))
    start += 30
    print(start, flush=True)
"""


@pytest.mark.parametrize("blocks_before", [1, 17, 90])
def test_after_kill_9_at_any_point_all_that_was_taken_last_is_whole(
    tmp_path: Path, blocks_before: int
) -> None:
    here = str(Path(fakes.__file__).parent)
    command = [sys.executable, "-c", _WRITER, str(tmp_path), here]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(blocks_before):
            taken = int(process.stdout.readline())
        os.kill(process.pid, signal.SIGKILL)
        rest = process.stdout.read().splitlines()
        taken = int(rest[-1]) if rest else taken
    joined = provenance_files.lookup(tmp_path, [b"r-%d" % n for n in range(taken + 30)])
    known = np.flatnonzero(joined.by >= 0)
    assert set(range(taken - 30, taken)) <= set(known.tolist())
    assert (joined.rows[known] == 2).all()
    assert (joined.numbers[joined.first[known]] == known).all()
    assert (joined.numbers[joined.first[known] + 1] == -known).all()

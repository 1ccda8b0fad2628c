"""Erasing single requests from provenance while it is written."""

from __future__ import annotations

import struct
from pathlib import Path

import provenance_fakes as fakes

from seaway.core.provenance import AnsweredRow
from seaway.monitor.provenance import files as provenance_files
from seaway.monitor.provenance.erasing import erase
from seaway.monitor.provenance.sink import ProvenanceSink
from seaway.monitor.sinks import RecordPaths
from seaway.testing.clock import VirtualClock


def test_erased_requests_leave_no_byte_and_the_others_stay(tmp_path: Path) -> None:
    sink = ProvenanceSink(RecordPaths(str(tmp_path), 0, 1), VirtualClock())
    jane = [b"jane-1", b"jane-2", b"j" * 100]
    requests = [fakes.number(b"a", 1.0), fakes.number(jane[0], 987.5, 1.0), fakes.number(b"b", 2.0)]
    sink.take(fakes.block([*requests, fakes.number(jane[1], 987.5), fakes.number(jane[2], 987.5)]))
    assert erase(tmp_path, [*jane, b"unknown"]) == 3
    assert erase(tmp_path, jane) == 0
    sink.take(fakes.block([fakes.number(b"c", 3.0)]))
    assert (provenance_files.lookup(tmp_path, jane).by == -1).all()
    assert [provenance_files.find(tmp_path, one) for one in jane] == [[], [], []]
    for one, answer in ((b"a", 1.0), (b"b", 2.0), (b"c", 3.0)):
        assert provenance_files.find(tmp_path, one)[0].answers == (AnsweredRow(answer),)
    (path,) = (tmp_path / "_requests").glob("*.bin")
    content = path.read_bytes()
    value = struct.pack("<d", 987.5)
    assert b"jane" not in content and value not in content


def test_erasing_where_nothing_is_kept_is_no_error(tmp_path: Path) -> None:
    assert erase(tmp_path, [b"a"]) == 0
    assert erase(tmp_path, []) == 0

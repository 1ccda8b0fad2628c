"""Reads what `provenance` keeps: one request to explain it, or a million to join them with their outcomes.

Works beside running workers and without them. Blocking, thread-safe. Whatever is damaged, half-written or just being
removed is left out, and never raises.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from seaway.core.provenance import AnsweredBy, AnsweredRow, Explanation, Joined, Kept
from seaway.core.records import Chosen
from seaway.monitor.provenance import layout as form
from seaway.monitor.provenance import room as provenance_room
from seaway.monitor.provenance.join import Joiner
from seaway.monitor.provenance.names import UNKNOWN_BY, ReadNames

ROWS_SHOWN = 10


def find(root: Path | str, request_id: bytes, rows: int = ROWS_SHOWN) -> list[Explanation]:
    """What is kept of the requests of this id, the newest first, with the answers of the first `rows` of each."""
    kept = form.kept_ids([request_id])
    key = form.keys_of(kept)[0]
    found: list[Explanation] = []
    for segment in open_all(Path(root)):
        places = np.flatnonzero(segment.keys() == key)
        if not len(places):
            continue
        names = ReadNames(segment.name.names)
        for place in places.tolist():
            record = segment.requests(place, 1)
            if len(record) and form.sound(record)[0] and record["id"][0] == kept[0]:
                found.append(_explain(segment, names, record[0], request_id, rows))
    return sorted(found, key=lambda one: one.at_s, reverse=True)


def lookup(root: Path | str, ids: Sequence[bytes]) -> Joined:
    """What was answered to each of the request ids; of several of one id the newest that has answers, else the newest."""
    kept = form.kept_ids(ids)
    joiner = Joiner(kept, form.keys_of(kept))
    for segment in open_all(Path(root)):
        if len(ids):
            joiner.add(segment)
    return joiner.joined()


def kept(root: Path | str) -> Kept:
    """How much is kept, and since when without gaps other than those of sampling."""
    gone, first, killed, seen, held, space, damaged = [0.0], [], [], 0, 0, 0, 0
    names = form.segments(Path(root))
    for name in names:
        header = provenance_room.header_of(name.path)
        try:
            space += name.path.stat().st_blocks * 512
        except OSError:
            continue
        if header is None:
            damaged += 1
            continue
        if header["requests"] and provenance_room.was_killed(name.path):
            killed.append(float(header["last_s"]))
        gone.append(float(header["gone_until_s"]))
        if header["requests"]:
            first.append(float(header["first_s"]))
        seen, held = seen + int(header["seen"]), held + int(header["kept"])
    since_s = max(max(gone), min(first)) if first else None
    return Kept(since_s, seen, held, space, len(names), damaged, len(killed), max(killed, default=None))


class OpenSegment(NamedTuple):
    """A segment that is being read; it may be removed meanwhile, and stays readable."""

    name: form.SegmentName
    file: int
    requests_capacity: int
    answers_capacity: int

    def keys(self) -> npt.NDArray[np.uint64]:
        """Of all places, 0 where nothing is written yet."""
        data = self._read(form.keys_at(), self.requests_capacity * 8)
        return np.frombuffer(data, np.dtype("<u8"), len(data) // 8)

    def requests(self, at: int, count: int) -> npt.NDArray[np.void]:
        """The records from a place on, sound or not; fewer where the file ends."""
        size = form.REQUEST.itemsize
        start = form.requests_at(self.requests_capacity) + at * size
        return _records(self._read(start, min(count, self.requests_capacity - at) * size), form.REQUEST)

    def answers(self, at: int, count: int) -> npt.NDArray[np.void]:
        """The answered rows from a place on, sound or not; fewer where the file ends."""
        size = form.ANSWER.itemsize
        start = form.answers_at(self.requests_capacity) + at * size
        return _records(self._read(start, max(0, min(count, self.answers_capacity - at)) * size), form.ANSWER)

    def _read(self, at: int, size: int) -> bytes:
        try:
            return os.pread(self.file, size, at)
        except OSError:
            return b""


def _records(data: bytes, kind: np.dtype[np.void]) -> npt.NDArray[np.void]:
    return np.frombuffer(data, kind, len(data) // kind.itemsize)


def open_all(root: Path, flags: int = os.O_RDONLY) -> Iterator[OpenSegment]:
    """Every segment that has a header, open until the next is asked for."""
    for name in form.segments(root):
        try:
            file = os.open(name.path, flags | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            header = provenance_room.header_of(name.path)
            if header is not None:
                yield OpenSegment(
                    name, file, int(header["requests_capacity"]), int(header["answers_capacity"])
                )
        finally:
            os.close(file)


def _explain(
    segment: OpenSegment, names: ReadNames, record: np.void, request_id: bytes, rows: int
) -> Explanation:
    by = names.by.get(int(record["by"]), UNKNOWN_BY)
    trace = record["trace"].tobytes()
    answers = segment.answers(int(record["first_answer"]), min(rows, int(record["answers"])))
    return Explanation(
        request_id=request_id.decode("ascii", "replace"),
        trace_id=trace.hex() if any(trace) else None,
        at_s=float(record["at_s"]),
        by=by,
        door=names.text("door", int(record["door"])),
        slot=segment.name.slot,
        pid=segment.name.pid,
        code=names.text("code", int(record["code"])),
        caller=names.text("caller", int(record["caller"])),
        rows=int(record["rows"]),
        batch_rows=int(record["batch_rows"]),
        queue_s=float(record["queue_s"]),
        run_s=float(record["run_s"]),
        cpu_s=float(record["cpu_s"]),
        took_s=float(record["took_s"]),
        rate=float(record["rate"]),
        chosen=_chosen(int(record["chosen"])),
        rows_kept=int(record["answers"]),
        answers=tuple(_row(by, names, one) for one in answers[: _whole(answers)]),
    )


def _chosen(number: int) -> Chosen | None:
    return form.CHOSEN[number] if number < len(form.CHOSEN) else None


def _whole(answers: npt.NDArray[np.void]) -> int:
    """How many of the first are sound."""
    bad = np.flatnonzero(~form.sound(answers))
    return int(bad[0]) if len(bad) else len(answers)


def _row(by: AnsweredBy, names: ReadNames, record: np.void) -> AnsweredRow:
    value, sure = float(record["value"]), float(record["confidence"])
    slices = tuple(names.text("slice", code) for code in record["slices"].tolist()[: len(by.slices)])
    answer = names.text("class", int(value)) if record["kind"] == form.CLASS else value
    return AnsweredRow(answer, None if sure != sure else sure, slices)

"""Keeps what is known of single requests, so that one can be explained and many joined with their outcomes.

A Sink of the recorder; `provenance_files` reads what it writes, and `provenance_format` says how it lies there.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from seaway.core.answers import AnswerSpec, read_answers
from seaway.core.ports import Clock
from seaway.core.provenance import SLICES, AnsweredBy
from seaway.core.records import Answered, RecordRules
from seaway.monitor.open_files import FileGoneError
from seaway.monitor.provenance import layout as form
from seaway.monitor.provenance import room as provenance_room
from seaway.monitor.provenance.names import Names
from seaway.monitor.provenance.segment import Segment
from seaway.monitor.provenance.slice_columns import column_texts
from seaway.monitor.sinks import Block, RecordPaths, Subject, Takes
from seaway.wire import status, trace_context

SPACE_BYTES: Final = 256 * 1024 * 1024
"""Of one slot, over all its workers, those that ended too: about 1.2 million requests of up to two rows."""
RETAIN_S: Final = 30 * 86_400.0
_SEGMENTS: Final = 16
"""At least so many stand in the space, so that making room loses little at once."""
_MOST_REQUESTS: Final = 65_536
_FEWEST_REQUESTS: Final = 64
_ROWS_PER_REQUEST: Final = 2
_TRIM_EVERY_S: Final = 60.0
_AGES: Final = 8
"""A segment is written for an eighth of the time at most, so nothing stays for more than that beyond its time."""

_FAILED: Final = frozenset(code for code, found in status.STATUS.items() if found.http >= 500)

_columns_of = operator.attrgetter(
    "request_id",
    "code",
    "caller",
    "door",
    "rows",
    "batch_rows",
    "received_s",
    "ended_s",
    "queue_s",
    "run_s",
    "cpu_s",
    "chosen",
    "traceparent",
)
_CHOSEN: Final = {chosen: number for number, chosen in enumerate(form.CHOSEN)}


class ProvenanceSink:
    """See `sinks.Sink`. Takes no space but for what came, at most `space_bytes` in a slot, for at most `retain_s`."""

    name = "provenance"
    takes: Takes = "sample and failures"

    def __init__(
        self,
        paths: RecordPaths,
        clock: Clock,
        space_bytes: int = SPACE_BYTES,
        retain_s: float = RETAIN_S,
    ) -> None:
        self._paths = paths
        self._root = Path(paths.root)
        self._clock = clock
        self._space_bytes = space_bytes
        self._retain_s = retain_s
        each = form.REQUEST.itemsize + 8 + _ROWS_PER_REQUEST * form.ANSWER.itemsize
        fit = space_bytes // (_SEGMENTS * each)
        self._requests = max(_FEWEST_REQUESTS, min(_MOST_REQUESTS, fit))
        self._answers = self._requests * _ROWS_PER_REQUEST
        self._segment: Segment | None = None
        self._trimmed_s = -_TRIM_EVERY_S

    def wants(self, rules: RecordRules) -> bool:
        return False

    def take(self, block: Block) -> None:
        """Raises `OSError` where the disk does not take them; what it took before stays readable."""
        self._take(block.subject, block.requests, block.units, block.rate, block.base_s)

    def tick(self, now_s: float) -> None:
        """Remove what is past its time, about once a minute. Raises `FileGoneError` once where a segment was removed."""
        found = self._segment
        if found is not None and not found.stands():
            self.close()
            raise FileGoneError(found.path, found.kept)
        monotonic_s = self._clock.monotonic_s()
        if monotonic_s - self._trimmed_s < _TRIM_EVERY_S:
            return
        self._trimmed_s = monotonic_s
        if found is not None and found.first_s is not None and found.first_s < now_s - self._retain_s / _AGES:
            self.close()
        current = None if self._segment is None else self._segment.path
        provenance_room.remove_old(self._root, now_s - self._retain_s, current)

    def close(self) -> None:
        if self._segment is not None:
            self._segment.close(self._clock.now_s())
            self._segment = None

    def _take(
        self,
        subject: Subject,
        requests: Sequence[Answered],
        units: Sequence[bool],
        rate: float,
        base_s: float,
    ) -> None:
        if not requests:
            return
        rows = _rows(subject.answer, requests)
        if len(requests) > 1 and (len(requests) > self._requests or sum(rows) > self._answers):
            half = len(requests) // 2
            self._take(subject, requests[:half], units[:half], rate, base_s)
            self._take(subject, requests[half:], units[half:], rate, base_s)
            return
        segment = self._room(len(requests), min(sum(rows), self._answers))
        answers = _answers(subject, requests, segment.names)[: self._answers]
        table = _requests(requests, np.minimum(rows, self._answers), segment.names, rate, base_s)
        if units:
            table["unit"] = units
        rules = subject.rules.slices[:SLICES]
        table["by"] = segment.names.by(
            AnsweredBy(subject.endpoint, subject.revision, subject.digest, subject.ref, rules)
        )
        segment.append(table, answers, _seen(requests, rate))

    def _room(self, requests: int, answers: int) -> Segment:
        """The segment that takes so many."""
        found = self._segment
        if found is not None and found.has_room(requests, answers):
            return found
        slot = self._paths.slot
        gone_until_s, number = provenance_room.make_room(
            self._root, slot, self._space_bytes - self._segment_bytes()
        )
        made = Segment(self._root, slot, self._paths.pid, number, self._requests, self._answers)
        made.note_gone(gone_until_s)
        self.close()
        self._segment = made
        return made

    def _segment_bytes(self) -> int:
        """What a full one takes."""
        return form.answers_at(self._requests) + self._answers * form.ANSWER.itemsize


def _seen(requests: Sequence[Answered], rate: float) -> int:
    """For how many requests that ended these stand: those that failed for themselves, the others were drawn.

    (Not `Block.seen`: blocks of which nothing was drawn do not come.)
    """
    failed = sum(1 for r in requests if r.code in _FAILED)
    return failed + round((len(requests) - failed) / rate)


def _rows(spec: AnswerSpec | None, requests: Sequence[Answered]) -> list[int]:
    """The answered rows of each request."""
    if spec is None:
        return [0] * len(requests)
    name = spec.output
    return [0 if (found := r.outputs) is None else len(found[name]) for r in requests]


def _requests(
    requests: Sequence[Answered], answers: npt.NDArray[np.int64], names: Names, rate: float, base_s: float
) -> npt.NDArray[np.void]:
    """The requests as records `(n,)`, all but what revision answered them."""
    (
        ids, codes, callers, doors, rows, batch_rows, received_s, ended_s, queue_s, run_s, cpu_s, chosen, traces,
    ) = zip(*map(_columns_of, requests), strict=True)  # fmt: skip
    table = np.zeros(len(requests), form.REQUEST)
    table["id"] = form.kept_ids(ids)
    ended = np.array(ended_s)
    table["at_s"] = ended + base_s
    table["took_s"] = ended - received_s
    table["queue_s"], table["run_s"], table["cpu_s"] = queue_s, run_s, cpu_s
    table["rows"], table["batch_rows"], table["rate"] = rows, batch_rows, rate
    table["chosen"] = [_CHOSEN[one] for one in chosen]
    table["answers"] = answers
    table["first_answer"] = np.cumsum(answers) - answers
    for field, texts in (("code", codes), ("caller", callers), ("door", doors)):
        numbers = names.texts[field]
        same = len(set(texts)) == 1
        table[field] = numbers[texts[0]] if same else list(map(numbers.__getitem__, texts))
    if traces.count(None) < len(traces):
        _fill_traces(table, traces)
    return table


def _fill_traces(table: npt.NDArray[np.void], traces: Sequence[bytes | None]) -> None:
    for place, given in enumerate(traces):
        trace = trace_context.parse_traceparent(given)
        if trace is not None:
            table["trace"][place] = np.void(bytes.fromhex(trace.trace_id))


def _answers(subject: Subject, requests: Sequence[Answered], names: Names) -> npt.NDArray[np.void]:
    """The answered rows of the requests, one after the other, as records `(m,)`."""
    spec = subject.answer
    answered = [r for r in requests if r.outputs is not None] if spec is not None else []
    if spec is None or not answered:
        return np.zeros(0, form.ANSWER)
    wanted = {spec.output} if spec.confidence is None else {spec.output, spec.confidence}
    outputs = {name: np.concatenate([r.outputs[name] for r in answered if r.outputs]) for name in wanted}
    found, confidence = read_answers(spec, outputs)
    table = np.zeros(len(found), form.ANSWER)
    table["confidence"] = np.nan if confidence is None else confidence
    if found.dtype == object:
        table["kind"] = form.CLASS
        table["value"] = list(map(names.texts["class"].__getitem__, found.tolist()))
    else:
        table["kind"] = form.NUMBER
        table["value"] = found
    for place, column in enumerate(subject.rules.slices[:SLICES]):
        texts = column_texts(subject.signature, column, [r.tensors for r in answered])
        if texts is not None and len(texts[1]) == len(table):
            kinds = [names.texts["slice"][text] if text else 0 for text in texts[0]]
            table["slices"][:, place] = np.array(kinds, np.uint16)[texts[1]]
    return table

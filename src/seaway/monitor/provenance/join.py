"""Joins many request ids with what was answered to them, in columns. Used by `provenance_files.lookup`."""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from seaway.core.provenance import OVERFLOW, SLICES, AnsweredBy, Joined
from seaway.monitor.provenance import layout as form
from seaway.monitor.provenance.names import UNKNOWN_BY, ReadNames

_SPARSE: Final = 32
"""Where what is wanted is further apart than that, it is read one by one."""


class Readable(Protocol):
    """A segment that is open."""

    @property
    def name(self) -> form.SegmentName: ...

    def keys(self) -> npt.NDArray[np.uint64]: ...
    def requests(self, at: int, count: int) -> npt.NDArray[np.void]: ...
    def answers(self, at: int, count: int) -> npt.NDArray[np.void]: ...


class _Part(NamedTuple):
    """What one segment holds of the ids: the id's place among the distinct ones, by, and its rows' columns."""

    asked: npt.NDArray[np.int64]
    by: npt.NDArray[np.int32]
    at_s: npt.NDArray[np.float64]
    rate: npt.NDArray[np.float64]
    units: npt.NDArray[np.bool_]
    first: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    numbers: npt.NDArray[np.float64]
    classes: npt.NDArray[np.int32]
    confidences: npt.NDArray[np.float32]
    slices: npt.NDArray[np.int32]


class Joiner:
    """Takes the segments one by one. Memory grows with what is found, not with what is kept."""

    def __init__(self, ids: npt.NDArray[np.bytes_], keys: npt.NDArray[np.uint64]) -> None:
        self._keys, some, self._inverse = np.unique(keys, return_index=True, return_inverse=True)
        self._ids = ids[some]
        self._subjects: dict[AnsweredBy, int] = {}
        self._texts: dict[str, int] = {}
        self._parts: list[_Part] = []
        self._rows = 0

    def add(self, segment: Readable) -> None:
        """Find what a segment holds."""
        keys = segment.keys()
        asked = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        places = np.flatnonzero(self._keys[asked] == keys)
        if not len(places):
            return
        records, inside = _records(segment, places)
        asked = asked[places][inside]
        same = form.sound(records) & (records["id"] == self._ids[asked])
        if same.any():
            self._add(segment, records[same], asked[same])

    def _add(self, segment: Readable, records: npt.NDArray[np.void], asked: npt.NDArray[np.int64]) -> None:
        names = ReadNames(segment.name.names)
        first, rows = records["first_answer"].astype(np.int64), records["answers"].astype(np.int64)
        answers = _answers(segment, first, rows)
        ends = np.cumsum(rows)
        begins = ends - rows
        # A request whose answers are damaged is one that has none.
        bad = np.concatenate(([0], np.cumsum(~form.sound(answers))))
        rows[bad[ends] > bad[begins]] = 0
        kind = answers["kind"] == form.CLASS
        value = np.where(kind, answers["value"], 0).astype(np.int64) & 0xFFFF
        numbers, by = np.unique(records["by"], return_inverse=True)
        subjects = np.array([self._subject(names, number) for number in numbers.tolist()], np.int32)
        self._parts.append(
            _Part(
                asked,
                subjects[by],
                records["at_s"],
                records["rate"].astype(np.float64),
                records["unit"] == 1,
                begins + self._rows,
                rows,
                np.where(kind, np.nan, answers["value"]),
                np.where(kind, self._text_places(names, "class")[value], -1).astype(np.int32),
                answers["confidence"],
                self._text_places(names, "slice")[answers["slices"]],
            )
        )
        self._rows += len(answers)

    def joined(self) -> Joined:
        """All that was found."""
        count = len(self._keys)
        chosen = np.full(count, -1, np.int64)
        found = _together(self._parts)
        best = 1 + np.lexsort((found.at_s[1:], found.rows[1:] > 0, found.asked[1:]))
        chosen[found.asked[best]] = best  # of each id the last wins
        pick = chosen[self._inverse]
        known = pick >= 0
        pick = np.where(known, pick, 0)
        return Joined(
            tuple(self._subjects),
            tuple(self._texts),
            np.where(known, found.by[pick], -1).astype(np.int32),
            np.where(known, found.at_s[pick], np.nan),
            np.where(known, found.rate[pick], np.nan),
            known & found.units[pick],
            np.where(known, found.first[pick], 0),
            np.where(known, found.rows[pick], 0),
            found.numbers,
            found.classes,
            found.confidences,
            found.slices,
        )

    def _subject(self, names: ReadNames, number: int) -> int:
        by = names.by.get(number, UNKNOWN_BY)
        return self._subjects.setdefault(by, len(self._subjects))

    def _text_places(self, names: ReadNames, kind: str) -> npt.NDArray[np.int32]:
        """The place in `Joined.texts` of each number of a kind; -1 for 0."""
        places = np.full(0x10000, self._text(OVERFLOW), np.int32)
        places[0] = -1
        for number, text in names.texts[kind].items():
            if 0 < number < 0x10000:
                places[number] = self._text(text)
        return places

    def _text(self, text: str) -> int:
        return self._texts.setdefault(text, len(self._texts))


def _records(
    segment: Readable, places: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.void], npt.NDArray[np.bool_]]:
    """The requests at these places, as far as the file reaches, and at which of them it does."""
    start = int(places[0])
    span = int(places[-1]) - start + 1
    if span > _SPARSE * len(places):
        found = [segment.requests(place, 1) for place in places.tolist()]
        return np.concatenate(found), np.array([len(one) == 1 for one in found], np.bool_)
    table = segment.requests(start, span)
    inside = places - start < len(table)
    return table[places[inside] - start], inside


def _answers(
    segment: Readable, first: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]
) -> npt.NDArray[np.void]:
    """The answered rows of requests, one after the other; `rows` becomes 0 where the file ends before their last."""
    if not rows.any():
        return np.zeros(0, form.ANSWER)
    start = int(first[rows > 0].min())
    span = int((first + rows).max()) - start
    if span > _SPARSE * int(rows.sum()):
        found = [segment.answers(at, count) for at, count in zip(first.tolist(), rows.tolist(), strict=True)]
        rows[np.array([len(one) for one in found]) < rows] = 0
        whole = [one for one, count in zip(found, rows.tolist(), strict=True) if count]
        return np.concatenate([np.zeros(0, form.ANSWER), *whole])
    answers = segment.answers(start, span)
    rows[first + rows - start > len(answers)] = 0
    return answers[_ranges(first - start, rows)]


def _ranges(first: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The places first[i] … first[i] + counts[i] - 1 of all i, one after the other."""
    ends = np.cumsum(counts)
    within = np.arange(int(ends[-1]) if len(ends) else 0) - np.repeat(ends - counts, counts)
    found: npt.NDArray[np.int64] = np.repeat(first, counts) + within
    return found


def _together(parts: list[_Part]) -> _Part:
    """The columns one after the other; first an entry that no id has, so that there always is one to pick."""
    return _Part(*(np.concatenate(columns) for columns in zip(_NO_ID, *parts, strict=True)))


_NO_ID: Final = _Part(
    np.zeros(1, np.int64),
    np.zeros(1, np.int32),
    np.zeros(1, np.float64),
    np.zeros(1, np.float64),
    np.zeros(1, np.bool_),
    np.zeros(1, np.int64),
    np.zeros(1, np.int64),
    np.zeros(0, np.float64),
    np.zeros(0, np.int32),
    np.zeros(0, np.float32),
    np.zeros((0, SLICES), np.int32),
)

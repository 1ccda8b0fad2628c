"""Puts facts of feedback beside what was answered: pure, used by `monitor.feedback.outcomes` for new facts and waiting ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import msgspec

from seaway.core import feedback
from seaway.core.provenance import AnsweredBy, Joined
from seaway.monitor.feedback.schema import JOINED, PENDING, UNUSABLE


class Asked(NamedTuple):
    """The part of a fact that decides what it is joined with; `request` is its request's place in the lookup."""

    request: int
    row: int
    name: str
    value: str
    slices: str | None


class Match(NamedTuple):
    """What is copied beside a fact; `by` is None while its request was not seen. `unit` says whether the request was a unit
    of a rollout's verdicts."""

    state: int
    by: AnsweredBy | None
    predicted_s: float | None
    answer: str | float | None
    truth: str | float | None
    confidence: float | None
    slices: str | None
    unit: bool


def matches(asked: Sequence[Asked], joined: Joined) -> Iterator[Match]:
    """One Match for each, in their order."""
    by, at_s, units = joined.by.tolist(), joined.at_s.tolist(), joined.units.tolist()
    first, rows = joined.first.tolist(), joined.rows.tolist()
    for request, row, name, value, slices in asked:
        if by[request] < 0:
            yield Match(PENDING, None, None, None, None, None, slices, False)
            continue
        subject, unit = joined.subjects[by[request]], units[request]
        kept = row < rows[request]
        place = first[request] + row
        slices = _slices(subject, joined, place, slices) if kept else slices
        if name:
            number = feedback.as_number(value)
            yield Match(JOINED, subject, at_s[request], None, number, None, slices, unit)
            continue
        answer = _answer(joined, place) if kept else None
        truth = None if answer is None else feedback.truth_for(value, answer)
        if truth is None:
            yield Match(UNUSABLE, subject, at_s[request], None, None, None, slices, unit)
        else:
            told = float(joined.confidences[place])
            sure = None if told != told else told
            yield Match(JOINED, subject, at_s[request], answer, truth, sure, slices, unit)


def _answer(joined: Joined, place: int) -> str | float:
    kind = int(joined.classes[place])
    return float(joined.numbers[place]) if kind < 0 else joined.texts[kind]


_slices_of: Final = msgspec.json.Decoder(dict[str, str])


def _slices(subject: AnsweredBy, joined: Joined, place: int, own: str | None) -> str | None:
    """The slices of the prediction's inputs, and over them those that the feedback brought."""
    if not subject.slices:
        return own
    codes = joined.slices[place].tolist()
    found = {name: joined.texts[code] for name, code in zip(subject.slices, codes, strict=False) if code >= 0}
    return feedback.slices_text(found | (_slices_of.decode(own) if own else {}))

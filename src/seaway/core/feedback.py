"""Feedback: what really happened after a prediction, as it is sent, kept and compared with the answer.

Clients send rows, `wire.feedback_json` reads them, `monitor.feedback.outcomes` keeps their facts and joins them with what was
answered, `monitor.feedback.quality` counts what came of it.
"""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Final, NamedTuple, Protocol, TypeAlias

import msgspec

from seaway.core.provenance import Joined
from seaway.core.sections import FIGURE_NAME

MAX_BODY_BYTES: Final = 16 * 1024 * 1024
MAX_ROWS: Final = 100_000
"""In one request."""
MAX_SLICES: Final = 4
MAX_KPIS: Final = 16
_MOST: Final = 1e150
"""Numbers beyond are refused: the square of an error must stay a number."""
_TRUTHS: Final = {"true": "1", "false": "0"}
NAME_PATTERN: Final = FIGURE_NAME + r"\Z"
REQUEST_ID_PATTERN: Final = r"^[A-Za-z0-9._:/+=@-]{1,128}\Z"
_NUMBER: Final = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?\Z")

Number: TypeAlias = Annotated[float, msgspec.Meta(ge=-_MOST, le=_MOST)]
Integer: TypeAlias = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Text: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
Name: TypeAlias = Annotated[str, msgspec.Meta(pattern=NAME_PATTERN)]
Outcome: TypeAlias = Text | bool | Integer | Number
RequestId: TypeAlias = Annotated[str, msgspec.Meta(pattern=REQUEST_ID_PATTERN)]
"""As the data plane takes and gives them (`wire.identity`)."""


class FeedbackRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What became of one answered row: its `outcome`, business figures (`kpi`), or both.

    `outcome` is the true class (name, number or bool) or number. `id` is the sender's own name of this report: seen
    again with other content, that is conflicting. `at` is when the outcome became known. `slices` are added to those
    that the endpoint takes from its inputs.
    """

    request_id: RequestId
    row: Annotated[int, msgspec.Meta(ge=0, lt=2**31)] = 0
    outcome: Outcome | None = None
    kpi: Annotated[dict[Name, Integer | Number], msgspec.Meta(max_length=MAX_KPIS)] = {}
    id: Annotated[str, msgspec.Meta(min_length=1, max_length=128)] | None = None
    at: Annotated[datetime.datetime, msgspec.Meta(tz=True)] | None = None
    slices: Annotated[dict[Name, Outcome], msgspec.Meta(max_length=MAX_SLICES)] = {}


class FeedbackAnswer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was done with `rows` rows, durable when it is answered. An outcome, and each KPI, is one fact.

    `accepted`, `duplicates` and `conflicting` are all the facts; `pending` of the accepted ones wait for their
    prediction to be seen, and `unusable` ones will never count: their prediction is known, and has no such row, or no
    answer that they could be compared with.
    """

    rows: int = 0
    accepted: int = 0
    duplicates: int = 0
    conflicting: int = 0
    pending: int = 0
    unusable: int = 0

    def plus(self, other: FeedbackAnswer) -> FeedbackAnswer:
        """Both together."""
        return FeedbackAnswer(
            *(getattr(self, name) + getattr(other, name) for name in self.__struct_fields__)
        )


class Fact(NamedTuple):
    """One outcome (`name` is "") or one KPI. The first of each (request_id, row, name) counts.

    `value` is its text, the same for what is equal (`outcome_text`); `slices` is a JSON object or None.
    """

    request_id: str
    row: int
    name: str
    value: str
    id: str | None
    at_s: float | None
    slices: str | None


class Lookup(Protocol):
    """Finds what was answered to requests; blocking, called on one thread. `monitor.provenance.files.lookup` with its
    directory filled in."""

    def __call__(self, ids: Sequence[bytes], /) -> Joined: ...


def facts_of(rows: Iterable[FeedbackRow]) -> Iterator[Fact]:
    """The facts in rows, in their order."""
    for row in rows:
        at_s = None if row.at is None else row.at.timestamp()
        slices = slices_text({name: outcome_text(value) for name, value in row.slices.items()})
        if row.outcome is not None:
            yield Fact(row.request_id, row.row, "", outcome_text(row.outcome), row.id, at_s, slices)
        for name, number in row.kpi.items():
            yield Fact(row.request_id, row.row, name, outcome_text(number), row.id, at_s, slices)


def outcome_text(value: Outcome) -> str:
    """The one text of equal outcomes: 1, 1.0 and "1" are the same class; so are true, "true" and "True"."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value.lower() if value.lower() in _TRUTHS else value
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**63:
        return str(int(value))
    return str(value)


def slices_text(slices: Mapping[str, str]) -> str | None:
    """Slices as they are kept: the same text for the same slices."""
    return msgspec.json.encode(dict(sorted(slices.items()))).decode() if slices else None


def truth_for(value: str, answer: str | float) -> str | float | None:
    """An outcome's text as what it is compared with: the class named in the answer's way, or a number.

    A model that answers 1 and 0 takes true and false for them; one that answers "True", its own spelling. None where
    the answer is a number and the outcome is not, or there is no finite difference between them.
    """
    if isinstance(answer, str):
        return class_like(value, answer)
    number = as_number(value)
    if number is None or not math.isfinite(answer - number):
        return None
    return number


def class_like(value: str, answer: str) -> str:
    """The class that an outcome names, spelled as the model spells its classes, which one answer shows."""
    if value == answer:
        return value
    if value in _TRUTHS:
        if answer.lower() in _TRUTHS:
            return value.upper() if answer.isupper() else value.title() if answer.istitle() else value
        if _NUMBER.match(answer):
            return _TRUTHS[value]
        return value
    if _NUMBER.match(value) and _NUMBER.match(answer):
        wanted = float(value)
        # Only where the model's classes are numbers is 2.0 another way to write 2.
        return str(int(wanted)) if wanted.is_integer() and answer == _plain(answer) else value
    return value


def as_number(value: str) -> float | None:
    """The finite number that an outcome's text is; true and false are 1 and 0."""
    value = _TRUTHS.get(value, value)
    return float(value) if _NUMBER.match(value) and math.isfinite(float(value)) else None


def _plain(text: str) -> str:
    number = float(text)
    return str(int(number)) if number.is_integer() else str(number)

"""What the answers of some minutes were: shares of classes, or where the numbers lie. Read by `cli.watch_model`."""

from __future__ import annotations

import math
from typing import Final

import msgspec

from seaway.core import ledger
from seaway.core.answers import INFINITE, MISSING, AnswerKind
from seaway.core.profiles import BINS_PER_OCTAVE

_NONE: Final = (MISSING, INFINITE)


class Share(msgspec.Struct, frozen=True):
    """A class, the rows that were answered with it, and their part of all."""

    name: str
    rows: int
    percent: float


class Numbers(msgspec.Struct, frozen=True):
    """Where numbers lie, each within 4.5 %; None where no row was answered with one."""

    p1: float
    median: float
    p99: float


class Answers(msgspec.Struct, frozen=True):
    """Answered rows: `classes`, the most frequent first, or `numbers`.

    `rows` were read, `unread` were not, under pressure; `no_answer_percent` of those read were NaN or infinite.
    """

    kind: AnswerKind
    rows: int
    unread: int
    no_answer_percent: float
    classes: tuple[Share, ...] = ()
    numbers: Numbers | None = None


def read(counts: ledger.Counts, kind: AnswerKind) -> Answers | None:
    """The answers among these counts; None where no row's answer was counted."""
    rows = sum(count for _, count in counts.answers)
    if rows == 0:
        return None
    nothing = 100.0 * sum(count for name, count in counts.answers if name in _NONE) / rows
    binned = _numbers(counts.answers) if kind is AnswerKind.NUMBER else None
    if binned is not None:
        return Answers(AnswerKind.NUMBER, rows, counts.unread, nothing, numbers=_quantiles(binned))
    shares = [Share(name, count, 100.0 * count / rows) for name, count in counts.answers]
    shares.sort(key=lambda share: (-share.rows, share.name))
    return Answers(AnswerKind.CLASS, rows, counts.unread, nothing, classes=tuple(shares))


def _numbers(answers: tuple[tuple[str, int], ...]) -> list[tuple[float, int]] | None:
    """The middle of each bin and its rows, from the lowest; None where a name is no bin (`core.answers.number_key`)."""
    found = []
    for name, count in answers:
        if name in _NONE:
            continue
        if name == "0":
            found.append((0.0, count))
            continue
        sign, index = name[:1], name[1:]
        if sign not in ("+", "-") or not index.removeprefix("-").isdecimal():
            return None
        middle = math.exp2((int(index) + 0.5) / BINS_PER_OCTAVE)
        found.append((middle if sign == "+" else -middle, count))
    return sorted(found)


def _quantiles(binned: list[tuple[float, int]]) -> Numbers | None:
    if not binned:
        return None
    return Numbers(*(_quantile(binned, q) for q in (0.01, 0.5, 0.99)))


def _quantile(binned: list[tuple[float, int]], q: float) -> float:
    rank, seen = max(1, math.ceil(q * sum(count for _, count in binned))), 0
    for value, count in binned:
        seen += count
        if seen >= rank:
            return value
    raise AssertionError("unreachable")

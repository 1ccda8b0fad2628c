"""The Counts of one revision and second while they grow; on the recorder's counting thread."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final, TypeVar

import numpy as np

from seaway.core import ledger
from seaway.core.answers import MAX_CLASSES, OTHER, AnswerSpec
from seaway.core.ledger import Counts
from seaway.core.records import Answered
from seaway.core.tensors import Tensors
from seaway.wire import status

FAILED: Final = ("failed", "refused")
"""The outcomes that sinks for failures get."""
_FEW: Final = 32
_MAX_NAME: Final = 100
"""Characters of a class that the ledger keeps: a model may take a whole text for one."""
K = TypeVar("K", int, str)


class Tally:
    """All that is counted is an integer, so what is counted apart can be taken away again."""

    __slots__ = ("answers", "confidence", "cost", "latency", "numbers")

    def __init__(self) -> None:
        self.numbers = dict.fromkeys(ledger.NUMBERS, 0)
        self.latency: dict[int, int] = {}
        self.cost: dict[int, int] = {}
        self.confidence: dict[int, int] = {}
        self.answers: dict[str, int] = {}

    def ended(self, code: str, took_s: Sequence[float]) -> None:
        """So many requests ended with this code."""
        numbers, count = self.numbers, len(took_s)
        numbers["finished"] += count
        kind = outcome(code)
        if kind is not None:
            numbers[kind] += count
        timed_out = code == "deadline_exceeded"
        if timed_out:
            numbers["overdue"] += count
        if kind is None or timed_out:
            latency = self.latency
            if count < _FEW:
                for one_s in took_s:
                    index = ledger.latency_bin(one_s)
                    latency[index] = latency.get(index, 0) + 1
            else:
                for index, found in ledger.count_latency(np.asarray(took_s)).items():
                    latency[index] = latency.get(index, 0) + found

    def answered(self, rows: int, unread: int, answers: Mapping[str, int], invalid: int) -> None:
        """So many rows were answered, by answer; `invalid` counts the requests with one that is none."""
        numbers = self.numbers
        numbers["rows"] += rows
        numbers["unread"] += unread
        numbers["invalid"] += invalid
        own = self.answers
        for name, count in answers.items():
            if len(name) > _MAX_NAME or not name.isascii():
                name = name[:_MAX_NAME].encode("utf-8", "replace").decode()
            if name not in own and len(own) >= MAX_CLASSES:
                name = OTHER
            own[name] = own.get(name, 0) + count

    def drew(self, requests: Sequence[Answered], spec: AnswerSpec | None) -> None:
        """These were drawn for the sinks: of those that were answered, the processor time and the first row's confidence.

        Raises whatever arrays raise that are not what the Signature says.
        """
        for request in requests:
            outputs = request.outputs
            if outputs is None or not request.batch_rows:
                continue
            index = ledger.latency_bin(request.cpu_s)
            self.cost[index] = self.cost.get(index, 0) + 1
            thousandths = _confidence(spec, outputs)
            if thousandths is not None:
                self.confidence[thousandths] = self.confidence.get(thousandths, 0) + 1

    def without(self, apart: Tally) -> Counts:
        """What it has come to but for what was counted `apart`, which keeps what is not in here (yet): a batch is counted
        when it was answered, its requests when their answers have left, which may be a second later."""
        left = Tally()
        left.numbers = _less(self.numbers, apart.numbers)
        left.latency = _less(self.latency, apart.latency)
        left.cost = _less(self.cost, apart.cost)
        left.confidence = _less(self.confidence, apart.confidence)
        if OTHER in self.answers:
            apart.answers = _folded(apart.answers, self.answers)
        if self.numbers["unread"] and any(apart.answers.values()):
            # Whose the rows are that were not looked at is not known: of this second no answer is.
            left.numbers["unread"], apart.answers = left.numbers["rows"], {}
        else:
            left.answers = _less(self.answers, apart.answers)
        return left.counts()

    def early(self, carried: int) -> int:
        """Take away the invalid answers whose requests have not ended yet: they are of the second in which those do, or there
        would be more bad requests than requests. Returns how many of them came in this second: of those `carried` from the
        one before nobody waits any more (a request that ended late or was cancelled is told by its code).
        """
        numbers = self.numbers
        answered = numbers["finished"] - sum(
            numbers[kind] for kind in ("failed", "refused", "rejected", "cancelled")
        )
        own = numbers["invalid"] - carried
        early = max(0, numbers["invalid"] - answered)
        numbers["invalid"] -= early
        return min(early, own)

    @property
    def empty(self) -> bool:
        """Whether nothing is counted in it."""
        parts = (self.numbers, self.latency, self.cost, self.confidence, self.answers)
        return not any(count for part in parts for count in part.values())

    def counts(self) -> Counts:
        """What it has come to."""
        return Counts(
            **self.numbers,
            latency=ledger.sparse(self.latency),
            answers=tuple(sorted((name, count) for name, count in self.answers.items() if count)),
            cost=ledger.sparse(self.cost),
            confidence=ledger.sparse(self.confidence),
        )


def outcome(code: str) -> str | None:
    """Which of the Counts a code is counted by besides `finished`; None for what was answered well."""
    known = status.STATUS.get(code)
    if known is None:
        return None if code[:1] in ("2", "O") else "rejected"  # an HTTP status, or OK
    if code == "overloaded":
        return "refused"
    if code == "cancelled":
        return "cancelled"
    return "failed" if known.http >= 500 else "rejected"


def _less(own: Mapping[K, int], apart: dict[K, int]) -> dict[K, int]:
    """`own` without `apart`, from which is taken what could be taken away."""
    left = dict(own)
    for key, count in apart.items():
        taken = min(count, left.get(key, 0))
        if taken:
            left[key] -= taken
            apart[key] -= taken
    return left


def _folded(answers: Mapping[str, int], kept: Mapping[str, int]) -> dict[str, int]:
    """Answers under the names that `kept` has for them."""
    found: dict[str, int] = {}
    for name, count in answers.items():
        own = name if name in kept else OTHER
        found[own] = found.get(own, 0) + count
    return found


def _confidence(spec: AnswerSpec | None, outputs: Tensors) -> int | None:
    """Of the first row, in thousandths; None where the model tells none."""
    found = None if spec is None or spec.confidence is None else outputs.get(spec.confidence)
    if found is None or not found.ndim or not found[:1].size:
        return None
    sure = float(np.asarray(found[:1], dtype=np.float64).max())
    return int(min(max(sure, 0.0), 1.0) * 1000) if math.isfinite(sure) else None

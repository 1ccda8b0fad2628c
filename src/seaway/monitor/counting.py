"""The recorder's counting thread: from lists of ended requests to exact counts, and to the blocks that sinks get."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Mapping, Sequence
from queue import SimpleQueue
from typing import Final

import msgspec
import numpy as np

from seaway.core import ledger
from seaway.core.answers import MAX_CLASSES, OTHER, AnswerSpec, count_answers
from seaway.core.ledger import Counts, Second
from seaway.core.ports import Clock
from seaway.core.records import Answered
from seaway.core.tensors import Tensors
from seaway.monitor.budget import Budget
from seaway.monitor.first_requests import FirstRequests
from seaway.monitor.keeping import Keeping, Taken
from seaway.monitor.live_ledger import LiveLedger
from seaway.monitor.request_counts import Key, RequestCounts
from seaway.monitor.sinks import Block, Subject
from seaway.wire import status

_FEW: Final = 32


class Handed(msgspec.Struct, frozen=True):
    """Requests of one revision that ended in one second; without a subject: that second is over."""

    subject: Subject | None
    requests: Sequence[Answered]
    took_s: Mapping[tuple[str, str], list[float]]
    size: int
    second_s: int
    base_s: float


class Tally:
    """The Counts of one revision and second while they grow."""

    __slots__ = ("answers", "latency", "numbers")

    def __init__(self) -> None:
        self.numbers = dict.fromkeys(ledger.NUMBERS, 0)
        self.latency: dict[int, int] = {}
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

    def answered(self, rows: int, answers: Mapping[str, int], invalid: int) -> None:
        """So many rows were answered, by answer; `invalid` counts the requests with one that is none."""
        self.numbers["rows"] += rows
        self.numbers["invalid"] += invalid
        own = self.answers
        for name, count in answers.items():
            if name not in own and len(own) >= MAX_CLASSES:
                name = OTHER
            own[name] = own.get(name, 0) + count

    def counts(self) -> Counts:
        """What it has come to."""
        return Counts(
            **self.numbers,
            latency=ledger.sparse(self.latency),
            answers=tuple(sorted(self.answers.items())),
        )


class Counting:
    """Reads the queue that the event loop fills; begins and ends with the Recorder."""

    def __init__(
        self,
        handed: SimpleQueue[Handed | threading.Event | None],
        counts: RequestCounts,
        live: LiveLedger,
        keeping: Keeping,
        budget: Budget,
        firsts: FirstRequests,
        clock: Clock,
    ) -> None:
        self._handed = handed
        self._counts = counts
        self._live = live
        self._keeping = keeping
        self._budget = budget
        self._now_s = clock.monotonic_s
        self._open: dict[tuple[str, int, str], tuple[Subject, Tally, Tally | None]] = {}
        self._firsts = firsts
        self._random = np.random.default_rng()
        self._thread = threading.Thread(target=self._run, name="seaway-count", daemon=True)

    def begin(self) -> None:
        self._thread.start()

    def join(self, timeout_s: float) -> None:
        """Wait until all that was handed over is counted; only after None was put into the queue."""
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        last_s = 0
        while (handed := self._handed.get()) is not None:
            if isinstance(handed, threading.Event):
                handed.set()
            elif handed.subject is None:
                self._close_second(handed.second_s)
            else:
                last_s = handed.second_s
                self._count(handed.subject, handed)
            del handed  # while it waits for the next, it holds no request's memory
        self._close_second(last_s)

    def _count(self, subject: Subject, handed: Handed) -> None:
        now_s = self._now_s()
        key = subject.endpoint, subject.revision, subject.digest
        entry = self._open.get(key)
        if entry is None:
            first = None if subject.rules.unit is None else Tally()
            entry = self._open[key] = subject, Tally(), first
        _, tally, first = entry
        failed = False
        for (door, code), took_s in handed.took_s.items():
            self._counts.add(Key(door, subject.endpoint, str(subject.revision), code), took_s, now_s)
            tally.ended(code, took_s)
            failed = failed or outcome(code) in ("failed", "refused")
        rows, answers, invalid = read(subject.answer, handed.requests)
        tally.answered(rows, answers, invalid)
        if first is not None:
            self._count_first(subject, handed.requests, first)
        self._keep(subject, handed, rows, failed)

    def _count_first(self, subject: Subject, requests: Sequence[Answered], tally: Tally) -> None:
        """Of each user key the first request alone; those without a key are no unit."""
        found = self._firsts.of(subject, requests)
        by_code: dict[str, list[float]] = {}
        for request in found:
            by_code.setdefault(request.code, []).append(request.ended_s - request.received_s)
        for code, took_s in by_code.items():
            tally.ended(code, took_s)
        tally.answered(*read(subject.answer, found))

    def _keep(self, subject: Subject, handed: Handed, rows: int, failed: bool) -> None:
        """Draw what the sinks may look at, and give it to the other thread."""
        requests, budget = handed.requests, self._budget
        budget.seen(len(requests))
        budget.adjust(self._now_s())
        rate = budget.rate
        drawn: Sequence[Answered] = requests
        if rate < 1.0:
            drawn = list(itertools.compress(requests, (self._random.random(len(requests)) < rate).tolist()))

        def block(of: Sequence[Answered], share: float) -> Block:
            return Block(subject, of, len(requests), rows, share, handed.base_s)

        with_failures = drawn
        if failed and rate < 1.0:
            taken = set(map(id, drawn))
            with_failures = [
                one for one in requests if id(one) in taken or outcome(one.code) in ("failed", "refused")
            ]
        self._keeping.put(
            Taken(block(requests, 1.0), block(drawn, rate), block(with_failures, rate), handed.size)
        )

    def _close_second(self, second_s: int) -> None:
        found, self._open = self._open, {}
        for subject, tally, first in found.values():
            second = Second(second_s, tally.counts(), None if first is None else first.counts())
            self._live.add(subject, second)
            self._keeping.second(subject, second)


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


def read(spec: AnswerSpec | None, requests: Sequence[Answered]) -> tuple[int, dict[str, int], int]:
    """The rows that were answered, their answers by name, and the requests that hold one which is none."""
    outputs = [one.outputs for one in requests if one.outputs is not None]
    rows = sum([one.rows for one in requests if one.outputs is not None])
    if spec is None or not outputs:
        return rows, {}, 0
    counted, bad_rows = count_answers(spec, _together(spec, outputs))
    if not bad_rows:
        return rows, counted, 0
    return rows, counted, sum(count_answers(spec, one)[1] > 0 for one in outputs)


def _together(spec: AnswerSpec, outputs: Sequence[Tensors]) -> Tensors:
    """The output that holds the answers, of all requests."""
    name = spec.output
    if len(outputs) == 1:
        return outputs[0]
    arrays = [one[name] for one in outputs]
    return {name: np.concatenate([a.reshape(len(a), -1) for a in arrays] if arrays[0].ndim != 1 else arrays)}

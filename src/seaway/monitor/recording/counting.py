"""The recorder's counting thread: from lists of ended requests to exact counts, and to the blocks that sinks get."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from queue import SimpleQueue
from typing import Final

import msgspec
import numpy as np

from seaway.core import ledger
from seaway.core.answers import INFINITE, MAX_CLASSES, MISSING, OTHER, AnswerSpec, count_answers
from seaway.core.ledger import Counts, Second
from seaway.core.ports import Clock
from seaway.core.records import Answered
from seaway.core.tensors import Array
from seaway.monitor.recording.budget import Budget
from seaway.monitor.recording.first_requests import FirstRequests
from seaway.monitor.recording.keeping import Keeping, Taken
from seaway.monitor.recording.live_ledger import LiveLedger
from seaway.monitor.recording.request_counts import Key, RequestCounts
from seaway.monitor.sinks import Block, Subject
from seaway.wire import status

_FEW: Final = 32
_MAX_NAME: Final = 100
"""Characters of a class that the ledger keeps: a model may take a whole text for one."""
FAILED: Final = ("failed", "refused")
"""The outcomes that sinks for failures get."""


class Handed(msgspec.Struct, frozen=True):
    """What ended of one revision in one second, or a part of it; without a subject: that second is over."""

    subject: Subject | None
    took_s: Mapping[tuple[str, str], Sequence[float]]
    given: tuple[list[Array], int, int, int]
    """Answers by batch, answered rows, of these the unread ones, requests with an answer that is none."""
    held: tuple[Sequence[Answered], Sequence[Answered], Sequence[Answered], Sequence[Answered]]
    """Drawn ones; further ones that failed; all, for sinks that choose; all, for first requests."""
    rate: float
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
        say: Callable[[str], None],
    ) -> None:
        """`say` writes a line to the worker's log; it is called once, where answers cannot be read."""
        self._handed = handed
        self._counts = counts
        self._live = live
        self._keeping = keeping
        self._budget = budget
        self._now_s = clock.monotonic_s
        self._open: dict[tuple[str, int, str], tuple[Subject, Tally, Tally | None]] = {}
        self._firsts = firsts
        self._say = say
        self._said = False
        self._undrawn: dict[tuple[str, int, str], tuple[int, int]] = {}
        """Requests and rows that ended since the last block of which something was drawn."""
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
        seen = 0
        for (door, code), took_s in handed.took_s.items():
            self._counts.add(Key(door, subject.endpoint, str(subject.revision), code), took_s, now_s)
            tally.ended(code, took_s)
            seen += len(took_s)
        batches, rows, unread, invalid = handed.given
        answers, unreadable = self._read(subject, batches)
        tally.answered(rows, unread + unreadable, answers, invalid)
        drawn, failures, kept, units = handed.held
        if first is not None:
            self._count_first(subject, units, first)
        self._budget.seen(seen)

        more_seen, more_rows = self._undrawn.pop(key, (0, 0))
        sampled = Block(subject, drawn, seen + more_seen, rows + more_rows, handed.rate, handed.base_s)
        if not drawn:  # no sink that samples will see this block: the next one speaks for it too
            self._undrawn[key] = sampled.seen, sampled.seen_rows
        if drawn or failures or kept:
            everything = Block(subject, kept, seen, rows, 1.0, handed.base_s)
            failed = msgspec.structs.replace(sampled, requests=[*drawn, *failures]) if failures else sampled
            self._keeping.put(Taken(everything, sampled, failed, handed.size))

    def _read(self, subject: Subject, batches: Sequence[Array]) -> tuple[dict[str, int], int]:
        """Answered rows by answer, and how many of them could not be read."""
        try:
            return read(subject.answer, batches), 0
        except Exception as error:  # noqa: BLE001 - a model may answer with anything: it must not end the counting
            if not self._said:
                self._said = True
                name = f"{subject.endpoint}, revision {subject.revision}"
                self._say(
                    f"the answers of {name}: {type(error).__name__}: they are not what its Signature says"
                )
            return {}, sum(len(one) for one in batches if one.ndim)

    def _count_first(self, subject: Subject, requests: Sequence[Answered], tally: Tally) -> None:
        """Of each user key the first request alone; those without a key are no unit."""
        by_code: dict[str, list[float]] = {}
        for request in self._firsts.of(subject, requests):
            by_code.setdefault(request.code, []).append(request.ended_s - request.received_s)
            if request.outputs is None:
                continue
            found = None if subject.answer is None else request.outputs.get(subject.answer.output)
            counts, unreadable = self._read(subject, [] if found is None else [found])
            invalid = counts.get(MISSING, 0) + counts.get(INFINITE, 0) > 0
            tally.answered(request.rows, unreadable, counts, int(invalid))
        for code, took_s in by_code.items():
            tally.ended(code, took_s)

    def _close_second(self, second_s: int) -> None:
        found, self._open = self._open, {}
        for subject, tally, first in found.values():
            second = Second(second_s, tally.counts(), None if first is None else first.counts())
            self._live.add(subject, second)
            self._keeping.second(subject, second)
        self._budget.adjust(self._now_s(), time.process_time())


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


def read(spec: AnswerSpec | None, batches: Sequence[Array]) -> dict[str, int]:
    """Answered rows by answer. Raises whatever arrays raise that are not what the Signature says."""
    filled = [one for one in batches if one.size]
    if spec is None or not filled:
        return {}
    together = (
        filled[0] if len(filled) == 1 else np.concatenate([one.reshape(len(one), -1) for one in filled])
    )
    return count_answers(spec, {spec.output: together})[0]

"""The recorder's counting thread: from lists of ended requests to exact counts, and to the blocks that sinks get."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from queue import SimpleQueue
from typing import Final, NamedTuple

import msgspec
import numpy as np

from seaway.core.agreement import Agreed
from seaway.core.answers import AnswerSpec, count_answers
from seaway.core.ledger import Counts, PairCounts, Second, SliceCounts
from seaway.core.ports import Clock
from seaway.core.records import Answered, Chosen, RecordRules
from seaway.core.tensors import Array
from seaway.engine.answers import Given
from seaway.monitor.recording.budget import Budget
from seaway.monitor.recording.first_requests import FirstRequests
from seaway.monitor.recording.keeping import Keeping, Taken
from seaway.monitor.recording.live_ledger import LiveLedger
from seaway.monitor.recording.request_counts import Key, RequestCounts
from seaway.monitor.recording.tally import FAILED, Tally, outcome
from seaway.monitor.sinks import Block, Subject

_TURN_S: Final = 0.0005
_REST_S: Final = 0.001
_LATE_S: Final = 0.5
"""Who begins to close a second that long after its end does not rest."""


class Held(NamedTuple):
    """The requests themselves, where they are needed: drawn ones; further ones that failed; all, for sinks that choose;
    while it is judged, all that the split sent where first requests are counted, else those that it did not send."""

    drawn: Sequence[Answered]
    failures: Sequence[Answered]
    kept: Sequence[Answered]
    apart: Sequence[Answered]


class Handed(msgspec.Struct, frozen=True):
    """What ended of one revision in one second, or a part of it; without a subject: that second is over."""

    subject: Subject | None
    took_s: Mapping[tuple[str, str], Sequence[float]]
    given: tuple[list[Array], int, int, int]
    """Answers by batch, answered rows, of these the unread ones, requests with an answer that is none."""
    held: Held
    pairs: Mapping[Agreed, int]
    users: Sequence[tuple[Agreed, bytes]]
    rate: float
    size: int
    second_s: int
    base_s: float


class _Open:
    """One revision's second while it grows. `apart` is None where no units are counted; `slice` is a part of them."""

    __slots__ = ("apart", "counts", "early", "pairs", "slice", "subject")

    def __init__(self, subject: Subject, owed: Tally | None, early: int) -> None:
        """`owed` is what the last second had to take away and could not, `early` its invalid answers of requests that end in
        this one."""
        self.subject = subject
        self.counts = Tally()
        self.counts.numbers["invalid"] = self.early = early
        self.pairs: dict[Agreed, int] = {}
        self.slice: SliceCounts | None = None
        self.apart: Tally | None = None
        if subject.rules.judged:
            self.apart = Tally() if owed is None or self.by_user else owed

    @property
    def by_user(self) -> bool:
        """Whether `apart` is the units; else it is all that is none."""
        return self.subject.rules.unit is not None

    def second(self, at_s: int) -> Second:
        """What it has come to; `apart` keeps what is owed to the next one."""
        pairs = {found.value: count for found, count in self.pairs.items()}
        told = PairCounts(**pairs) if pairs else None
        return Second(
            at_s, self.counts.counts(), self._units(), told, None if self.apart is None else self.slice
        )

    def _units(self) -> Counts | None:
        if self.apart is None:
            return None
        return self.apart.counts() if self.by_user else self.counts.without(self.apart)


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
        self._open: dict[tuple[str, int, str], _Open] = {}
        self._owed: dict[tuple[str, int, str], Tally] = {}
        self._early: dict[tuple[str, int, str], int] = {}
        self._firsts = firsts
        self._say = say
        self._said = False
        self._rested_at_s = 0.0
        """Of this thread's processor time."""
        self._hurries = False
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
                self._hurries = self._now_s() > handed.second_s + 1 - handed.base_s + _LATE_S
                self._close_second(handed.second_s)
            else:
                last_s = handed.second_s
                self._count(handed.subject, handed)
            del handed  # while it waits for the next, it holds no request's memory
            self._give_way()
        self._close_second(last_s)

    def _give_way(self) -> None:
        """Rest after each half millisecond of work: the event loop, which needs the same interpreter for whatever comes in,
        would wait 5 ms for it each time. With a thousand endpoints each second ends with 30 ms of work."""
        if time.thread_time() - self._rested_at_s >= _TURN_S:
            if not self._hurries:
                time.sleep(_REST_S)
            self._rested_at_s = time.thread_time()

    def _count(self, subject: Subject, handed: Handed) -> None:
        now_s = self._now_s()
        key = subject.endpoint, subject.revision, subject.digest
        entry = self._open.get(key)
        if entry is None:
            entry = self._open[key] = _Open(subject, self._owed.pop(key, None), self._early.pop(key, 0))
        elif _judging(entry.subject.rules) != _judging(subject.rules):
            entry.apart = None  # in a second in which that changed nothing is judged
        tally = entry.counts
        seen = 0
        for (door, code), took_s in handed.took_s.items():
            self._counts.add(Key(door, subject.endpoint, str(subject.revision), code), took_s, now_s)
            tally.ended(code, took_s)
            seen += len(took_s)
        for found, count in handed.pairs.items():
            entry.pairs[found] = entry.pairs.get(found, 0) + count
        if handed.users and entry.apart is not None:
            for found in self._firsts.pairs(subject, handed.users):
                entry.pairs[found] = entry.pairs.get(found, 0) + 1
        rows = handed.given[1]
        self._count_given(subject, handed.given, tally)
        held = handed.held
        unit: Callable[[Answered], bool] | None = None
        if entry.apart is not None:
            self._count_drawn(subject, held.drawn, tally)
            unit = self._count_apart(subject, held, entry, entry.apart)
        self._budget.seen(seen)
        more_seen, more_rows = self._undrawn.pop(key, (0, 0))
        if not held.drawn:  # no sink that samples will see this block: the next one speaks for it too
            self._undrawn[key] = seen + more_seen, rows + more_rows
        if held.drawn or held.failures or held.kept:

            def block(requests: Sequence[Answered], seen: int, rows: int, rate: float) -> Block:
                units = () if unit is None else tuple(map(unit, requests))
                return Block(subject, requests, seen, rows, rate, handed.base_s, units)

            sampled = failed = block(held.drawn, seen + more_seen, rows + more_rows, handed.rate)
            if held.failures:
                # They were not drawn: among units that stand for others they would weigh too much.
                undrawn = (False,) * len(held.failures) if unit else ()
                failed = msgspec.structs.replace(
                    sampled, requests=[*held.drawn, *held.failures], units=(*sampled.units, *undrawn)
                )
            self._keeping.put(Taken(block(held.kept, seen, rows, 1.0), sampled, failed, handed.size))

    def _count_given(self, subject: Subject, given: tuple[list[Array], int, int, int], tally: Tally) -> None:
        batches, rows, unread, invalid = given
        answers: dict[str, int] = {}
        try:
            answers = read(subject.answer, batches)
        except Exception as error:  # noqa: BLE001 - a model may answer with anything: it must not end the counting
            self._say_once(subject, error)
            unread += sum(len(one) for one in batches if one.ndim)
        tally.answered(rows, unread, answers, invalid)

    def _count_drawn(self, subject: Subject, requests: Sequence[Answered], tally: Tally) -> None:
        try:
            tally.drew(requests, subject.answer)
        except Exception as error:  # noqa: BLE001 - as in _count_given
            self._say_once(subject, error)

    def _say_once(self, subject: Subject, error: Exception) -> None:
        if not self._said:
            self._said = True
            name = f"{subject.endpoint}, revision {subject.revision}"
            self._say(f"the answers of {name}: {type(error).__name__}: they are not what its Signature says")

    def _count_apart(
        self, subject: Subject, held: Held, entry: _Open, tally: Tally
    ) -> Callable[[Answered], bool]:
        """Count apart: of each user key the first request alone (those without a key are no unit), or where units are not
        by user those that the split did not send. Returns what tells a unit."""
        by_user = entry.by_user
        apart = self._firsts.of(subject, held.apart) if by_user else held.apart
        sliced = [one for one in apart if one.chosen is Chosen.SLICE] if by_user else []
        if sliced:
            known = entry.slice or SliceCounts()
            bad = self._count_ended(subject, sliced, tally)
            entry.slice = SliceCounts(known.finished + len(sliced), known.bad + bad)
            self._count_ended(subject, [one for one in apart if one.chosen is not Chosen.SLICE], tally)
        else:
            self._count_ended(subject, apart, tally)
        # By identity: an id of a request is the client's, and may come again. All of them are held until here.
        found_ids = {id(request) for request in apart}
        self._count_drawn(subject, [one for one in held.drawn if id(one) in found_ids], tally)
        return lambda request: (id(request) in found_ids) is by_user

    def _count_ended(self, subject: Subject, requests: Sequence[Answered], tally: Tally) -> int:
        """Count requests one by one. Returns how many of them are bad, as `Counts.bad` is."""
        by_code: dict[str, list[float]] = {}
        given = Given(subject.answer)  # as the engine counts, and read together, which costs a tenth
        for request in requests:
            by_code.setdefault(request.code, []).append(request.ended_s - request.received_s)
            if request.outputs is not None:
                given.add(request.outputs, (request,))
        bad = given.invalid
        for code, took_s in by_code.items():
            tally.ended(code, took_s)
            bad += len(took_s) if outcome(code) in FAILED else 0
        self._count_given(subject, given.take(), tally)
        return bad

    def _close_second(self, second_s: int) -> None:
        found, self._open, self._owed, self._early = self._open, {}, {}, {}
        for key, entry in found.items():
            if early := entry.counts.early(entry.early):
                self._early[key] = early
            second = entry.second(second_s)
            self._live.add(entry.subject, second)
            self._keeping.second(entry.subject, second)
            if entry.apart is not None and not entry.by_user and not entry.apart.empty:
                self._owed[key] = entry.apart
            self._give_way()
        self._budget.adjust(self._now_s(), time.process_time())


def _judging(rules: RecordRules) -> tuple[object, ...]:
    """What must stay the same for a second to have units."""
    return rules.judged, rules.unit, rules.scope


def read(spec: AnswerSpec | None, batches: Sequence[Array]) -> dict[str, int]:
    """Answered rows by answer. Raises whatever arrays raise that are not what the Signature says."""
    filled = [one for one in batches if one.size]
    if spec is None or not filled:
        return {}
    together = (
        filled[0] if len(filled) == 1 else np.concatenate([one.reshape(len(one), -1) for one in filled])
    )
    return count_answers(spec, {spec.output: together})[0]

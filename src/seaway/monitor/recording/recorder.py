"""Takes every ended request on the event loop, and counts and keeps it on two threads of its own.

The worker makes one `Recorder`. On the loop a request costs the append of its time, and now and then it is drawn. The
*counting* thread makes the exact part of it: `/metrics`, the ledger of each second, the answers by class. The *keeping*
thread runs the sinks, which may wait for a disk; its queue is bounded, and what does not fit is dropped from the sinks
(never from the counts) and counted.
"""

from __future__ import annotations

import asyncio
import math
import sys
import threading
import time
from array import array
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Final

import msgspec
import numpy as np

from seaway.core.agreement import Agreed
from seaway.core.answers import answer_spec
from seaway.core.errors import SeawayError
from seaway.core.ports import Clock
from seaway.core.records import SAMPLED, Answered, MirroredAnswer, RecordRules
from seaway.core.tensors import Signature
from seaway.engine.handle import Handle
from seaway.monitor.recording.budget import Budget
from seaway.monitor.recording.counting import Counting, Handed, Held
from seaway.monitor.recording.first_requests import FirstRequests
from seaway.monitor.recording.keeping import Keeping
from seaway.monitor.recording.live_ledger import LiveLedger
from seaway.monitor.recording.mirrored import MirroredAnswers
from seaway.monitor.recording.request_counts import Key, RequestCounts
from seaway.monitor.recording.seconds import SecondsWriter
from seaway.monitor.recording.sheet import Sheet
from seaway.monitor.recording.tally import FAILED, outcome
from seaway.monitor.sinks import Choosing, Picking, RecordPaths, Sink, Subject
from seaway.wire import metric_names
from seaway.wire.prometheus import Family, Sample

BLOCK_HELD: Final = 1024
"""Requests; a second that is over hands over what there is."""
DRAWN_WHOLE: Final = 512
"""Draws after which the rest of a second is drawn a quarter as often, and after as many again a quarter of that."""
BLOCK_BYTES: Final = 4 * 1024 * 1024
_END_S: Final = 5.0
_STEP_S: Final = 3
_OLDER: Final = 4
_WELL: Final = frozenset({"200", "OK"})
_NO_RULES: Final = RecordRules()
_NO_SIGNATURE: Final = Signature((), ())


class Recorder:
    """`answered` and `unrouted` on the event loop's thread; `families` and `pages` once `settled` is awaited."""

    def __init__(
        self,
        paths: RecordPaths,
        sinks: Sequence[Sink],
        rules: Callable[[str], RecordRules],
        clock: Clock,
        say: Callable[[str], None],
        mirrored: MirroredAnswers | None = None,
    ) -> None:
        """`rules` gives those of an endpoint now, `say` writes a line to the worker's log. `mirrored` keeps the answers of
        mirrored requests; without it they are dropped."""
        self._sinks = tuple(sinks)
        self._draws = any(sink.takes in ("sample", "sample and failures") for sink in sinks)
        self._fails = any(sink.takes in ("failures", "sample and failures") for sink in sinks)
        self._picks = tuple(sink.picks for sink in sinks if isinstance(sink, Picking))
        self._rules = rules
        self._clock = clock
        self._now_s = clock.monotonic_s
        self._base_s = 0.0
        self._second = 0
        """Since 1970: the one that is being filled, until `_next_s` on the monotonic scale."""
        self._next_s = 0.0
        self._sheets: dict[tuple[str, int, str], Sheet] = {}
        self._dirty: list[Sheet] = []
        self._unrouted: dict[Key, list[float]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._begin_second(clock.monotonic_s())
        self._counts = RequestCounts()
        self._ledger = LiveLedger()
        self._budget = Budget(clock.monotonic_s(), time.process_time())
        self._random = np.random.default_rng()
        self._gaps: list[int] = []
        self._rate = self._budget.rate
        """What is drawn with now."""
        self._left = DRAWN_WHOLE
        """Draws until the rest of the second is drawn less often."""
        self._keeping = Keeping(sinks, SecondsWriter(paths), clock, say, self._budget, mirrored)
        self._handed: SimpleQueue[Handed | threading.Event | None] = SimpleQueue()
        self._counting = Counting(
            self._handed,
            self._counts,
            self._ledger,
            self._keeping,
            self._budget,
            FirstRequests(Path(paths.root)),
            clock,
            say,
        )

    def begin(self) -> None:
        """Start the threads and the timer. Called once, on the running loop."""
        self._keeping.begin()
        self._counting.begin()
        self._arm()

    def answered(self, handle: Handle, request: Answered, door: str) -> None:
        """One request to a revision has ended."""
        sheet: Sheet = handle.sheet or self._open(handle)
        ended_s = request.ended_s
        if ended_s >= self._next_s:
            self._roll()
        code = request.code
        times = sheet.took_s.get((door, code))
        if times is None:
            times = self._first(sheet, handle, (door, code))
        times.append(ended_s - request.received_s)
        # Only what is looked at again is held: to hold all for a moment costs more than all the rest of this.
        sheet.due -= 1
        if sheet.due <= 0 or code != "200":
            self._look(sheet, request, code)

    def _first(self, sheet: Sheet, handle: Handle, key: tuple[str, str]) -> array[float]:
        """The first request under this key since the last block."""
        if not sheet.took_s:
            self._dirty.append(sheet)
            given = handle.predictor.given if handle.filled else sheet.given
            if given is not sheet.given:
                known = [one for one in (sheet.given, *sheet.older) if one not in (None, given)]
                sheet.given, sheet.older = given, known[:_OLDER]
        times = sheet.took_s[key] = array("d")
        return times

    def _look(self, sheet: Sheet, request: Answered, code: str) -> None:
        """Hold a request that is drawn, that failed, that a sink has to choose from, or that is counted apart."""
        held = False
        if sheet.judged and (request.chosen in SAMPLED) is sheet.by_user:
            sheet.apart.append(request)
            held = True
        if not sheet.loaded:
            if held:
                self._hold(sheet, request)
            return
        if sheet.keeps_all or (self._picks and any(picks(request) for picks in self._picks)):
            sheet.kept.append(request)
            held = True
        if sheet.close_up:
            sheet.due = 0
            sheet.gap -= 1
            drawn = sheet.gap <= 0
        else:
            drawn = sheet.due <= 0
        if drawn:
            sheet.gap = self._next_gap()
            if not sheet.close_up:
                sheet.due = sheet.gap
            sheet.drawn.append(request)
            self._left -= 1
            if self._left <= 0:
                self._press()
        elif code not in _WELL and self._fails and outcome(code) in FAILED:
            sheet.failures.append(request)
        elif not held:
            return
        self._hold(sheet, request)

    def _hold(self, sheet: Sheet, request: Answered) -> None:
        """It stands in one of the sheet's lists: what is held is bounded."""
        sheet.bytes += request.size
        count = len(sheet.drawn) + len(sheet.failures) + len(sheet.kept) + len(sheet.apart)
        if count >= BLOCK_HELD or sheet.bytes >= BLOCK_BYTES:
            self._hand_over(sheet)

    def compared(self, handle: Handle, found: Agreed, user: bytes | None) -> None:
        """A request that this revision was to answer too, its answer thrown away; of a `user` the first counts that
        was not dropped."""
        if self._now_s() >= self._next_s:
            self._roll()
        sheet: Sheet = handle.sheet or self._open(handle)
        if sheet.empty:
            self._dirty.append(sheet)
        if user is None or found is Agreed.DROPPED:
            sheet.pairs[found] = sheet.pairs.get(found, 0) + 1
        else:
            sheet.users.append((found, user))

    def mirrored(self, handle: Handle, told: MirroredAnswer) -> None:
        """What this revision said to such a request, where its answers are wanted."""
        sheet: Sheet = handle.sheet or self._open(handle)
        self._keeping.mirrored(sheet.subject, told)

    def unrouted(self, door: str, endpoint: str, code: str, took_s: float) -> None:
        """A request ended before a revision was found for it; `endpoint` is "" where there is none either."""
        self._unrouted.setdefault(Key(door, endpoint, "", code), []).append(took_s)

    async def settled(self) -> None:
        """Return once all that ended before is counted; gives up after a second."""
        self._roll()
        done = threading.Event()
        self._handed.put(done)
        await asyncio.to_thread(done.wait, 1.0)

    def pages(self, after_s: int, endpoint: str | None) -> list[bytes]:
        """Ledger pages (JSON of `core.ledger.Page`) of the seconds after `after_s`, of one endpoint or all."""
        return self._ledger.pages(after_s, endpoint)

    def families(self, labels: dict[str, str]) -> Iterator[Family]:
        """All that is recorded, as Prometheus families; `labels` are put on every series."""
        yield from self._counts.families(labels)
        yield from self._ledger.families(labels)
        yield from self._keeping.families(labels)
        rate = metric_names.RECORDER_RATE.family()
        rate.samples.append(Sample(labels, self._rate))
        yield rate

    @property
    def rate(self) -> float:
        """The share of the requests that is drawn for the sinks now."""
        return self._rate

    @property
    def faults(self) -> tuple[str, ...]:
        """What the sinks and the ledger cannot keep now, and why; a line each."""
        return tuple(f"{name}: {why}" for name, why in sorted(self._keeping.faults.items()))

    def drop_retired(self, alive: Collection[tuple[str, str]]) -> None:
        """Forget what belongs to revisions that are not among `alive`, (endpoint, revision), once all have seen it."""
        self._counts.drop_retired(alive, self._now_s())
        self._ledger.drop_retired(alive)
        for key in [key for key in self._sheets if (key[0], str(key[1])) not in alive]:
            if self._sheets[key].empty:
                del self._sheets[key]

    def rules_changed(self) -> None:
        """The routing table was swapped: rules are read anew."""
        for key, sheet in self._sheets.items():
            rules = self._find_rules(key[0])
            if rules != sheet.subject.rules:
                if not sheet.empty:
                    self._hand_over(sheet)
                sheet.subject = msgspec.structs.replace(sheet.subject, rules=rules)
                sheet.look_closely(self._keeps_all(rules), bool(self._picks))

    def close(self) -> None:
        """Keep what is left, and end. Blocks for the disk, at most `_END_S` for each thread. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
        self._roll()
        self._handed.put(None)
        self._counting.join(_END_S)
        self._keeping.close(_END_S)

    def _open(self, handle: Handle) -> Sheet:
        revision = handle.revision
        key = handle.endpoint, revision.number, revision.digest
        sheet = self._sheets.get(key)
        if sheet is None or (handle.filled and not sheet.loaded):
            if sheet is not None and not sheet.empty:
                self._hand_over(sheet)
            sheet = self._sheets[key] = self._made(handle)
        handle.sheet = sheet
        return sheet

    def _made(self, handle: Handle) -> Sheet:
        revision = handle.revision
        signature, answer = _NO_SIGNATURE, None
        if handle.filled:
            manifest = handle.bundle.manifest
            signature, answer = manifest.signature, answer_spec(manifest.signature, manifest.classes)
        subject = Subject(
            endpoint=handle.endpoint,
            revision=revision.number,
            digest=revision.digest,
            ref=revision.ref,
            signature=signature,
            answer=answer,
            rules=self._find_rules(handle.endpoint),
        )
        sheet = Sheet(subject, self._next_gap())
        sheet.loaded = handle.filled
        sheet.look_closely(self._keeps_all(subject.rules), bool(self._picks))
        return sheet

    def _keeps_all(self, rules: RecordRules) -> bool:
        return any(isinstance(sink, Choosing) and sink.wants(rules) for sink in self._sinks)

    def _find_rules(self, endpoint: str) -> RecordRules:
        try:
            return self._rules(endpoint)
        except SeawayError:  # its route went while its last requests ended
            return _NO_RULES

    def _hand_over(self, sheet: Sheet) -> None:
        """Give a sheet's requests to the counting thread."""
        self._handed.put(
            Handed(
                sheet.subject,
                sheet.took_s,
                sheet.take_given(),
                Held(sheet.drawn, sheet.failures, sheet.kept, sheet.apart),
                sheet.pairs,
                sheet.users,
                self._rate,
                sheet.bytes,
                self._second,
                self._base_s,
            )
        )
        # It may come to stand twice among the dirty ones: a list of a second at most.
        sheet.clear()

    def _next_gap(self) -> int:
        """After how many requests the next one is drawn: each by itself with the rate of now, so the gap is geometric."""
        if not self._draws:
            return sys.maxsize
        if not self._gaps:
            rate = self._rate
            self._gaps = [1] * 64 if rate >= 1.0 else self._random.geometric(rate, 64).tolist()
        return self._gaps.pop()

    def _roll(self) -> None:
        """A second is over, or somebody asks: hand over all there is."""
        dirty, self._dirty = self._dirty, []
        for sheet in dirty:
            if not sheet.empty:
                self._hand_over(sheet)
        unrouted, self._unrouted = self._unrouted, {}
        for key, took_s in unrouted.items():
            self._counts.add(key, took_s, self._now_s())
        now_s = self._now_s()
        if now_s >= self._next_s:
            self._handed.put(
                Handed(
                    None, {}, ([], 0, 0, 0), Held((), (), (), ()), {}, (), 1.0, 0, self._second, self._base_s
                )
            )
            self._draw_anew(self._budget.rate)
            self._begin_second(now_s)

    def _press(self) -> None:
        """So many were drawn within this second that the rest of it is drawn a quarter as often: what is held stays little, and
        what the keeping thread has before it, also before the budget knows what it costs."""
        for sheet in self._dirty:
            if sheet.took_s:
                self._hand_over(sheet)  # a block has one rate
        self._draw_anew(self._rate / 4)

    def _draw_anew(self, rate: float) -> None:
        """From now on there is another rate. Geometric gaps have no memory: to draw what is left of one anew is fair."""
        self._left = DRAWN_WHOLE
        if self._rate == rate:
            return
        self._rate = rate
        self._gaps.clear()
        for sheet in self._sheets.values():
            sheet.gap = self._next_gap()
            if not sheet.close_up:
                sheet.due = sheet.gap

    def _begin_second(self, now_s: float) -> None:
        """Begin the wall clock's present second; where it is slowed or set back by less than `_STEP_S`, the next in order,
        so that none is begun twice. After a larger step back seconds recur: whoever reads them adds them up."""
        wall_s = self._clock.now_s()
        self._base_s = wall_s - now_s
        second = math.floor(wall_s)
        if self._second - _STEP_S < second <= self._second:
            second = self._second + 1
        self._second = second
        self._next_s = second + 1 - self._base_s

    def _arm(self) -> None:
        if self._now_s() >= self._next_s:
            self._roll()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(max(self._next_s - self._now_s(), 0.001), self._arm)

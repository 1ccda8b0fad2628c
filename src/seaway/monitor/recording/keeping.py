"""The recorder's keeping thread: runs the sinks behind a bounded queue, and counts what it had to drop."""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Final

import msgspec

from seaway.core.ledger import Second
from seaway.core.ports import Clock
from seaway.core.records import MirroredAnswer
from seaway.monitor.open_files import FileGoneError
from seaway.monitor.recording import mirrored as mirroring
from seaway.monitor.recording.budget import Budget
from seaway.monitor.recording.mirrored import MirroredAnswers
from seaway.monitor.recording.seconds import SecondsWriter
from seaway.monitor.sinks import Block, Counted, Sink, Subject
from seaway.wire import metric_names
from seaway.wire.prometheus import Family, Sample

MOST_BLOCKS: Final = 16
MOST_BYTES: Final = 64 * 1024 * 1024
"""Of request bodies in the queue: what is held of them while a sink waits for its disk."""
MOST_SECONDS: Final = 20_000
"""Of the ledger, while its disk is full or stands still: they are written once it can."""
MOST_FILES: Final = 100
"""Endpoints whose seconds are appended to their files in one tick: of a thousand in turns, since each file costs 35 µs."""
LONGEST_S: Final = 5
"""Ticks in which every file has its turn, however many there are."""
_TICK_S: Final = 1.0


class Taken(msgspec.Struct, frozen=True):
    """One block, as the kinds of sinks take it; `size` is that of the bodies of all its requests."""

    all: Block
    drawn: Block
    with_failures: Block
    size: int


class Keeping:
    """`put` and `second` never block; the rest of the work is done by the thread."""

    def __init__(
        self,
        sinks: Sequence[Sink],
        seconds: SecondsWriter,
        clock: Clock,
        say: Callable[[str], None],
        budget: Budget,
        mirrored: MirroredAnswers | None = None,
    ) -> None:
        """`say` writes a line to the worker's log; it is called once when a sink begins to fail. Without `mirrored` answers
        of mirrored requests are dropped."""
        self._sinks = list(sinks)
        self._seconds = seconds
        self._clock = clock
        self._say = say
        self._budget = budget
        self._mirrored = mirrored
        self._blocks: deque[Taken] = deque()
        self._bytes = 0
        self._ledger: deque[tuple[Subject, Second]] = deque()
        self._wake = threading.Condition()
        self._ending = False
        names = [sink.name for sink in sinks] + ([] if mirrored is None else [mirroring.NAME])
        self._kept = dict.fromkeys(names, 0)
        self._dropped = dict.fromkeys([*self._kept, "seconds"], 0)
        self._faults: dict[str, str] = {}
        self._cpu_s = 0.0
        self._thread = threading.Thread(target=self._run, name="seaway-keep", daemon=True)

    def begin(self) -> None:
        self._thread.start()

    def put(self, taken: Taken) -> None:
        """Let the sinks have a block, or drop it."""
        with self._wake:
            if len(self._blocks) >= MOST_BLOCKS or self._bytes + taken.size > max(MOST_BYTES, taken.size):
                for sink in self._sinks:
                    self._dropped[sink.name] += len(_of(taken, sink).requests)
                return
            self._blocks.append(taken)
            self._bytes += taken.size
            self._wake.notify()

    def second(self, subject: Subject, second: Second) -> None:
        """Keep one second of the ledger; where a disk fails or stands still for very long, the oldest go."""
        with self._wake:
            self._ledger.append((subject, second))
            self._drop_oldest()

    def mirrored(self, subject: Subject, told: MirroredAnswer) -> None:
        """Keep what a revision said to a mirrored request, or drop it where too many wait. On the event loop."""
        if self._mirrored is not None:
            self._mirrored.put(subject, told)

    def _drop_oldest(self) -> None:
        while len(self._ledger) > MOST_SECONDS:
            self._ledger.popleft()
            self._dropped["seconds"] += 1

    def close(self, timeout_s: float) -> None:
        """Let the sinks write what is left. Idempotent."""
        with self._wake:
            self._ending = True
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    @property
    def faults(self) -> dict[str, str]:
        """By sink: what went wrong last, while it goes wrong."""
        return dict(self._faults)

    def families(self, labels: dict[str, str]) -> Iterator[Family]:
        """What the sinks kept and dropped, and what they cost; `labels` are put on every series."""
        requests = metric_names.RECORDER_REQUESTS.family()
        for outcome, counts in (("kept", self._kept), ("dropped", self._dropped)):
            for name, count in counts.items():
                requests.samples.append(Sample({"sink": name, "outcome": outcome, **labels}, count))
        cpu = metric_names.RECORDER_CPU.family()
        cpu.samples.append(Sample(labels, self._cpu_s))
        yield requests
        yield cpu
        for sink in self._sinks:
            if isinstance(sink, Counted):
                yield from sink.families(labels)

    def _run(self) -> None:
        due_s = 0.0
        while True:
            with self._wake:
                if not self._blocks and not self._ending:
                    self._wake.wait(_TICK_S)
                taken = self._blocks.popleft() if self._blocks else None
                ended = self._ending and taken is None
                if taken is not None:
                    self._bytes -= taken.size
            if taken is not None:
                self._take(taken)
                taken = None  # while it waits for the next, it holds no request's memory
            now_s = self._clock.monotonic_s()
            if now_s >= due_s or ended:
                due_s = now_s + _TICK_S
                self._tick(last=ended)
            if ended:
                self._end()
                return

    def _take(self, taken: Taken) -> None:
        cpu_s = time.thread_time()
        for sink in self._sinks:
            block = _of(taken, sink)
            if not block.requests:
                continue
            try:
                kept = sink.take(block)
                self._kept[sink.name] += len(block.requests) if kept is None else kept
                self._faults.pop(sink.name, None)
            except Exception as error:  # noqa: BLE001 - the thread's edge: one sink's fault must not end the others
                self._failed(sink.name, error, len(block.requests))
        cpu_s = time.thread_time() - cpu_s
        self._cpu_s += cpu_s
        self._budget.spent(len(taken.drawn.requests), cpu_s)

    def _tick(self, *, last: bool) -> None:
        cpu_s = time.thread_time()
        now_s = self._clock.now_s()
        self._write_seconds(now_s, last=last)
        self._write_mirrored(now_s)
        for sink in self._sinks:
            try:
                sink.tick(now_s)
            except Exception as error:  # noqa: BLE001 - as in _take
                self._failed(sink.name, error, 0)
        cpu_s = time.thread_time() - cpu_s
        self._cpu_s += cpu_s
        self._budget.spent(0, cpu_s)

    def _write_seconds(self, now_s: float, *, last: bool) -> None:
        with self._wake:
            waiting, self._ledger = self._ledger, deque()
        if not waiting:
            return
        due, left = (list(waiting), []) if last else in_turn(waiting)
        unwritten = self._seconds.write(due, now_s)
        if unwritten is None:
            self._faults.pop("seconds", None)
        else:
            self._failed("seconds", unwritten.error, 0)
            left = [*unwritten.seconds, *left]
        with self._wake:
            self._ledger.extendleft(reversed(left))
            self._drop_oldest()

    def _write_mirrored(self, now_s: float) -> None:
        if self._mirrored is None:
            return
        try:
            blocks, dropped = self._mirrored.take()
            self._dropped[mirroring.NAME] += dropped
            for block in blocks:
                self._write_block(self._mirrored, block)
            self._mirrored.tick(now_s)
        except Exception as error:  # noqa: BLE001 - as in _take
            self._failed(mirroring.NAME, error, 0)

    def _write_block(self, mirrored: MirroredAnswers, block: Block) -> None:
        try:
            mirrored.write(block)
            self._kept[mirroring.NAME] += len(block.requests)
            self._faults.pop(mirroring.NAME, None)
        except Exception as error:  # noqa: BLE001 - as in _take
            self._failed(mirroring.NAME, error, len(block.requests))

    def _end(self) -> None:
        self._dropped["seconds"] += len(self._ledger)
        if self._mirrored is not None:
            self._mirrored.close()
        for sink in self._sinks:
            try:
                sink.close()
            except Exception as error:  # noqa: BLE001 - as in _take
                self._failed(sink.name, error, 0)

    def _failed(self, name: str, error: Exception, requests: int) -> None:
        gone = error.requests if isinstance(error, FileGoneError) else 0
        self._dropped[name] += requests + gone
        if name not in self._faults:
            self._say(f"{name}: {type(error).__name__}: {error}")
        self._faults[name] = str(error)


def in_turn(
    waiting: Collection[tuple[Subject, Second]],
) -> tuple[list[tuple[Subject, Second]], list[tuple[Subject, Second]]]:
    """Of seconds in the order in which they came, all of the endpoints that waited longest, and the others'."""
    endpoints = dict.fromkeys([subject.endpoint for subject, _ in waiting])
    due = set(itertools.islice(endpoints, max(MOST_FILES, -(-len(endpoints) // LONGEST_S))))
    parts: tuple[list[tuple[Subject, Second]], list[tuple[Subject, Second]]] = ([], [])
    for one in waiting:
        parts[one[0].endpoint not in due].append(one)
    return parts


def _of(taken: Taken, sink: Sink) -> Block:
    """The block as this sink takes it."""
    if sink.takes == "all":
        return taken.all
    return taken.drawn if sink.takes == "sample" else taken.with_failures

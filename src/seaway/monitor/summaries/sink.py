"""SummarySink: one worker's summaries of inputs, outputs and confidences, a window for each revision and minute.

Made by wiring; its methods run on the recorder's thread. What it writes is read by `monitor.summaries.windows`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from seaway.core.live_summaries import LiveSummary
from seaway.core.ports import Clock
from seaway.core.tensors import Tensors
from seaway.monitor.capture import redaction
from seaway.monitor.sinks import Block, RecordPaths, Subject, Takes
from seaway.monitor.summaries import compaction, windows
from seaway.monitor.summaries.windows import SPANS_S, Window

FLUSH_S: Final = 5.0
"""A window under way is written so often; a kill loses what came since."""
_MINUTE_S: Final = SPANS_S["minute"]
_STEPPED_BACK_S: Final = 600.0
"""A block so much older than its window shows that the clock was set back, and begins a window of its own."""
_LATE_S: Final = compaction.MINUTES_KEPT_S / 2
"""A window is not written so long after its end: by then it may have been merged as it was (the process stood still)."""
_ENOUGH_VALUES: Final = 128 * 1024
_ANSWERED: Final = frozenset({"200", "OK"})


def make(paths: RecordPaths, clock: Clock, language: Callable[[str], str] | None = None) -> SummarySink:
    """The sink of one worker; `language` tells the language of a text, where a detector is installed."""
    return SummarySink(paths, clock, language)


class SummarySink:
    """See `monitor.sinks.Sink`."""

    name: str = "summaries"
    takes: Takes = "sample"

    def __init__(self, paths: RecordPaths, clock: Clock, language: Callable[[str], str] | None) -> None:
        self._paths = paths
        self._clock = clock
        self._language = language
        self._open: dict[tuple[str, int, str], _LiveWindow] = {}
        self._ended: list[_LiveWindow] = []

    def take(self, block: Block) -> None:
        """Never raises: what it counts is written by `tick`."""
        self._window(block).add(block)

    def _window(self, block: Block) -> _LiveWindow:
        subject = block.subject
        key = subject.endpoint, subject.revision, subject.digest
        at_s = block.base_s + block.requests[-1].ended_s if block.requests else self._clock.now_s()
        start_s = int(at_s // _MINUTE_S) * _MINUTE_S
        window = self._open.get(key)
        if window is not None:
            # blocks come in order, or nearly: one from just before the window is counted in it
            if window.start_s - _STEPPED_BACK_S <= start_s <= window.start_s:
                return window
            self._ended.append(window)
        window = self._open[key] = _LiveWindow(subject, start_s, self._paths, self._language)
        return window

    def tick(self, now_s: float) -> None:
        """Write windows that are over, and those not written for FLUSH_S. Raises `OSError` for what could not be written."""
        for key, window in list(self._open.items()):
            if not window.start_s - _STEPPED_BACK_S <= now_s < window.start_s + _MINUTE_S:
                self._ended.append(self._open.pop(key))
        ended, self._ended = self._ended, []
        self._write(ended, now_s)
        self._write([one for one in self._open.values() if one.due(now_s)], now_s)
        for where in {window.where for window in ended}:
            compaction.drop_minutes(where, now_s)

    def close(self) -> None:
        """Write what is left. Idempotent."""
        left = [*self._ended, *self._open.values()]
        self._ended = []
        self._open.clear()
        self._write(left, self._clock.now_s())

    def _write(self, found: list[_LiveWindow], now_s: float) -> None:
        failed: OSError | None = None
        for window in found:
            try:
                window.write(now_s)
            except OSError as error:
                failed = error
        if failed is not None:
            raise failed


class _LiveWindow:
    """One revision's window while it grows. Requests wait until they make a block worth counting."""

    def __init__(
        self,
        subject: Subject,
        start_s: int,
        paths: RecordPaths,
        language: Callable[[str], str] | None,
    ) -> None:
        self.start_s = start_s
        self.where = windows.directory(paths.root, subject.endpoint, subject.revision, subject.digest)
        self._subject = subject
        self._writer = paths.writer
        rules = redaction.parse(subject.rules.redact)
        mask = rules.mask if rules.patterns else None
        self._live = LiveSummary(subject.signature, subject.answer, rules.names, mask, language)
        self._enough_rows = _ENOUGH_VALUES // max(1, self._live.values_per_row)
        self._inputs: list[Tensors] = []
        self._outputs: list[Tensors] = []
        self._rows: list[int] = []
        self._waiting = 0
        self._seen = self._seen_rows = self._taken = 0
        self._lowest_rate = 1.0
        self._path: Path | None = None
        self._written_s = float("-inf")
        self._changed = True

    def add(self, block: Block) -> None:
        """Count a block."""
        self._seen += block.seen
        self._seen_rows += block.seen_rows
        self._lowest_rate = min(self._lowest_rate, block.rate)
        self._changed = True
        # what a stream answered is not kept; what was refused or failed says nothing of the model's inputs
        ran = [one for one in block.requests if one.outputs is not None or one.code in _ANSWERED]
        rows = [one.rows for one in ran]
        self._taken += len(ran)
        self._inputs += [one.tensors for one in ran]
        self._outputs += [one.outputs for one in ran if one.outputs is not None]
        self._rows += rows
        self._waiting += sum(rows)
        if self._waiting >= self._enough_rows:
            self._count()

    def _count(self) -> None:
        inputs, outputs, rows = self._inputs, self._outputs, self._rows
        self._inputs, self._outputs, self._rows, self._waiting = [], [], [], 0
        if inputs:
            self._live.add(inputs, outputs, rows)

    def due(self, now_s: float) -> bool:
        """Whether there is something to write, and it is time."""
        return self._changed and not self._written_s <= now_s < self._written_s + FLUSH_S

    def write(self, now_s: float) -> None:
        """Write the window as it is. Raises `OSError`."""
        self._written_s = now_s
        if not self._changed or now_s >= self.start_s + _MINUTE_S + _LATE_S:
            return
        self._count()
        window = Window(
            self._subject.endpoint,
            self._subject.revision,
            self._subject.digest,
            self._subject.ref,
            self.start_s,
            _MINUTE_S,
            self._seen,
            self._seen_rows,
            self._taken,
            self._lowest_rate,
            self._live.summary(),
        )
        if self._path is None:
            self._path = self._free_path()
        for directory in (*reversed(self.where.parents[:3]), self.where):  # from HOME/records on
            directory.mkdir(mode=0o700, exist_ok=True)
        windows.write(self._path, window, durable=False)
        self._changed = False

    def _free_path(self) -> Path:
        """A name of its own: a worker before this one may have had the same process id, in a container it mostly has."""
        place = 0
        while (path := self.where / windows.minute_name(self.start_s, self._writer, place)).exists():
            place += 1
        return path

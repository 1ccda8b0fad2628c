"""The Sink that keeps whole requests, sampled and redacted: `record.capture` of an endpoint.

Made by wiring for each worker. What it writes are spools; `monitor.capture.segments` turns them into Parquet, elsewhere.
"""

from __future__ import annotations

import contextlib
import errno
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from seaway.core import distinct
from seaway.core.ports import Clock
from seaway.core.records import Answered, RecordRules
from seaway.core.tensors import Signature
from seaway.monitor.capture import erasures as capture_erasures
from seaway.monitor.capture import files as capture_files
from seaway.monitor.capture import redaction
from seaway.monitor.capture.columns import Layout
from seaway.monitor.capture.erasures import Erasures
from seaway.monitor.capture.spool import ROTATE_BYTES, ROTATE_S, Captured, Late, Layed, SpoolWriter, frame
from seaway.monitor.open_files import FileGoneError
from seaway.monitor.sinks import Block, RecordPaths, Takes

SPOOLS_BYTES: Final = 512 * 1024 * 1024
"""Spools of an endpoint that may wait to be converted; beyond, what is captured is dropped."""

_MOST_PLANS: Final = 64


class _Plan(msgspec.Struct, frozen=True, eq=False):
    """What the rules and the signature of one revision come to."""

    number: int
    revision: int
    digest: str
    rules: RecordRules
    layout: Layout
    redaction: redaction.Redaction
    hide_subject: bool


class _Place:
    """One endpoint's directory: its open spool, and the list of erased subjects as last read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.spool: SpoolWriter | None = None
        self.erasures = Erasures(())
        self.erasures_stamp: tuple[int, int] | None = None

    def make(self) -> None:
        """The directory, also where somebody removed it. Raises `OSError`."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path.mkdir(mode=0o700, exist_ok=True)

    def close_spool(self) -> None:
        if self.spool is not None:
            self.spool.close()
            self.spool = None

    def look_for_erasures(self) -> None:
        """Where subjects were erased since the last look, the spool that may hold them is closed."""
        try:
            found = (self.path / capture_erasures.NAME).stat()
        except FileNotFoundError:
            return
        stamp = found.st_mtime_ns, found.st_ino
        if stamp != self.erasures_stamp:
            self.close_spool()
            with contextlib.suppress(msgspec.DecodeError):
                self.erasures = Erasures(capture_erasures.read(self.path))
            self.erasures_stamp = stamp


class CaptureSink:
    """`monitor.sinks.Sink`. A block is on its way to the disk when `take` returns: a kill loses none of it.

    `take` and `tick` raise `OSError` where the disk is full or fails: of that block nothing was kept.
    """

    name = "capture"
    takes: Takes = "all"

    def __init__(self, paths: RecordPaths, clock: Clock) -> None:
        self._paths = paths
        self._clock = clock
        self._places: dict[str, _Place] = {}
        self._plans: dict[tuple[str, int, str], _Plan] = {}
        self._made = 0
        self._secret = b""

    def wants(self, rules: RecordRules) -> bool:
        """Whether the endpoint captures anything."""
        return rules.capture_percent > 0

    def take(self, block: Block) -> None:
        """Keep those of the block that are chosen; at once where the endpoint captures nothing. Raises `OSError`."""
        rules = block.subject.rules
        if not self.wants(rules):
            return
        requests = chosen(block.requests, rules.capture_percent)
        if not requests:
            return
        subject = block.subject
        plan = self._plan(subject.endpoint, subject.revision, subject.digest, subject.signature, rules)
        place = self._place(subject.endpoint)
        spool = self._spool(place, rules.retain_s)
        layout = spool.layouts.get(plan.number, len(spool.layouts))
        frames: list[bytes] = []
        if plan.number not in spool.layouts:
            frames.append(frame(Layed(layout, plan.revision, plan.digest, plan.layout.columns)))
        for request in requests:
            record = self._record(plan, layout, request, block.base_s)
            covered = place.erasures.covers(record.subject, record.at_s)
            frames.append(frame(Late(record.request_id) if covered else record))
        try:
            spool.append(frames)
        except OSError:
            place.close_spool()
            raise
        spool.layouts[plan.number] = layout
        spool.requests += len(requests)

    def tick(self, now_s: float) -> None:
        """Close spools that are old or large, or hold a subject that was erased.

        Raises `FileGoneError` once where somebody removed a spool that is written: the next request begins a new one.
        """
        gone: FileGoneError | None = None
        for place in self._places.values():
            spool = place.spool
            if spool is not None and not spool.stands():
                place.close_spool()
                gone = FileGoneError(spool.path, spool.requests + (gone.requests if gone else 0))
            elif spool is not None and not 0 <= now_s - spool.at_s < ROTATE_S:
                place.close_spool()
            place.look_for_erasures()
        if gone is not None:
            raise gone

    def close(self) -> None:
        for place in self._places.values():
            place.close_spool()

    def _record(self, plan: _Plan, layout: int, request: Answered, base_s: float) -> Captured:
        cells, omitted = plan.layout.cells(request)
        rules, mask = plan.rules, plan.redaction
        raw = None if rules.subject is None else request.header(rules.subject)
        subject = None if raw is None else capture_erasures.subject_text(raw)
        if subject and (plan.hide_subject or mask.mask(subject) != subject):
            subject = capture_erasures.pseudonym(self._secret, subject)
        return Captured(
            layout,
            mask.mask_id(request.request_id.decode("latin-1")),
            base_s + request.received_s,
            request.door,
            request.code,
            mask.mask(request.caller),
            subject or None,
            request.rows,
            cells,
            omitted,
        )

    def _plan(
        self, endpoint: str, revision: int, digest: str, signature: Signature, rules: RecordRules
    ) -> _Plan:
        key = endpoint, revision, digest
        plan = self._plans.get(key)
        if plan is None or plan.rules != rules:
            read = redaction.parse(rules.redact)
            hide = rules.subject is not None and rules.subject in read.headers
            if rules.subject is not None and not self._secret:
                self._secret = capture_files.secret(self._root())
            self._made += 1
            if len(self._plans) >= _MOST_PLANS:
                self._plans.clear()
            layout = Layout(signature, read)
            plan = self._plans[key] = _Plan(self._made, revision, digest, rules, layout, read, hide)
        return plan

    def _root(self) -> Path:
        root = Path(self._paths.root)
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        return root

    def _place(self, endpoint: str) -> _Place:
        place = self._places.get(endpoint)
        if place is None:
            place = _Place(capture_files.directory(Path(self._paths.root), endpoint))
            self._places[endpoint] = place
            place.look_for_erasures()
        return place

    def _spool(self, place: _Place, retain_s: float) -> SpoolWriter:
        if place.spool is not None and place.spool.bytes >= ROTATE_BYTES:
            place.close_spool()
        if place.spool is None:
            place.make()
            if self._secret:  # the key may have been removed too, and erasures read it from its file
                self._secret = capture_files.secret(self._root())
            if capture_files.spools_bytes(place.path) > SPOOLS_BYTES:
                raise OSError(errno.ENOSPC, "captured requests wait to be converted, and none fit any more")
            now_s = self._clock.now_s()
            place.spool = SpoolWriter(place.path, self._paths.writer, now_s, retain_s)
        return place.spool


def chosen(requests: Sequence[Answered], percent: float) -> Sequence[Answered]:
    """Those that are kept: by their id alone, so every worker, and a repetition of a request, chooses alike."""
    if percent >= 100:
        return requests
    ids = np.fromiter((zlib.crc32(r.request_id) for r in requests), np.uint32, len(requests))
    below = int(percent / 100 * 2**32)
    # CRC-32 alone sends ids that only count up to neighbouring values.
    return [requests[place] for place in np.flatnonzero(distinct.hash_words(ids) < below).tolist()]


def make(paths: RecordPaths, clock: Clock) -> CaptureSink:
    """The sink of one worker."""
    return CaptureSink(paths, clock)

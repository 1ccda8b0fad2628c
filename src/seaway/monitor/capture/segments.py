"""What becomes of captured requests: spools turn into segments, old segments go, and erased subjects leave all of them.

Called in `wiring.capture_process` (so that pyarrow's memory never stays in a server) and by `seaway records`. Any number of
processes may call it: the directory's lock lets one at a time. Killed anywhere, the next call goes on where it was.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from seaway.core.captures import Rows, SegmentFormat
from seaway.monitor.capture import erasures as capture_erasures
from seaway.monitor.capture import files as capture_files
from seaway.monitor.capture import gone
from seaway.monitor.capture import rows as capture_rows
from seaway.monitor.capture import spool as capture_spool
from seaway.monitor.capture.erasures import Erasure, Erasures
from seaway.monitor.capture.files import Listing, Segment
from seaway.monitor.capture.spool import Captured, Spool

SEGMENT_BYTES: Final = 16 * 1024 * 1024
"""Spools that one segment is made of, at most (but for a single larger one)."""
DUE_BYTES: Final = 8 * 1024 * 1024
DUE_S: Final = 1800.0
"""Closed spools are converted once they are so large together, or the oldest is of that age."""
KEPT_BYTES: Final = 4 * 1024**3
"""All segments of an endpoint; beyond, the oldest go."""
_ERASURE_S: Final = 3600.0
"""An erasure stays on the list so long after it was carried out, for what a stalled worker may still write."""


class Done(msgspec.Struct, frozen=True):
    """What a call did. `torn` counts records that could not be read; `damaged` are segments whose bytes have changed.

    `pending` counts the open spools that may still hold an erased subject; their workers close them within seconds.
    """

    segments: int = 0
    requests: int = 0
    torn: int = 0
    expired: int = 0
    erased_rows: int = 0
    erased_ids: tuple[str, ...] = ()
    pending: int = 0
    damaged: tuple[str, ...] = ()


class Subject(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whose data are to be erased: of one endpoint, or (None) of all."""

    name: str
    endpoint: str | None


class _State(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Kept beside the segments: for how long they are kept, and what was lost so far."""

    retain_s: float
    torn: int = 0
    unended: int = 0


class View(msgspec.Struct, frozen=True):
    """What can be read now: segments, and rows that no segment holds yet. `damaged` are left out; `torn` as in `Done`.

    `unended` counts the workers that were killed (or whose disk was full) while they captured: of each, up to the last
    two seconds are missing.
    """

    segments: tuple[Segment, ...]
    rows: Rows
    damaged: tuple[str, ...]
    torn: int
    unended: int


def convert(
    root: Path, now_s: float, form: SegmentFormat, retain_s: Mapping[str, float], *, every: bool = False
) -> Done:
    """Bring all endpoints up to date: convert what is due (with `every`, all closed spools), erase, let old ones go.

    `retain_s` is by endpoint; of others, as their last spool said. An endpoint that another process works on is left out.
    Blocking. Raises `OSError`, or `ValueError` for what cannot be written as a segment, once all endpoints had their turn.
    """
    done, failed = Done(), None
    for endpoint in capture_files.endpoints(root):
        place = capture_files.directory(root, endpoint)
        try:
            with capture_files.locked(place, alone=True, wait=False) as held:
                if held:
                    turn = _Turn(place, now_s, form, retain_s.get(endpoint))
                    done = _sum(done, turn.run(every=every))
        except (OSError, ValueError) as error:
            failed = failed or error  # one endpoint's trouble is not the others'
    if failed is not None:
        raise failed
    return done


def erase(root: Path, endpoint: str | None, subject: str, now_s: float, form: SegmentFormat) -> Done:
    """Remove all that was captured of a subject until now, from one endpoint or all. Blocking. Raises `OSError`.

    It is on the list before anything else is done: if this is killed, the next `convert` carries it out. Where spools
    are `pending`, call `convert(…, every=True)` until none are. Idempotent.
    """
    done = Done()
    known = capture_erasures.subject_text(subject.encode())
    names = [known, capture_erasures.pseudonym(capture_files.secret(root), known)] if root.is_dir() else []
    for name in capture_files.endpoints(root):
        if endpoint not in (None, name):
            continue
        place = capture_files.directory(root, name)
        with capture_files.locked(place, alone=True):
            entries = [*_erasures(place), *(capture_erasures.erasure(each, now_s) for each in names)]
            capture_erasures.write(place, entries)
            done = _sum(done, _Turn(place, now_s, form, None).run(every=True))
    return done


def due(root: Path, now_s: float, retain_s: Mapping[str, float]) -> bool:
    """Whether `convert` has something to do; cheap, and reads no record. Raises `OSError`."""
    for endpoint in capture_files.endpoints(root):
        place = capture_files.directory(root, endpoint)
        erasures = _erasures(place)
        if any(not entry.done for entry in erasures):
            return True
        listing = capture_files.listing(place)
        closed = _closed(listing.spools)
        if (
            (erasures and closed)
            or _ripe(closed, now_s)
            or _expired(listing, now_s, _retain(place, retain_s.get(endpoint)))
        ):
            return True
    return False


@contextlib.contextmanager
def view(root: Path, endpoint: str, since_s: float) -> Iterator[View]:
    """What was captured of an endpoint since a time; no file of it goes while it is open. Blocking. Raises `OSError`."""
    place = capture_files.directory(root, endpoint)
    if not place.is_dir():
        yield View((), capture_rows.rows_of((), lambda _: True), (), 0, 0)
        return
    with capture_files.locked(place, alone=False):
        listing = capture_files.listing(place)
        erasures = Erasures(_erasures(place))
        segments = [segment for segment in listing.segments if segment.to_s + 0.001 >= since_s]
        good = tuple(segment for segment in segments if segment.intact())
        spools = _read(listing.spools)
        rows = capture_rows.rows_of(
            (spool for _, spool in spools),
            lambda r: r.at_s >= since_s and not erasures.covers(r.subject, r.at_s),
        )
        state = _state(place)
        torn = sum(spool.torn for _, spool in spools) + (state.torn if state else 0)
        unended = sum(spool.unended for _, spool in spools) + (state.unended if state else 0)
        yield View(good, rows, tuple(s.path.name for s in segments if s not in good), torn, unended)


class _Turn:
    """One endpoint's turn; the caller holds its lock alone."""

    def __init__(self, place: Path, now_s: float, form: SegmentFormat, retain_s: float | None) -> None:
        self._place = place
        self._now_s = now_s
        self._form = form
        self._retain_s = _retain(place, retain_s)
        self._given = retain_s is not None
        self._erased: dict[str, None] = {}
        self._erased_rows = 0
        self._damaged: list[str] = []
        self._torn = self._unended = 0

    def run(self, *, every: bool) -> Done:
        capture_files.settle(self._place)
        capture_spool.remove_unnamed(self._place, self._now_s - capture_spool.ROTATE_S)
        erasures = _erasures(self._place)
        undone = any(not entry.done for entry in erasures)
        closed = _closed(capture_files.listing(self._place).spools)
        segments = requests = 0
        if every or erasures or _ripe(closed, self._now_s):
            for batch in _batches(closed):
                found = self._convert(batch, Erasures(erasures))
                segments += found > 0
                requests += found
        if undone:
            self._sweep(Erasures(erasures))
        pending = self._settle_erasures(erasures)
        expired = _expired(capture_files.listing(self._place), self._now_s, self._retain_s)
        capture_files.drop(self._place, [segment.path for segment in expired])
        self._save_state()
        return Done(
            segments,
            requests,
            self._torn,
            len(expired),
            self._erased_rows,
            tuple(self._erased),
            pending,
            tuple(self._damaged),
        )

    def _convert(self, batch: Sequence[Path], erasures: Erasures) -> int:
        """One segment in the place of these spools; the number of its requests."""
        read = _read(batch)
        spools = [spool for _, spool in read]
        self._torn += sum(spool.torn for spool in spools)
        self._unended += sum(spool.unended for spool in spools)
        if not self._given and (said := [spool.opened.retain_s for spool in spools if spool.opened]):
            self._retain_s = said[-1]
        oldest_s, kept = self._now_s - self._retain_s, 0

        def keep(request: Captured) -> bool:
            nonlocal kept
            if erasures.covers(request.subject, request.at_s):
                self._erased[request.request_id] = None
                self._erased_rows += request.rows
                return False
            kept += request.at_s >= oldest_s
            return request.at_s >= oldest_s

        rows = capture_rows.rows_of(spools, keep)
        self._erased |= dict.fromkeys(request_id for spool in spools for request_id in spool.late)
        gone.add(self._place, self._erased)
        paths = [path for path, _ in read]
        if kept:
            part = capture_files.part(self._place)
            try:
                self._form.write(str(part), rows)
            except BaseException:
                part.unlink(missing_ok=True)
                raise
            times = [at for at in rows.cells["received_at"] if isinstance(at, float)]
            capture_files.put_segment(self._place, part, (min(times), max(times)), paths)
        else:
            capture_files.drop(self._place, paths)
        return kept

    def _sweep(self, erasures: Erasures) -> None:
        """Write every segment that holds an erased subject again, without it."""
        for segment in capture_files.listing(self._place).segments:
            if segment.from_s > max(entry.until_s for entry in erasures.entries):
                continue
            if not segment.intact():
                self._damaged.append(segment.path.name)
                continue
            until_s = {name: erasures.until_s(name) for name in self._form.subjects(str(segment.path))}
            erased = frozenset(name for name, end_s in until_s.items() if end_s >= segment.from_s)
            if not erased:
                continue
            part = capture_files.part(self._place)
            removed = self._form.without(str(segment.path), str(part), erased, until_s)
            self._erased |= dict.fromkeys(removed.request_ids)
            self._erased_rows += removed.rows
            gone.add(self._place, removed.request_ids)
            if removed.rows and removed.kept:
                capture_files.put_segment(self._place, part, (segment.from_s, segment.to_s), [segment.path])
            elif removed.rows:
                capture_files.drop(self._place, [segment.path])

    def _settle_erasures(self, entries: Sequence[Erasure]) -> int:
        """Mark those that nothing holds any more, forget old ones; the spools that are still to be closed."""
        if not entries:
            return 0
        opened_s = [
            capture_files.opened_ms(path) / 1000 for path in capture_files.listing(self._place).spools
        ]
        pending, kept = 0, []
        for entry in entries:
            waits = 0 if entry.done else sum(at_s <= entry.until_s for at_s in opened_s)
            pending = max(pending, waits)
            if not entry.done or self._now_s - entry.until_s < _ERASURE_S:
                kept.append(msgspec.structs.replace(entry, done=waits == 0))
        if kept != list(entries):
            capture_erasures.write(self._place, kept)
        return pending

    def _save_state(self) -> None:
        before = _state(self._place)
        known = before or _State(self._retain_s)
        state = _State(self._retain_s, known.torn + self._torn, known.unended + self._unended)
        if state != before:
            capture_files.replace(self._place / _STATE, msgspec.json.encode(state))


_STATE: Final = "state.json"
_DEFAULT_RETAIN_S: Final = 30 * 86_400.0


def _state(place: Path) -> _State | None:
    with contextlib.suppress(FileNotFoundError, msgspec.DecodeError):
        return msgspec.json.decode((place / _STATE).read_bytes(), type=_State)
    return None


def _retain(place: Path, given_s: float | None) -> float:
    if given_s is not None:
        return given_s
    state = _state(place)
    return _DEFAULT_RETAIN_S if state is None else state.retain_s


def _erasures(place: Path) -> tuple[Erasure, ...]:
    """The list; a damaged one is as good as none."""
    with contextlib.suppress(msgspec.DecodeError):
        return capture_erasures.read(place)
    return ()


def _closed(spools: Sequence[Path]) -> list[Path]:
    found = []
    for path in spools:
        with contextlib.suppress(FileNotFoundError):  # converted meanwhile, where the caller holds no lock
            if capture_spool.is_closed(path):
                found.append(path)
    return found


def _ripe(closed: Sequence[Path], now_s: float) -> bool:
    if not closed:
        return False
    size = 0
    for path in closed:
        with contextlib.suppress(FileNotFoundError):
            size += path.stat().st_size
    return size >= DUE_BYTES or now_s - capture_files.opened_ms(closed[0]) / 1000 >= DUE_S


def _batches(spools: Sequence[Path]) -> Iterator[list[Path]]:
    batch: list[Path] = []
    size = 0
    for path in spools:
        bytes_ = path.stat().st_size
        if batch and size + bytes_ > SEGMENT_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(path)
        size += bytes_
    if batch:
        yield batch


def _read(paths: Sequence[Path]) -> list[tuple[Path, Spool]]:
    """Spools that can be read; one that cannot stays where it is."""
    found = []
    for path in paths:
        with contextlib.suppress(OSError):
            found.append((path, capture_spool.read(path)))
    return found


def _expired(listing: Listing, now_s: float, retain_s: float) -> list[Segment]:
    """Segments whose last request is older than `retain_s`, and the oldest beyond what all may take."""
    gone, size = [], 0
    for segment in reversed(listing.segments):
        with contextlib.suppress(FileNotFoundError):
            size += segment.path.stat().st_size
        if segment.to_s < now_s - retain_s or size > KEPT_BYTES:
            gone.append(segment)
    return gone


def _sum(a: Done, b: Done) -> Done:
    return Done(*(getattr(a, name) + getattr(b, name) for name in Done.__struct_fields__))

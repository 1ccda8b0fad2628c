"""Windows of summaries on disk: what workers write each minute, what compaction makes of it, and how all of it is read.

Under HOME/records/ENDPOINT/summaries/REVISION-DIGEST/ lie `minute-START-WRITER-K.sum` (K tells apart windows of workers
whose process ids are equal), `hour-START-G.sum` and `day-START-G.sum` (G counts how often one was made anew, for windows
that came late). A merged file names the files that it holds, and whoever reads leaves those out: so it does not matter
when they are removed. Read by monitors, by the control process and by `seaway profile`, with or without a server.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from seaway.bundle import blobs
from seaway.core import summaries
from seaway.core.summaries import SUMMARY_VERSION, Summary

SPANS_S: Final = {"minute": 60, "hour": 3600, "day": 86_400}
DIRECTORY: Final = "summaries"
TEMPORARY: Final = ".new-"
_MAGIC: Final = b"SWSUM001"
_NAME: Final = re.compile(r"(minute|hour|day)-(\d{1,12})-([0-9-]{1,60})\.sum\Z")
_REVISION: Final = re.compile(r"(\d{1,9})-[0-9a-f]{1,64}\Z")
_TRIES: Final = 50


class Window(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one writer, or all together, saw of a revision in the `span_s` seconds from `start_s` (since 1970) on.

    Of `seen` requests with `seen_rows` rows that ended, `taken` were drawn and had been answered: the summary holds
    those, `summary.rows` rows. `lowest_rate` is the smallest share by which they were drawn. `sources` are the names of
    the files that this one holds.
    """

    endpoint: str
    revision: int
    digest: str
    ref: str
    start_s: int
    span_s: int
    seen: int
    seen_rows: int
    taken: int
    lowest_rate: float
    summary: Summary
    sources: tuple[str, ...] = ()


class WindowFile(NamedTuple):
    """A file by its name. `generation` counts how often the window was merged anew; 0 for minutes."""

    name: str
    kind: str
    start_s: int
    generation: int

    @property
    def end_s(self) -> int:
        return self.start_s + SPANS_S[self.kind]

    def covers(self, at_s: int) -> bool:
        return self.start_s <= at_s < self.end_s


class Reading(msgspec.Struct, frozen=True):
    """Windows of one revision from `start_s` to `end_s`, merged over writers and time.

    The span is that of the windows found, so it may begin before the time asked for. `damaged` names the files that
    could not be read: what they held is missing here.
    """

    window: Window
    end_s: int
    files: int
    damaged: tuple[str, ...]

    @property
    def rate(self) -> float:
        """The share of the ended rows that the summary holds."""
        return self.window.summary.rows / self.window.seen_rows if self.window.seen_rows else 0.0


class Damaged(Exception):
    """A file that holds no window: torn, altered, or of another version of this format."""


def directory(root: str | Path, endpoint: str, revision: int, digest: str) -> Path:
    """Where the windows of one revision lie; `root` is HOME/records."""
    return Path(root) / endpoint / DIRECTORY / f"{revision}-{digest.removeprefix('sha256:')[:16]}"


def minute_name(start_s: int, writer: str, place: int) -> str:
    """The name of a worker's file."""
    return f"minute-{start_s}-{writer}-{place}.sum"


def merged_name(kind: str, start_s: int, generation: int) -> str:
    """The name of a merged file."""
    return f"{kind}-{start_s}-{generation}.sum"


def files(where: Path) -> list[WindowFile]:
    """The windows in a directory, by their names alone; empty where there is none."""
    found = []
    for name in _entries(where):
        match = _NAME.match(name)
        if match is not None:
            last = match[3].rpartition("-")[2]
            generation = int(last) if match[1] != "minute" and last else 0
            found.append(WindowFile(name, match[1], int(match[2]), generation))
    return sorted(found)


def revisions(root: str | Path, endpoint: str) -> dict[int, list[Path]]:
    """The directories of an endpoint's revisions by number; more than one where a number was used again."""
    found: dict[int, list[Path]] = {}
    base = Path(root) / endpoint / DIRECTORY
    for name in sorted(_entries(base)):
        match = _REVISION.match(name)
        if match is not None:
            found.setdefault(int(match[1]), []).append(base / name)
    return found


def write(path: Path, window: Window, *, durable: bool) -> None:
    """Replace a file at once; `durable` returns only when it would survive a power cut. Raises `OSError`."""
    packed = zlib.compress(msgspec.msgpack.encode(window, order="sorted"), 1)
    temporary = path.with_name(f"{TEMPORARY}{path.name}")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(_MAGIC + zlib.crc32(packed).to_bytes(4, "big") + packed)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)  # a full disk must not fill up further
        raise
    if durable:
        blobs.sync(path.parent)


def load(path: Path) -> Window:
    """The window in a file. Raises `Damaged`, `FileNotFoundError`."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Damaged(str(error)) from error
    packed = data[len(_MAGIC) + 4 :]
    head = data[: len(_MAGIC) + 4]
    if head != _MAGIC + zlib.crc32(packed).to_bytes(4, "big"):
        raise Damaged("torn or altered")
    try:
        window = msgspec.msgpack.decode(zlib.decompress(packed), type=Window)
    except (zlib.error, msgspec.DecodeError) as error:
        raise Damaged(str(error)) from error
    if window.summary.summary_version != SUMMARY_VERSION:
        raise Damaged(f"of version {window.summary.summary_version}")
    return window


def merge(windows: Iterable[Window]) -> Window:
    """Windows of one revision as one, which spans all of them; `sources` are left out. At least one is needed."""
    every = list(windows)
    start_s = min(one.start_s for one in every)
    newest = max(every, key=lambda one: (one.start_s, one.ref))
    return Window(
        newest.endpoint,
        newest.revision,
        newest.digest,
        newest.ref,
        start_s,
        max(one.start_s + one.span_s for one in every) - start_s,
        sum(one.seen for one in every),
        sum(one.seen_rows for one in every),
        sum(one.taken for one in every),
        min(one.lowest_rate for one in every),
        summaries.merge(one.summary for one in every),
    )


def series(where: Path, since_s: float, until_s: float) -> tuple[list[Window], list[str]]:
    """The windows in a directory that overlap a time, oldest first, each counted once; and the names of damaged files.

    A window whose files are merged while this reads is found under its new name.
    """
    loaded: dict[str, Window] = {}
    for attempt in range(_TRIES):
        listed = [one for one in files(where) if one.start_s < until_s and one.end_s > since_s]
        try:
            return _load(where, listed, loaded, last=attempt == _TRIES - 1)
        except FileNotFoundError:
            continue
    raise AssertionError("unreachable")


def _load(
    where: Path, listed: list[WindowFile], loaded: dict[str, Window], *, last: bool
) -> tuple[list[Window], list[str]]:
    """`loaded` are windows that an earlier try read, and is added to: each try gets further than a merger can."""
    found: list[Window] = []
    damaged: list[str] = []
    held: set[str] = set()
    # what merges others comes first, and the newest of them before those that it replaces
    order = sorted(listed, key=lambda one: (-SPANS_S[one.kind], one.start_s, -one.generation))
    for one in order:
        if one.name in held:
            continue
        try:
            window = loaded.get(one.name) or load(where / one.name)
        except FileNotFoundError:
            if not last:
                raise
            damaged.append(one.name)
        except Damaged:
            damaged.append(one.name)
        else:
            loaded[one.name] = window
            found.append(window)
            held.update(window.sources)
    return sorted(found, key=lambda one: (one.start_s, one.span_s)), damaged


def read(
    root: str | Path, endpoint: str, revision: int | None, since_s: float, until_s: float
) -> Reading | None:
    """What was summarised of a revision between two times (seconds since 1970), over all workers; blocking.

    Without a revision, the newest one that has windows then. None where there is none.
    """
    known = revisions(root, endpoint)
    for number in sorted(known, reverse=True) if revision is None else [revision]:
        best: Reading | None = None
        for where in known.get(number, []):
            windows, damaged = series(where, since_s, until_s)
            if not windows:
                continue
            total = merge(windows)
            reading = Reading(total, total.start_s + total.span_s, len(windows), tuple(damaged))
            if best is None or reading.end_s > best.end_s:
                best = reading
        if best is not None:
            return best
    return None


def remove(where: Path, names: Iterable[str]) -> int:
    """Remove files; how many were there. One that cannot be removed stays, and is tried again another time."""
    removed = 0
    for name in names:
        try:
            (where / name).unlink()
            removed += 1
        except OSError:
            continue
    return removed


def _entries(where: Path) -> list[str]:
    try:
        return [path.name for path in where.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []

"""The ledger on disk: HOME/records/ENDPOINT/seconds/<hour>-<writer>.jsonl, one line for each second and revision.

Written by each worker's recorder, read by control (verdicts) and by verbs. A line that was torn by a kill is left out.
"""

from __future__ import annotations

import datetime
import errno
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from seaway.core import ledger
from seaway.core.ledger import Page, Second
from seaway.monitor.sinks import RecordPaths, Subject

KEEP_S: Final = 48 * 3600.0
"""How long seconds are kept, and while space allows."""
MOST_BYTES: Final = 1024 * 1024 * 1024
"""Of one home's seconds; beyond it the oldest files go first."""
SETTLED_S: Final = 10.0
"""So long after its end a second is on disk, whichever worker counted it, where disk and processor keep up."""
_FOLDER: Final = "seconds"
_SWEEP_S: Final = 600.0
_FLAGS: Final = os.O_APPEND | os.O_CREAT | os.O_RDWR | os.O_CLOEXEC


class _Line(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    revision: int
    digest: str
    second: Second


class Unwritten(msgspec.Struct, frozen=True):
    """What could not be kept now, and why."""

    seconds: Sequence[tuple[Subject, Second]]
    error: OSError


_DECODER: Final = msgspec.json.Decoder(_Line)


class SecondsWriter:
    """Appends; on the keeping thread only."""

    def __init__(self, paths: RecordPaths) -> None:
        self._paths = paths
        self._sweep_at_s = 0.0

    def write(self, found: Iterable[tuple[Subject, Second]], now_s: float) -> Unwritten | None:
        """Append the seconds of all revisions to their files, each file's wholly or not at all; None where all are kept."""
        lines: dict[tuple[str, int], list[tuple[Subject, Second]]] = {}
        for subject, second in found:
            lines.setdefault((subject.endpoint, second.at_s // 3600), []).append((subject, second))
        left: list[tuple[Subject, Second]] = []
        first: OSError | None = None
        for (endpoint, hour), own in lines.items():
            folder = Path(self._paths.endpoint(endpoint)) / _FOLDER
            path = folder / f"{_hour(hour * 3600)}-{self._paths.writer}.jsonl"
            encoded = [msgspec.json.encode(_Line(s.revision, s.digest, second)) for s, second in own]
            try:
                _append(path, b"\n".join(encoded) + b"\n")
            except OSError as error:  # of one endpoint, perhaps: the others' are kept
                left += own
                first = first or error
        if now_s >= self._sweep_at_s:
            self._sweep_at_s = now_s + _SWEEP_S
            sweep(Path(self._paths.root), now_s)
        return None if first is None else Unwritten(left, first)


def _append(path: Path, data: bytes) -> None:
    """All of it or nothing, so that it may be tried again. Raises `OSError`."""
    try:
        file = os.open(path, _FLAGS, 0o600)
    except FileNotFoundError:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(path, _FLAGS, 0o600)
    try:
        size = os.fstat(file).st_size
        if size and os.pread(file, 1, size - 1) != b"\n":
            data = b"\n" + data  # a kill tore the last line
        try:
            if os.write(file, data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            os.ftruncate(file, size)
            raise
    finally:
        os.close(file)


def read(root: Path, endpoint: str, since_s: float, until_s: float) -> tuple[Page, ...]:
    """The seconds of an endpoint with since_s <= at_s < until_s, merged over all workers, a page for each revision."""
    return ledger.merge_pages(_pages(root / endpoint / _FOLDER, endpoint, since_s, until_s))


def _pages(folder: Path, endpoint: str, since_s: float, until_s: float) -> Iterator[Page]:
    for path in sorted(folder.glob("*.jsonl")):
        hour = path.name.split("-", 1)[0]
        if not _hour(since_s) <= hour <= _hour(until_s):
            continue
        found: dict[tuple[int, str], list[Second]] = {}
        try:
            data = path.read_bytes()
        except FileNotFoundError:  # swept meanwhile
            continue
        for text in data.split(b"\n"):
            try:
                line = _DECODER.decode(text)
            except msgspec.DecodeError:
                continue
            if since_s <= line.second.at_s < until_s:
                found.setdefault((line.revision, line.digest), []).append(line.second)
        for (revision, digest), seconds in found.items():
            yield Page(endpoint, revision, digest, tuple(seconds))


def oldest_s(now_s: float) -> float:
    """Since when seconds are kept, where space allows: a file holds an hour, and goes as a whole."""
    return (now_s - KEEP_S) // 3600 * 3600


def sweep(root: Path, now_s: float) -> None:
    """Remove what is older than `KEEP_S`, and the oldest beyond `MOST_BYTES`. Any process; idempotent."""
    files: list[tuple[str, int, Path]] = []
    for path in root.glob(f"*/{_FOLDER}/*.jsonl"):
        try:
            files.append((path.name, path.stat().st_size, path))
        except FileNotFoundError:
            continue
    files.sort(reverse=True)
    total, oldest = 0, _hour(oldest_s(now_s))
    for name, size, path in files:
        total += size
        if name.split("-", 1)[0] < oldest or total > MOST_BYTES:
            path.unlink(missing_ok=True)


def _hour(at_s: float) -> str:
    """Such as 20261122T09, UTC."""
    return datetime.datetime.fromtimestamp(at_s, datetime.UTC).strftime("%Y%m%dT%H")

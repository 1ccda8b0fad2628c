"""The files of one endpoint's capture, and the rule by which new ones take the place of old ones.

HOME/records/ENDPOINT/capture holds

- `spool-WRITER-MS-ID.log`, written by workers (`capture_spool`);
- `segment-FROM-TO-HASH.parquet` (times in ms since 1970; HASH is of the file's bytes, so damage is found);
- `change-ID.json`, a change under way: what it makes, and what that replaces;
- `erasures.json` (`capture_erasures`), `state.json` (`segments`), and `lock`, which conversion and erasure hold alone, readers together.

A change is made by writing its journal, then renaming the new segment into place (the change stands from then on; a change that
makes nothing stands with its journal), then removing what it replaces, then the journal. Killed anywhere, the next one under
the lock finishes or forgets it, and a reader leaves out what a standing change replaces: no request is there twice or gone.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from seaway.bundle import blobs

PART: Final = ".part-"
_SEGMENT: Final = re.compile(r"segment-(\d+)-(\d+)-([0-9a-f]{32})\.parquet")
_SPOOL: Final = re.compile(r"spool-\d+-\d+-(\d+)-[0-9a-f]{12}\.log")
_LOCK: Final = "lock"
_SECRET: Final = "capture.key"
_CHUNK: Final = 1 << 20


class Segment(msgspec.Struct, frozen=True):
    """A segment by its name: the times of its first and last request, and the hash of its bytes."""

    path: Path
    from_s: float
    to_s: float
    digest: str

    def intact(self) -> bool:
        """Whether its bytes are those that were written; reads it all."""
        try:
            return _digest(self.path) == self.digest
        except OSError:
            return False


class Listing(msgspec.Struct, frozen=True):
    """What holds an endpoint's records now, oldest first."""

    segments: tuple[Segment, ...]
    spools: tuple[Path, ...]


class _Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    makes: str | None
    replaces: tuple[str, ...]


def directory(root: Path, endpoint: str) -> Path:
    """Where an endpoint's captured requests are."""
    return root / endpoint / "capture"


def endpoints(root: Path) -> tuple[str, ...]:
    """The endpoints of which anything was captured, by name."""
    with contextlib.suppress(FileNotFoundError):
        return tuple(sorted(path.name for path in root.iterdir() if (path / "capture").is_dir()))
    return ()


def opened_ms(spool: Path) -> int:
    """When a spool was begun, by its name."""
    found = _SPOOL.fullmatch(spool.name)
    return int(found[1]) if found else 0


@contextlib.contextmanager
def locked(place: Path, *, alone: bool, wait: bool = True) -> Iterator[bool]:
    """Hold the directory's lock; False where another holds it and `wait` is not set. Raises `OSError`."""
    file = os.open(place / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(file, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(file)


def listing(place: Path) -> Listing:
    """What is there, without what a standing change replaces; the caller holds the lock."""
    names = set(os.listdir(place))  # noqa: PTH208 - names, many of them
    replaced: set[str] = set()
    for name in names:
        if name.startswith("change-"):
            change = _read_change(place / name)
            if change is not None and (change.makes is None or change.makes in names):
                replaced.update(change.replaces)
    names -= replaced
    segments = (segment_of(place / name) for name in names if _SEGMENT.fullmatch(name))
    spools = (place / name for name in names if _SPOOL.fullmatch(name))
    return Listing(
        tuple(sorted(segments, key=lambda s: (s.from_s, s.path.name))), tuple(sorted(spools, key=opened_ms))
    )


def spools(place: Path) -> tuple[Path, ...]:
    """All spools, open ones too, without looking at changes."""
    return tuple(path for path in place.iterdir() if _SPOOL.fullmatch(path.name))


def spools_bytes(place: Path) -> int:
    """The size of all spools."""
    total = 0
    for path in spools(place):
        with contextlib.suppress(FileNotFoundError):  # converted meanwhile
            total += path.stat().st_size
    return total


def segment_of(path: Path) -> Segment:
    """The segment that a name tells of."""
    found = _SEGMENT.fullmatch(path.name)
    assert found is not None
    return Segment(path, int(found[1]) / 1000, int(found[2]) / 1000, found[3])


def settle(place: Path) -> None:
    """Finish or forget what a killed one left; the caller holds the lock alone. Raises `OSError`."""
    names = set(os.listdir(place))  # noqa: PTH208 - names, many of them
    for name in names:
        if name.startswith("change-"):
            change = _read_change(place / name)
            if change is not None and (change.makes is None or change.makes in names):
                _remove(place, change.replaces)
            (place / name).unlink()
        elif name.startswith(PART):
            (place / name).unlink()


def part(place: Path) -> Path:
    """A path for a file to be written; forgotten by `settle` unless it is put in place."""
    return place / f"{PART}{secrets.token_hex(8)}"


def put_segment(
    place: Path, written: Path, times_s: tuple[float, float], replaces: Sequence[Path]
) -> Segment:
    """Give a written part its name, in the place of what it `replaces`. Raises `OSError`."""
    written.chmod(0o600)
    blobs.sync(written)
    name = f"segment-{int(times_s[0] * 1000)}-{int(times_s[1] * 1000)}-{_digest(written)}.parquet"
    journal = _begin(place, _Change(name, tuple(path.name for path in replaces if path.name != name)))
    written.replace(place / name)
    blobs.sync(place)
    _finish(place, journal, replaces, name)
    return segment_of(place / name)


def drop(place: Path, replaced: Sequence[Path]) -> None:
    """Remove files as one change. Raises `OSError`."""
    if replaced:
        journal = _begin(place, _Change(None, tuple(path.name for path in replaced)))
        _finish(place, journal, replaced, None)


def replace(path: Path, data: bytes) -> None:
    """Put `data` at `path`, durable; readers see the old bytes or the new ones. Raises `OSError`."""
    temporary = part(path.parent)
    temporary.touch(0o600)
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    blobs.sync(path.parent)


def secret(root: Path) -> bytes:
    """What pseudonyms of this home are made with; made by whoever asks first. Raises `OSError`."""
    place = root / _SECRET
    if not place.exists():
        temporary = part(root)
        temporary.touch(0o600)
        try:
            temporary.write_bytes(secrets.token_bytes(32))
            blobs.sync(temporary)
            with contextlib.suppress(FileExistsError):
                place.hardlink_to(temporary)
        finally:
            temporary.unlink()
    return place.read_bytes()


def _begin(place: Path, change: _Change) -> Path:
    journal = place / f"change-{secrets.token_hex(8)}.json"
    replace(journal, msgspec.json.encode(change))
    return journal


def _finish(place: Path, journal: Path, replaced: Sequence[Path], made: str | None) -> None:
    _remove(place, [path.name for path in replaced if path.name != made])
    journal.unlink()


def _remove(place: Path, names: Sequence[str]) -> None:
    for name in names:
        (place / name).unlink(missing_ok=True)
    blobs.sync(place)


def _read_change(path: Path) -> _Change | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Change)
    except (msgspec.DecodeError, OSError):
        return None  # written whole or not at all, so damaged since; what it says did not happen


def _digest(path: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()

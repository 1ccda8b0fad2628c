"""What was seen of rollouts, on disk: HOME/rollouts/ENDPOINT/N.*, N the candidate's number. Written by `analysis` alone.

`N.evidence.json` is all that the next process needs to go on, `N.judgement.json` the newest Judgement, `N.looks.jsonl` one
line for each look that is kept. Each file is replaced whole, so a kill leaves the old one or the new one.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Final

import msgspec

from seaway.control.rollouts.labels import LabelCursor
from seaway.control.rollouts.paired_labels import PairCursor
from seaway.core.evidence.wealth import FAIL_ODDS
from seaway.core.rollouts.judgement import Judgement
from seaway.core.rollouts.judging import Evidence

KEEP: Final = 20
"""Rollouts of one endpoint whose files are kept."""
KEEP_DELETED_S: Final = 30 * 86_400.0
"""How long those of a deleted endpoint are."""
_log = logging.getLogger(__name__)


class Stored(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The evidence of the rollout that began at `started_s`, with the labels that are in it (`paired` those of mirrored
    requests), and how the candidate ran at first. `odds` are the bets that the evidence consists of: with others it cannot go on."""

    started_s: float
    evidence: Evidence
    labels: LabelCursor | None = None
    was_isolated: bool = False
    paired: PairCursor | None = None
    odds: tuple[float, ...] = FAIL_ODDS


class _Bets(msgspec.Struct, frozen=True):
    """What is read of a `Stored` first. Those of a Seaway that had fewer bets do not name them."""

    odds: tuple[float, ...] = ()


def load(rollouts: Path, endpoint: str, candidate: int) -> Stored | None:
    """What was saved last; None where nothing was, it cannot be read, or is of other bets (the evidence then begins anew)."""
    path = _path(rollouts, endpoint, candidate, "evidence.json")
    try:
        data = path.read_bytes()
        if msgspec.json.decode(data, type=_Bets).odds != FAIL_ODDS:
            _log.warning("%s is of a Seaway with other bets, its evidence begins anew", path)
            return None
        return msgspec.json.decode(data, type=Stored)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        _log.warning("%s cannot be read, its evidence begins anew: %s", path, error)
        return None


def save(rollouts: Path, endpoint: str, stored: Stored) -> None:
    """Durable when it returns. Raises `OSError`."""
    path = _path(rollouts, endpoint, stored.evidence.candidate, "evidence.json")
    _replace(path, msgspec.json.encode(stored), durable=True)


def publish(rollouts: Path, endpoint: str, candidate: int, judgement: Judgement) -> None:
    """Make it what `latest` answers. Raises `OSError`."""
    path = _path(rollouts, endpoint, candidate, "judgement.json")
    _replace(path, msgspec.json.encode(judgement), durable=False)


def latest(rollouts: Path, endpoint: str, candidate: int) -> Judgement | None:
    """The newest Judgement of a rollout; None where there is none."""
    path = _path(rollouts, endpoint, candidate, "judgement.json")
    try:
        return msgspec.json.decode(path.read_bytes(), type=Judgement)
    except (OSError, msgspec.DecodeError):
        return None


def append(rollouts: Path, endpoint: str, candidate: int, judgement: Judgement) -> None:
    """Keep one more look. Raises `OSError`."""
    path = _path(rollouts, endpoint, candidate, "looks.jsonl")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(msgspec.json.encode(judgement) + b"\n")


def looks(rollouts: Path, endpoint: str, candidate: int) -> tuple[Judgement, ...]:
    """The looks that are kept, oldest first; damaged lines are left out. Their words are "" but where a verdict changed."""
    return tuple(_looks(_path(rollouts, endpoint, candidate, "looks.jsonl")))


def forget_after(rollouts: Path, endpoint: str, candidate: int, through_s: int) -> None:
    """Drop the looks after a second: the evidence that goes on from there makes them again. Raises `OSError`."""
    path = _path(rollouts, endpoint, candidate, "looks.jsonl")
    if path.exists():
        kept = [msgspec.json.encode(one) + b"\n" for one in _looks(path) if one.through_s <= through_s]
        _replace(path, b"".join(kept), durable=False)


def sweep(rollouts: Path, endpoints: Collection[str], now_s: float) -> None:
    """Remove the files of old rollouts, and those of endpoints that are not among `endpoints` once they are old."""
    for folder in rollouts.glob("*/"):
        files: dict[int, list[Path]] = {}
        for path in folder.iterdir():
            name = path.name.partition(".")[0]
            if name.isdecimal():
                files.setdefault(int(name), []).append(path)
        newest = sorted(files, reverse=True)
        for place, number in enumerate(newest):
            for path in files[number]:
                gone = folder.name not in endpoints and _age_s(path, now_s) > KEEP_DELETED_S
                if place >= KEEP or gone:
                    path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # not empty
            folder.rmdir()


def _looks(path: Path) -> Iterable[Judgement]:
    try:
        data = path.read_bytes()
    except OSError:
        return
    for line in data.splitlines():
        with contextlib.suppress(msgspec.DecodeError):  # torn by a kill
            yield msgspec.json.decode(line, type=Judgement)


def _path(rollouts: Path, endpoint: str, candidate: int, kind: str) -> Path:
    return rollouts / endpoint / f"{candidate}.{kind}"


def _age_s(path: Path, now_s: float) -> float:
    try:
        return now_s - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _replace(path: Path, data: bytes, *, durable: bool) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    with part.open("wb") as file:
        file.write(data)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    part.replace(path)

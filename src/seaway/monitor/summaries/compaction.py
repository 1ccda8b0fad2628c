"""Old windows become fewer: minutes are merged into hours, hours into days. Called by the control process alone.

Killed at any point it neither counts twice nor loses: the merged file is durable before what it names is removed, and
until then readers leave out what a merged file names.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Final

import msgspec

from seaway.monitor.summaries import windows
from seaway.monitor.summaries.windows import SPANS_S, Damaged, Window, WindowFile

MINUTES_KEPT_S: Final = 2 * 3600
"""An hour is merged so long after its end."""
HOURS_KEPT_S: Final = 7 * 86_400
DAYS_KEPT_S: Final = 400 * 86_400
UNMERGED_KEPT_S: Final = 26 * 3600
"""Where no control process merges, workers remove their minutes after this."""
_DAMAGED_KEPT_S: Final = {"minute": HOURS_KEPT_S, "hour": DAYS_KEPT_S, "day": DAYS_KEPT_S}
_LEFT_BEHIND_S: Final = 3600


class Compacted(msgspec.Struct, frozen=True):
    """What one round did: files written and removed, and the paths of damaged ones met."""

    written: int = 0
    removed: int = 0
    damaged: tuple[str, ...] = ()


class _Round:
    """One directory's round."""

    def __init__(self, where: Path, now_s: float) -> None:
        self.where = where
        self.now_s = now_s
        self.written = self.removed = 0
        self.damaged: set[str] = set()
        self._loaded: dict[str, Window | None] = {}

    def window(self, name: str) -> Window | None:
        """None where it is damaged or gone."""
        if name not in self._loaded:
            try:
                self._loaded[name] = windows.load(self.where / name)
            except FileNotFoundError:
                self._loaded[name] = None
            except Damaged:
                self._loaded[name] = None
                self.damaged.add(name)
        return self._loaded[name]

    def sources(self, names: list[str]) -> set[str]:
        """All files that these hold."""
        found = (self.window(name) for name in names)
        return {source for one in found if one is not None for source in one.sources}

    def remove(self, names: list[str]) -> None:
        self.removed += windows.remove(self.where, names)


def compact(root: str | Path, now_s: float) -> Compacted:
    """Merge and remove what is due, of every endpoint; blocking, idempotent. To be called now and then by one process.

    Raises `OSError` where a merged file cannot be written: nothing is lost then, and the next call tries again.
    """
    written = removed = 0
    damaged: list[str] = []
    for base in sorted(Path(root).glob(f"*/{windows.DIRECTORY}")):
        for places in windows.revisions(root, base.parent.name).values():
            for where in places:
                one = _Round(where, now_s)
                _merge_level(one, "minute", "hour", MINUTES_KEPT_S)
                _merge_level(one, "hour", "day", HOURS_KEPT_S)
                _drop(one)
                written, removed = written + one.written, removed + one.removed
                damaged += [str(where / name) for name in sorted(one.damaged)]
    return Compacted(written, removed, tuple(damaged))


def _merge_level(one: _Round, kind: str, into: str, kept_s: float) -> None:
    span_s = SPANS_S[into]
    listed = windows.files(one.where)
    parts: dict[int, list[str]] = defaultdict(list)
    for file in listed:
        if file.kind == kind:
            parts[file.start_s // span_s * span_s].append(file.name)
    for start_s, names in parts.items():
        wholes = [file.name for file in listed if file.kind == into and file.start_s == start_s]
        above = [file.name for file in listed if SPANS_S[file.kind] > span_s and file.covers(start_s)]
        held = one.sources([*wholes, *above])
        one.remove([name for name in (*names, *wholes) if name in held])  # left by a round that was killed
        names = [name for name in names if name not in held]
        wholes = [name for name in wholes if name not in held]
        if start_s + span_s + kept_s <= one.now_s:
            _merge(one, into, start_s, names, wholes, listed)


def _merge(
    one: _Round, into: str, start_s: int, names: list[str], wholes: list[str], listed: list[WindowFile]
) -> None:
    """Write the window of `into` from parts that came since, and from what it held before."""
    fresh = [(name, window) for name in names if (window := one.window(name)) is not None]
    if not fresh:
        return
    old = [(name, window) for name in wholes if (window := one.window(name)) is not None]
    merged = windows.merge(window for _, window in (*old, *fresh))
    # what a part holds and could not be removed would be counted again once the part is gone
    left = one.sources(names) & {file.name for file in listed}
    sources = {name for name, _ in (*old, *fresh)} | one.sources([name for name, _ in old]) | left
    window = msgspec.structs.replace(
        merged, start_s=start_s, span_s=SPANS_S[into], sources=tuple(sorted(sources))
    )
    path = one.where / windows.merged_name(into, start_s, _generation(one, into, start_s, listed))
    windows.write(path, window, durable=True)
    one.written += 1
    one.remove([name for name, _ in (*old, *fresh)])


def _generation(one: _Round, kind: str, start_s: int, listed: list[WindowFile]) -> int:
    """A number that no file of this window has, nor had as far as a day names it as one that it holds."""
    day = start_s // SPANS_S["day"] * SPANS_S["day"]
    days = [file.name for file in listed if file.kind == "day" and file.start_s == day]
    known = {file.name for file in listed} | one.sources(days)
    generation = 0
    while windows.merged_name(kind, start_s, generation) in known:
        generation += 1
    return generation


def _drop(one: _Round) -> None:
    """Remove what is older than it is kept, and what killed writers left."""
    for file in windows.files(one.where):
        if file.end_s + _DAMAGED_KEPT_S[file.kind] <= one.now_s:
            one.remove([file.name])
    for path in one.where.glob(f"{windows.TEMPORARY}*"):
        try:
            old = path.stat().st_mtime + _LEFT_BEHIND_S <= one.now_s
        except FileNotFoundError:
            continue
        if old:
            one.remove([path.name])
    try:
        one.where.rmdir()  # only where it is empty: its writers make it again
    except OSError:
        pass


def drop_minutes(where: Path, now_s: float) -> int:
    """Remove minutes that nobody merged in time; called by the workers, so that space is bounded without a control
    process too. How many there were."""
    old = [file for file in windows.files(where) if file.kind == "minute"]
    return windows.remove(where, [file.name for file in old if file.end_s + UNMERGED_KEPT_S <= now_s])

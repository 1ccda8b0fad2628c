"""How a `Watch` looks in a terminal: a header, then sections, each given as many lines as there is room for.

Pure: the same values and size give the same lines. What colours say is also said in words or by the mark `!`. A section
more is one function in `watch_sections` (or a module like `watch_rollout`) and one line in `_sections`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.console import Group
from rich.text import Text

from seaway.cli import output, watch_figures, watch_rollout, watch_sections
from seaway.cli.watch_model import Watch
from seaway.cli.watch_sections import Section
from seaway.core import times

WIDE: Final = 112
"""From this width on, some sections stand side by side."""
_AIRY: Final = 30
"""From this height on, an empty line stands before each section."""
_LEFT: Final = 76
_GAP: Final = 3
_NOTICES: Final = 4
_NAMED: Final = 6


def render(view: Watch, width: int, height: int | None = None) -> Group:
    """The picture, at most `width` columns and `height` lines; without a height, as long as it needs."""
    lines = [watch_figures.fit(line, width) for line in _header(view, width)]
    sections = _sections(view, width)
    gap = 1 if height is None or height >= _AIRY else 0
    rooms = _rooms(sections, None if height is None else height - len(lines), gap)
    for section, room in zip(sections, rooms, strict=True):
        if room:
            lines += [Text()] * gap + [watch_figures.fit(line, width) for line in section.draw(room)]
    return Group(*lines[:height])


def _sections(view: Watch, width: int) -> list[Section]:
    """From top to bottom."""
    wide = width >= WIDE
    left = _LEFT if wide else width
    right = width - _LEFT - _GAP if wide else width
    traffic = watch_sections.traffic(view, width)
    figures = watch_sections.figures(view, left)
    revisions = watch_sections.revisions(view, width)
    answers = watch_sections.answers(view, right)
    workers = watch_sections.workers(view, right)
    events = watch_sections.events(view, left)
    rollout = watch_rollout.rollout(view, width)
    top = [traffic] if rollout is None else [traffic, rollout]
    if wide:
        return [*top, _beside(figures, answers), revisions, _beside(events, workers)]
    return [*top, figures, revisions, answers, workers, events]


def _beside(left: Section, right: Section) -> Section:
    def draw(room: int) -> list[Text]:
        first, second = left.draw(room), right.draw(room)
        lines = []
        for place in range(max(len(first), len(second))):
            line = watch_figures.fit(first[place], _LEFT) if place < len(first) else Text()
            if place < len(second):
                line.append(" " * (_LEFT + _GAP - line.cell_len))
                line.append_text(second[place])
            lines.append(line)
        return lines

    return Section(
        wanted=max(left.wanted, right.wanted),
        good=max(left.good, right.good),
        least=max(left.least, right.least),
        draw=draw,
        worth=max(left.worth, right.worth),
    )


def _rooms(sections: Sequence[Section], height: int | None, gap: int) -> list[int]:
    """Lines for each section, the empty ones before it not counted.

    Where there are too few, all shrink to what is good first, then to the least, then sections go, each time those that
    are worth least before the others.
    """
    rooms = [section.wanted for section in sections]
    if height is None:
        return rooms
    order = sorted(range(len(sections)), key=lambda place: sections[place].worth)
    for sizes in ([s.good for s in sections], [s.least for s in sections], [0] * len(sections)):
        for place in order:
            over = sum(rooms) + gap * sum(room > 0 for room in rooms) - height
            if over <= 0:
                return rooms
            room = max(min(sizes[place], rooms[place]), rooms[place] - over)
            rooms[place] = room if room >= sections[place].least else 0
    return rooms


def _header(view: Watch, width: int) -> list[Text]:
    live = next((revision for revision in view.revisions if revision.live), None)
    first = Text.assemble((watch_figures.short(view.endpoint, width // 2), "bold"), f"  {view.phase}")
    if live is not None:
        first.append(
            f"  revision {live.number}  {watch_figures.clean(live.ref or '')}  {live.digest[:19]}", "dim"
        )
    facts = [_workers(view)]
    if view.live_since_s is not None:
        facts.append(f"live for {times.span(view.now_s - view.live_since_s)}")
    if view.sampled_percent < 100.0:
        facts.append(f"summaries of {watch_figures.percent(view.sampled_percent)} of the requests")
    facts.append(f"counted up to {watch_figures.clock(view.through_s + 1)} UTC")
    return [first, Text(" · ".join(facts)), *_notices(view)[:_NOTICES]]


def _workers(view: Watch) -> str:
    ready = sum(worker.state == "ready" for worker in view.workers)
    memory = output.human_bytes(sum(worker.memory_bytes for worker in view.workers))
    every = len({*(w.slot for w in view.workers), *(m.slot for m in view.missing)})
    noun = "worker" if every == 1 else "workers"
    return (
        f"{every} {noun} ready, {memory}" if ready == every else f"{ready} of {every} {noun} ready, {memory}"
    )


def _notices(view: Watch) -> list[Text]:
    """What must not be overlooked, the gravest first."""
    notices = []
    if view.silent_since_s is not None:
        ago = times.span(view.now_s - view.silent_since_s)
        since = watch_figures.clock(view.silent_since_s)
        notices.append(_notice(f"no answer since {since} UTC ({ago}), all below is of then: {view.silence}"))
    if view.missing:
        slots = ", ".join(str(one.slot) for one in view.missing[:_NAMED])
        if len(view.missing) > _NAMED:
            slots += f" and {len(view.missing) - _NAMED} more"
        notices.append(_notice(f"not in these figures: worker {slots} ({view.missing[0].why})"))
    if view.failed is not None and not watch_rollout.tells_of(view, view.failed):
        notices.append(_notice(f"revision {view.failed} failed: {view.reason}"))
    notices += [_notice(f"cannot load {text}") for text in view.failing]
    notices += [_notice(f"cannot keep {text}") for text in view.unkept]
    rolling = view.rollout is not None and view.rollout.state.open
    if view.desired is not None and view.desired != view.live and not rolling:
        first = f": opening {', '.join(view.opening)}, each of its bytes is checked" if view.opening else ""
        notices.append(Text(watch_figures.clean(f"  revision {view.desired} is on its way{first}")))
    return notices


def _notice(text: str) -> Text:
    return Text(f"! {watch_figures.clean(text)}", "red")

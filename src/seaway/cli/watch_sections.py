"""The sections of `seaway watch`, each drawn into the lines that `cli.watch_view` gives it."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from rich.text import Text

from seaway.cli import history_view, output
from seaway.cli import watch_figures as figure
from seaway.cli.watch_answers import Answers
from seaway.cli.watch_model import RevisionView, Watch
from seaway.core.answers import AnswerKind
from seaway.core.events import Event, EventKind

_BUSY: Final = 102
"""From this width on, the table of revisions has all its columns."""
_WORKER: Final = 36
_CLASSES: Final = 5
_SIDE_BY_SIDE: Final = 3
_BAD: Final = {"failed", "overdue", "refused", "invalid"}
_EVENTS_IN_RED: Final = {
    EventKind.REVISION_FAILED,
    EventKind.ACTION_REFUSED,
    EventKind.ROLLOUT_ROLLED_BACK,
    EventKind.ROLLOUT_ABORTED,
}


class Section(NamedTuple):
    """`draw(room)` gives at most `room` lines, which is between `least` and `wanted`. Where there is too little room,
    sections shrink to `good` first; the more `worth`, the longer one stays."""

    wanted: int
    good: int
    least: int
    draw: Callable[[int], list[Text]]
    worth: int


def traffic(view: Watch, width: int) -> Section:
    """Requests of each second as bars; a `!` below those seconds in which some went wrong."""
    series, bad = view.traffic[-width:], view.bad[-width:]
    said = f"requests a second in the last {len(series)} s"
    if not any(series):
        return Section(2, 2, 2, lambda room: [_title("TRAFFIC", said), Text("  none")], worth=5)
    title = _title("TRAFFIC", f"{said}, at most {figure.count(max(series))}")
    marks = 1 if any(bad) else 0

    def draw(room: int) -> list[Text]:
        lines = [title, *(Text(bars, "cyan") for bars in figure.bars(series, room - 1 - marks))]
        if marks:
            lines.append(Text("".join("!" if wrong else " " for wrong in bad).rstrip(), "red"))
        return lines

    return Section(4 + marks, 2 + marks, 2 + marks, draw, worth=5)


def figures(view: Watch, width: int) -> Section:
    """What became of the requests, and how long they took: now, and over some minutes."""
    heads = (f"{view.now.seconds} s", "%", f"{view.recent.seconds // 60} min", "%")
    names = ("failed", "refused", "invalid", "rejected", "overdue", "cancelled")

    def draw(room: int) -> list[Text]:
        found = [name for name in names if getattr(view.recent, name)]
        shown = [*found, *(name for name in names if name not in found)][: room - 2]
        rows = [_requests(view), *(_outcome(view, name) for name in names if name in shown)]
        left = figure.columns(("REQUESTS", *heads), rows)
        times = [
            (f"p{q}", figure.ms(getattr(view.now, f"p{q}_ms")), figure.ms(getattr(view.recent, f"p{q}_ms")))
            for q in (50, 90, 99)
        ]
        right = figure.columns(("LATENCY ms", heads[0], heads[2]), times)
        for lines in (left, right):
            lines[0].stylize("not dim bold", 0, len("LATENCY ms"))
        wide = max(line.cell_len for line in left) + 4
        for line, more in zip(left, right, strict=False):
            line.append(" " * (wide - line.cell_len))
            line.append_text(more)
        return left

    wrong = sum(1 for name in names if getattr(view.recent, name))
    return Section(2 + len(names), 2 + max(3, wrong), 5, draw, worth=6)


def _requests(view: Watch) -> Sequence[str]:
    return "  ended", f"{figure.rate(view.now.per_s)}/s", "", figure.count(view.recent.requests), ""


def _outcome(view: Watch, name: str) -> Sequence[str | Text]:
    cells: list[str | Text] = []
    for window in (view.now, view.recent):
        number = getattr(window, name)
        style = "red" if number and name in _BAD else ""
        cells += [Text(figure.count(number), style), Text(figure.share(number, window.requests), style)]
    wrong = name in _BAD and getattr(view.recent, name)
    return [Text(f"{'!' if wrong else ' '} {name}", "red" if wrong else ""), *cells]


def revisions(view: Watch, width: int) -> Section:
    """One line for each revision: its part of the traffic, and how it is run."""
    running = [revision.running for revision in view.revisions if revision.running is not None]
    since = "since loading" if any(run.since_loading for run in running) else f"of {view.now.seconds} s"
    title = _title(
        "REVISIONS", f"the last {view.now.seconds} s, times in ms; batch, queue, run: means {since}"
    )
    heads = ["revision", "share", "req/s", "errors", "p50", "p99", "batch", "queue", "run", "lane"]
    if width >= _BUSY:
        heads += ["open", "memory", "version"]

    def draw(room: int) -> list[Text]:
        chosen = _busiest(view.revisions, room - 2)
        rows = [_revision(one)[: len(heads)] for one in view.revisions if one in chosen]
        if not rows:
            return [title, Text("  none is loaded")]
        lines = [title, *figure.columns(heads, rows)]
        return (
            lines
            if len(chosen) == len(view.revisions)
            else _with_rest(lines, len(view.revisions) - len(chosen))
        )

    wanted = 2 + max(1, len(view.revisions))
    return Section(wanted, min(wanted, 8), min(wanted, 4), draw, worth=4)


def _busiest(found: Sequence[RevisionView], room: int) -> list[RevisionView]:
    if len(found) <= room:
        return list(found)
    order = sorted(found, key=lambda one: (not one.live, -one.recent.requests, -one.number))
    return order[: max(1, room - 1)]


def _with_rest(lines: list[Text], more: int) -> list[Text]:
    return [*lines, Text(f"  … and {more} more", "dim")]


def _revision(one: RevisionView) -> Sequence[str | Text]:
    bad = one.now.failed + one.now.refused + one.now.invalid
    errors = Text(f"{'! ' if bad else ''}{figure.share(bad, one.now.requests)}", "red" if bad else "")
    run = one.running
    known = (
        ("-", "-", "-", "-", "-", "-")
        if run is None
        else (
            "-" if run.batch_rows is None else figure.rate(run.batch_rows),
            figure.ms(run.queue_ms),
            figure.ms(run.run_ms),
            run.lane,
            figure.count(run.in_flight),
            output.human_bytes(run.memory_bytes),
        )
    )
    return [
        f"{one.number} live" if one.live else f"{one.number}",
        figure.percent(one.share_percent) if one.now.requests else "-",
        figure.rate(one.now.per_s),
        errors,
        figure.ms(one.now.p50_ms),
        figure.ms(one.now.p99_ms),
        *known,
        figure.short(one.ref or one.digest, 19),
    ]


def answers(view: Watch, width: int) -> Section:
    """The shares of the classes, or where the numbers lie; side by side where several revisions answer."""
    found = [(one, one.answers) for one in view.revisions if one.answers is not None]
    found = sorted(found, key=lambda pair: (not pair[0].live, -pair[0].recent.requests))[:_SIDE_BY_SIDE]
    minutes = f"the last {view.recent.seconds // 60} min"
    read = [said for _, said in found if said is not None]
    if not read:
        return Section(2, 2, 2, lambda room: [_title("ANSWERS", minutes), Text("  none counted")], worth=2)
    rows, unread = sum(said.rows for said in read), sum(said.unread for said in read)
    part = f", {figure.share(rows, rows + unread)} of all" if unread else ""
    title = _title("ANSWERS", f"{minutes}: {figure.count(rows)} rows{part}")
    if read[0].kind is AnswerKind.NUMBER:
        lines = figure.columns(
            ("revision", "p1", "median", "p99", "NaN, inf"),
            [_numbers(one, said) for one, said in found if said],
        )
    elif len(read) == 1:
        lines = _shares(read[0], width)
    else:
        lines = _compared([(one, said) for one, said in found if said is not None], width)
    wanted = 1 + len(lines)
    return Section(wanted, wanted, min(wanted, 4), lambda room: [title, *lines][:room], worth=3)


def _numbers(one: RevisionView, said: Answers) -> Sequence[str | Text]:
    lie = said.numbers
    where = ("-", "-", "-") if lie is None else tuple(map(figure.number, (lie.p1, lie.median, lie.p99)))
    nothing = figure.percent(said.no_answer_percent)
    return [
        f"{one.number} live" if one.live else f"{one.number}",
        *where,
        Text(nothing, "red" if said.no_answer_percent else ""),
    ]


def _shares(said: Answers, width: int) -> list[Text]:
    names = [figure.short(share.name, max(8, width // 3)) for share in said.classes[:_CLASSES]]
    longest = max(Text(name).cell_len for name in names)
    room = max(4, min(40, width - longest - 12))
    lines = []
    for name, share in zip(names, said.classes, strict=False):
        pad = " " * (longest - Text(name).cell_len)
        bar = figure.bar(share.percent / 100.0, room)
        lines.append(Text.assemble(f"  {name}{pad} ", f"{figure.percent(share.percent):>7}  ", (bar, "cyan")))
    rest = said.classes[_CLASSES:]
    if rest:
        percent = figure.percent(sum(share.percent for share in rest))
        lines.append(Text(f"  and {len(rest)} more: {percent}", "dim"))
    return lines


def _compared(found: Sequence[tuple[RevisionView, Answers]], width: int) -> list[Text]:
    total: dict[str, int] = {}
    for _, said in found:
        for share in said.classes:
            total[share.name] = total.get(share.name, 0) + share.rows
    names = sorted(total, key=lambda name: (-total[name], name))[:_CLASSES]
    by_name = [{share.name: share.percent for share in said.classes} for _, said in found]
    rows = [
        [
            f"  {figure.short(name, max(8, width // 3))}",
            *(figure.percent(own.get(name, 0.0)) for own in by_name),
        ]
        for name in names
    ]
    return figure.columns(("  answer", *(f"rev {one.number}" for one, _ in found)), rows)


def workers(view: Watch, width: int) -> Section:
    """Each worker's state and memory, several on a line."""
    cells = []
    for worker in view.workers:
        text = f"  {worker.slot}  {worker.state}  {output.human_bytes(worker.memory_bytes)}  {worker.in_flight} open"
        cells.append(Text(text, "" if worker.state == "ready" else "yellow"))
    known = {worker.slot for worker in view.workers}
    cells += [Text(f"! {one.slot}  gives no answer", "red") for one in view.missing if one.slot not in known]
    each = max(1, width // _WORKER)
    rows = [cells[start : start + each] for start in range(0, len(cells), each)] or [[Text("  none answers")]]

    def draw(room: int) -> list[Text]:
        lines = [_title("WORKERS", "memory, open requests")]
        for row in rows if len(rows) < room else rows[: room - 2]:
            line = Text()
            for place, cell in enumerate(row):
                line.append(" " * (place * _WORKER - line.cell_len))
                line.append_text(figure.fit(cell, _WORKER - 1))
            lines.append(line)
        return lines if len(rows) < room else _with_rest(lines, len(cells) - (room - 2) * each)

    wanted = 1 + len(rows)
    return Section(wanted, min(wanted, 4), 2, draw, worth=2)


def events(view: Watch, width: int) -> Section:
    """What was done to the endpoint, the newest first."""
    lines = [_event(event, view.now_s) for event in reversed(view.events)] or [Text("  none")]
    wanted = 1 + len(lines)
    return Section(wanted, min(wanted, 3), 2, lambda room: [_title("EVENTS", "UTC"), *lines][:room], worth=1)


def _event(event: Event, now_s: float) -> Text:
    today = now_s - datetime.datetime.fromisoformat(event.at).timestamp() < 86_400
    when = event.at[11:19] if today else event.at[5:16].replace("T", " ")
    what = history_view.SAID[event.kind]
    revision = "" if event.revision is None else f"  {event.revision} {event.ref or ''}"
    red = event.kind in _EVENTS_IN_RED
    why = f"  {event.message}" if red else f"  by {event.principal}"
    return Text(
        f"{'!' if red else ' '} {when}  {what}{figure.clean(revision)}{figure.clean(why)}",
        "red" if red else "",
    )


def _title(name: str, more: str) -> Text:
    return Text.assemble((name, "bold"), (f"  {more}", "dim"))

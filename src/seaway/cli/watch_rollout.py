"""The section of a rollout in `seaway watch`: its split and step, and each check with its evidence as a bar.

A bar with a margin shows where the harm may still lie (`━`), from what is better to what is worse; `┃` is the margin. It
begins whole and shrinks as evidence comes: wholly to the left of the margin the check has passed, wholly to the right it
has failed. A check without an interval shows how much of the evidence for a verdict is there.
"""

from __future__ import annotations

import math
import textwrap
from typing import Final

from rich.text import Text

from seaway.cli import rollouts_view
from seaway.cli import watch_figures as figure
from seaway.cli.watch_model import Watch
from seaway.cli.watch_sections import Section
from seaway.control.rollouts.views import RolloutStatus
from seaway.core import times
from seaway.core.checks import Verdict
from seaway.core.evidence.combining import ALPHA_PASS
from seaway.core.rollouts.judgement import CheckJudgement
from seaway.core.rollouts.state import RolloutPhase

ENDED_S: Final = 600.0
"""So long after its end it is still shown."""
_SURE: Final = 5
"""So many checks have a line before any section of less worth has."""
_LEAST_LINE: Final = 20
_LEAST_BAR: Final = 12
_MOST_BAR: Final = 48
_STYLES: Final = {
    Verdict.PASSED: "green",
    Verdict.FAILED: "red",
    Verdict.ERRORED: "yellow",
    Verdict.INCONCLUSIVE: "",
}
_ORDER: Final = (Verdict.FAILED, Verdict.ERRORED, Verdict.INCONCLUSIVE, Verdict.PASSED)


def rollout(view: Watch, width: int) -> Section | None:
    """None where there is none, or its end is long ago."""
    found = view.rollout
    if found is None or not tells_of(view, found.state.candidate):
        return None
    shown: RolloutStatus = found
    checks = () if found.judgement is None else found.judgement.checks
    head = [_title(found, view.now_s), _split(view, found, width)]
    cut = [Text(f"  {line}") for line in _said(found)]
    whole = [Text(part) for line in _said(found) for part in _wrapped(line, width)]

    def draw(room: int) -> list[Text]:
        lines = head[:room]
        left = room - len(lines)
        first = cut[: 1 if left > 1 else 0]
        words = next((said for said in (whole, cut) if len(checks) + len(said) <= left), first)
        fits = max(0, left - len(words))
        ordered = sorted(checks, key=lambda one: _ORDER.index(one.verdict))[:fits]
        kept = [one for one in checks if one in ordered]
        return [*lines, *_checks(kept, shown, width), *words][:room]

    wanted = len(head) + len(checks) + len(whole)
    least = min(wanted, len(head) + min(len(checks), _SURE) + 1)
    return Section(wanted, min(wanted, len(head) + len(checks) + 1), least, draw, worth=7)


def tells_of(view: Watch, candidate: int) -> bool:
    """Whether the section is there, and about this revision."""
    if view.rollout is None or view.rollout.state.candidate != candidate:
        return False
    state = view.rollout.state
    return state.judged or (state.ended_s is not None and view.now_s - state.ended_s < ENDED_S)


def interval(check: CheckJudgement, width: int) -> str:
    """The bar of a check that has a margin and whose harm is bounded, `width` columns."""
    margin = check.margin or 0.0
    ends = [abs(end) for end in (check.low, check.high) if end is not None]
    reach = 2 * margin if margin > 0 else max([*ends, 1e-3]) * 1.25
    first = -margin if margin > 0 else -reach

    def place(value: float) -> int:
        part = (value - first) / (reach - first)
        return min(width - 1, max(0, math.floor(part * width)))

    start = 0 if check.low is None else place(check.low)
    end = width - 1 if check.high is None else place(check.high)
    cells = ["━" if start <= at <= end else "·" for at in range(width)]
    cells[place(margin)] = "┃"
    return "".join(cells)


def evidence(check: CheckJudgement, alpha: float, width: int) -> tuple[str, str]:
    """How much of the evidence is there, as a bar, and of which verdict: the one that is nearer."""
    passing = check.log_pass / -math.log(ALPHA_PASS)
    failing = check.log_fail / -math.log(alpha * check.weight) if check.weight > 0 else 0.0
    part, word = max((passing, "passed"), (failing, "failed"))
    return figure.bar(min(1.0, max(0.0, part)), width), word


def _title(found: RolloutStatus, now_s: float) -> Text:
    state = found.state
    said = [f"revision {state.candidate} against {state.stable}", rollouts_view.in_words(state.phase)]
    if state.open and state.step >= 0:
        said.append(f"step {state.step + 1} of {len(found.spec.steps)}")
        if state.since_s is not None and state.phase is RolloutPhase.RUNNING:
            hold_s = found.spec.hold_s(state.step)
            said.append(f"held {times.span(min(now_s - state.since_s, hold_s))} of {times.span(hold_s)}")
    bad = state.phase in (RolloutPhase.ROLLED_BACK, RolloutPhase.ABORTED)
    return Text.assemble(("ROLLOUT", "bold"), (f"  {' · '.join(said)}", "red" if bad else "dim"))


def _split(view: Watch, found: RolloutStatus, width: int) -> Text:
    state = found.state
    has_all = state.phase in (RolloutPhase.BAKING, RolloutPhase.PROMOTED)
    wanted = state.percent if state.open else 100.0 if has_all else 0.0
    came = next((one.share_percent for one in view.revisions if one.number == state.candidate), 0.0)
    said = f"  candidate  {wanted:g} % wanted, {figure.percent(came)} came"
    if found.waiting.next_percent is not None:
        said += f", next {found.waiting.next_percent:g} %"
        if found.waiting.next_s is not None and found.waiting.next_s > view.now_s:
            said += f" in {times.span(found.waiting.next_s - view.now_s)} at the earliest"
    room = min(_MOST_BAR, width - len(said) - 3)
    line = Text(said)
    if room >= _LEAST_BAR:
        line.append("  ")
        line.append(figure.bar(came / 100, room), "cyan")
    return line


def _said(found: RolloutStatus) -> list[str]:
    lines = []
    if found.state.judged:
        lines.append(f"waits for {figure.clean(found.waiting.words)}")
    elif found.state.why:
        lines.append(f"why: {figure.clean(found.state.why)}")
    if found.judgement is not None and found.judgement.guard is not None:
        lines.append(f"! not judged: {figure.clean(found.judgement.guard)}")
    return lines


def _wrapped(said: str, width: int) -> list[str]:
    """A sentence as lines: why a rollout ended must not be cut."""
    return textwrap.wrap(said, max(_LEAST_LINE, width), initial_indent="  ", subsequent_indent="    ")


def _checks(checks: list[CheckJudgement], found: RolloutStatus, width: int) -> list[Text]:
    if not checks:
        return []
    baking = found.judgement is not None and rollouts_view.in_bake(found, found.judgement)
    rows: list[list[str | Text]] = []
    for check in checks:
        style = _STYLES[check.verdict]
        mark = "!" if check.verdict in (Verdict.FAILED, Verdict.ERRORED) else " "
        advisory = not check.weight and not baking
        said = rollouts_view.verdict(check, baking=baking)
        verdict = Text(said + (" (advisory)" if advisory else ""), style)
        name = Text(f"{mark} {rollouts_view.title(check)}", style)
        seen = ("", "") if rollouts_view.unseen(check) else rollouts_view.rates(check)
        rows.append([name, verdict, *seen, _left(found, check)])
    lines = figure.columns(("",) * 5, rows, left=2)[1:]
    room = min(_MOST_BAR, width - max(line.cell_len for line in lines) - 2)
    wide = max(line.cell_len for line in lines)
    if room >= _LEAST_BAR:
        for line, check in zip(lines, checks, strict=True):
            line.append(" " * (wide - line.cell_len + 2))
            line.append_text(_bar(check, found.spec.alpha_share, room))
    return lines


def _bar(check: CheckJudgement, alpha: float, room: int) -> Text:
    style = _STYLES[check.verdict] or "cyan"
    if check.verdict is Verdict.ERRORED:
        return Text(figure.short(check.fault or check.words, room), style)
    if check.margin is not None and (check.low is not None or check.high is not None):
        return Text(interval(check, room), style)
    if rollouts_view.unseen(check) or (check.weight == 0 and check.log_pass <= 0):
        return Text()
    bar, word = evidence(check, alpha, room - len("of passed "))
    return Text.assemble((f"of {word} ", "dim"), (bar, style))


def _left(found: RolloutStatus, check: CheckJudgement) -> str:
    """About how long it still takes, while anything is awaited."""
    if not found.state.judged or check.verdict is not Verdict.INCONCLUSIVE or check.more_s is None:
        return ""
    return f"~{times.about(check.more_s)}"

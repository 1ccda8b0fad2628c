"""What `seaway explain ENDPOINT/NUMBER` says: how a rollout went, why, and what each check saw at its looks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from seaway.cli import output, rollouts_view
from seaway.cli.watch_figures import clock
from seaway.core.events import Event, EventKind

if TYPE_CHECKING:
    from seaway.control.rollouts import views
    from seaway.core.rollouts.judgement import CheckJudgement, Judgement

ROLLOUT: Final = re.compile(r"([a-z0-9][a-z0-9-]{0,62})/([1-9][0-9]{0,8})\Z")
"""How a rollout is called."""
MOST_LOOKS: Final = 12
"""Of each check, where its verdicts change less often than that."""
_ENDS: Final = {
    EventKind.ROLLOUT_PROMOTED: "promoted",
    EventKind.ROLLOUT_ROLLED_BACK: "rolled back",
    EventKind.ROLLOUT_ABORTED: "aborted",
    EventKind.ROLLOUT_SUPERSEDED: "superseded by a later deploy",
}


def print_record(found: views.RolloutRecord) -> None:
    """The whole account."""
    end = next((event for event in found.events if event.kind in _ENDS), None)
    name = f"[bold]{found.endpoint}/{found.candidate.number}[/]"
    output.say(f"{name}  {'not over' if end is None else _ENDS[end.kind]}")
    stable = "" if found.stable is None else f", against revision {found.stable.number} ({found.stable.ref})"
    output.say(
        f"revision {found.candidate.number} ({found.candidate.ref}, {found.candidate.digest[:19]}){stable}"
    )
    why = None if end is None else end.details.get("why") or end.message
    if why:
        output.say(f"why: {output.plain(why)}")
    output.say("")
    output.table(None, ("when (UTC)", "who", "what"), [_event(event) for event in found.events])
    if not found.looks:
        output.say("\nno look at its evidence is kept")
        return
    last = found.looks[-1]
    output.say(
        f"\n[bold]What each check saw[/]  {last.looks:,} {'look' if last.looks == 1 else 'looks'}, alpha {found.spec.alpha} together"
    )
    for check in dict.fromkeys(one.check for look in found.looks for one in look.checks):
        _print_check(found, check)


def thinned(looks: Sequence[Judgement], check: str, most: int = MOST_LOOKS) -> list[Judgement]:
    """The looks that tell a check's story: its first and last, each change of verdict or step, and some between.

    Between them they stand closer at the beginning, where evidence moves most.
    """
    own = [look for look in looks if look.check(check) is not None]
    if not own:
        return []
    told = {0, len(own) - 1}
    for place in range(1, len(own)):
        before, after = own[place - 1].check(check), own[place].check(check)
        assert before is not None and after is not None
        if before.verdict is not after.verdict or own[place - 1].step != own[place].step:
            told.add(place)
    place = 1
    while len(told) < most and place < len(own):
        told.add(place)
        place *= 2
    return [own[place] for place in sorted(told)]


def _event(event: Event) -> tuple[str, str, str]:
    what = event.kind.value.removeprefix("rollout_").replace("_", " ")
    said = f"{what}: {event.message}" if event.message else what
    reason = event.details.get("reason")
    when = event.at[:19].replace("T", " ")
    return when, event.principal, said if reason is None else f"{said} ({reason})"


def _print_check(found: views.RolloutRecord, check: str) -> None:
    looks = thinned(found.looks, check)
    rows = list(_rows(found, looks, check))
    output.say(f"\n[bold]{check}[/]")
    columns = ("  at (UTC)", "share", "verdict", "candidate", "stable", "harm", "margin")
    output.table(None, columns, [row for row, _ in rows])
    for row, words in rows:
        if words:
            output.say(f"{row[0]}  {output.plain(words)}")


def _rows(
    found: views.RolloutRecord, looks: Sequence[Judgement], check: str
) -> Iterator[tuple[tuple[object, ...], str]]:
    shares = found.spec.steps_percent
    for look in looks:
        one: CheckJudgement | None = look.check(check)
        assert one is not None
        share = f"{shares[look.step]:g} %" if 0 <= look.step < len(shares) else "-"
        margin = "-" if one.margin is None else rollouts_view.points(one.margin)
        row = (f"  {clock(look.through_s)}", share, one.verdict.value, *rollouts_view.rates(one))
        yield (*row, rollouts_view.harm(one), margin), one.words

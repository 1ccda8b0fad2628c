"""What `seaway explain ENDPOINT/NUMBER` says: how a rollout went, why, and what each check saw at its looks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from seaway.cli import history_view, output, rollouts_view
from seaway.core.checks import Verdict
from seaway.core.events import ROLLOUT_ENDS, Event, EventKind, timestamp

if TYPE_CHECKING:
    from seaway.control.rollouts import views
    from seaway.core.rollouts.judgement import CheckJudgement, Judgement

ROLLOUT: Final = re.compile(r"([a-z0-9][a-z0-9-]{0,62})/([1-9][0-9]{0,8})\Z")
"""How a rollout is called."""
MOST_LOOKS: Final = 12
"""Of each check, where its verdicts change less often than that."""
_DAY_S: Final = 86_400
_SHARES: Final = (EventKind.ROLLOUT_STEPPED, EventKind.TRAFFIC_SET)
"""Events that give the candidate another share."""
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
    output.say(f"{name}  {_standing(found) if end is None else _ENDS[end.kind]}")
    stable = "" if found.stable is None else f", against revision {found.stable.number} ({found.stable.ref})"
    output.say(
        f"revision {found.candidate.number} ({found.candidate.ref}, {found.candidate.digest[:19]}){stable}"
    )
    why = None if end is None else end.details.get("why") or end.message
    if why:
        output.say(f"why: {output.plain(why)}")
    for line in _gate(found.events):
        output.say(output.plain(line))
    output.say("")
    output.table(None, ("when (UTC)", "who", "what"), [_event(event) for event in found.events])
    _print_evidence(found.events)
    if not found.looks:
        output.say("\nno look at its evidence is kept")
        return
    last = found.looks[-1]
    output.say(
        f"\n[bold]What each check saw[/]  {last.looks:,} {'look' if last.looks == 1 else 'looks'}, alpha {found.spec.alpha} together\n"
        "rows count from the beginning of the rollout; what passes, passes on the requests of its step"
    )
    for check in dict.fromkeys(one.check for look in found.looks for one in look.checks):
        _print_check(found, check)


def _gate(events: Sequence[Event]) -> Iterator[str]:
    """That a person deployed it although its gate had not passed, and why."""
    for event in events:
        reason = event.details.get("override")
        if event.kind is EventKind.DEPLOY_REQUESTED and reason is not None:
            failed = event.details.get("failed_checks")
            what = f" ({failed})" if failed else ""
            verdict = event.details.get("gate", Verdict.FAILED)
            yield f"gate: {verdict}{what}; {event.principal} deployed it all the same: {reason}"


def _print_evidence(events: Sequence[Event]) -> None:
    """What the checks said at each change of the share."""
    for event in events:
        said = _evidence(event)
        if event.kind not in _SHARES or not said:
            continue
        share = event.details.get("percent", "")
        output.say(f"\n[bold]Why it took {share} %[/]  {history_view.moment(event.at)}")
        for line in said:
            output.say(f"  {output.plain(line)}")


def _evidence(event: Event) -> list[str]:
    """The sentence of each check at an event; of one that has none its name stands in the event's message."""
    passed = event.details.get("passed", "").split(", ")
    found = []
    for key, words in event.details.items():
        check = key.removeprefix("evidence.")
        if check != key:
            said = words.removeprefix(f"{check}: ")
            found.append(f"{check} {'passed' if check in passed else 'had not passed'}: {said}")
    return found


def _standing(found: views.RolloutRecord) -> str:
    """Of one without an end in the log."""
    return "not over" if found.state is None else f"not over: {rollouts_view.in_words(found.state.phase)}"


def thinned(looks: Sequence[Judgement], check: str, most: int = MOST_LOOKS) -> list[Judgement]:
    """The looks that tell a check's story: its first and last, each change of verdict or step, and some between.

    Between them they stand closer at the beginning, where evidence moves most.
    """
    every = [look for look in looks if look.check(check) is not None]
    own = [look for look in every if _saw(look.check(check))] or every[-1:]
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


def _saw(check: CheckJudgement | None) -> bool:
    """Whether there is anything in it: at first no request came, or it is left out as warm-up."""
    return check is not None and (
        check.candidate + check.stable > 0 or check.verdict is not Verdict.INCONCLUSIVE
    )


def _event(event: Event) -> tuple[str, str, str]:
    what = history_view.SAID[event.kind]
    said = f"{what}: {event.message}" if event.message else what
    reason = event.details.get("reason")
    return history_view.moment(event.at), event.principal, said if reason is None else f"{said} ({reason})"


def _print_check(found: views.RolloutRecord, check: str) -> None:
    looks = thinned(found.looks, check)
    rows = list(_rows(found, looks, check))
    output.say(f"\n[bold]{check}[/]")
    columns = ["  at (UTC)", "share", "verdict", "of", "candidate", "stable", "harm", "margin"]
    shown = [
        place for place, name in enumerate(columns) if name != "of" or any(row[place] for row, _ in rows)
    ]
    table = [[row[place] for place in shown] for row, _ in rows]
    output.table(None, [columns[place] for place in shown], table)
    for row, words in rows:
        if words:
            output.say(f"{row[0]}  {output.plain(words)}")


def _share(events: Sequence[Event], look: Judgement) -> str:
    """What the candidate was given at a look; a person may have set it by hand, so the steps do not tell."""
    at = timestamp(look.through_s + 1)
    told = [e.details for e in events if e.at <= at and e.kind not in ROLLOUT_ENDS and "percent" in e.details]
    return f"{told[-1]['percent']} %" if told else "-"


def _rows(
    found: views.RolloutRecord, looks: Sequence[Judgement], check: str
) -> Iterator[tuple[tuple[object, ...], str]]:
    whole = found.looks[-1].through_s - found.looks[0].through_s < _DAY_S
    for look in looks:
        one: CheckJudgement | None = look.check(check)
        assert one is not None
        margin = "-" if one.margin is None else rollouts_view.points(one.margin)
        at = history_view.moment(timestamp(look.through_s))
        share = _share(found.events, look)
        baking = look.step == len(found.spec.steps) - 1
        said = rollouts_view.verdict(one, baking=baking)
        row = (f"  {at[11:] if whole else at[5:]}", share, said, one.part, *rollouts_view.rates(one))
        yield (*row, rollouts_view.harm(one), margin), one.words

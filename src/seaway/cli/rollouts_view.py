"""How a rollout looks in a terminal: where it is, what it waits for, and what each check says of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from seaway.cli import output
from seaway.cli.watch_figures import count
from seaway.core import times
from seaway.core.checks import Verdict
from seaway.core.rollouts import grounds
from seaway.core.rollouts.state import RolloutPhase

if TYPE_CHECKING:
    from seaway.control.rollouts import views
    from seaway.control.views import Accepted
    from seaway.core.rollouts.judgement import CheckJudgement, Judgement
    from seaway.core.rollouts.state import RolloutState

_DISTRIBUTIONS = ("predictions", "confidence")
"""Checks that compare how answers are distributed: none of them is bad by itself."""
_FEW = 10
"""So many bad units are a share; fewer are counted."""
_COLOURS = {
    RolloutPhase.PAUSED: "yellow",
    RolloutPhase.PROMOTED: "green",
    RolloutPhase.ROLLED_BACK: "red",
    RolloutPhase.ABORTED: "red",
}


def print_rollout(found: views.RolloutStatus, *, running: bool) -> None:
    """The whole of it; `running` says whether a server runs, without which it goes no further."""
    state = found.state
    colour = _COLOURS.get(state.phase, "bold")
    output.say(
        f"[bold]{found.endpoint}/{state.candidate}[/]  [{colour}]{in_words(state.phase)}[/]  {place(found)}"
    )
    if not running and state.judged:
        output.say("[yellow]no server runs on this home[/], so the rollout stands still: seaway up")
    output.table(None, ("", ""), list(_facts(found)))
    if found.judgement is not None and found.judgement.checks and (found.looks or state.judged):
        output.say("")
        print_checks(found.judgement, baking=in_bake(found, found.judgement))
    if state.phase in (RolloutPhase.BAKING, RolloutPhase.PROMOTED):
        print_decided(state)
    if (verbs := _verbs(found)) is not None:
        output.say(f"\n{verbs}")


def _verbs(found: views.RolloutStatus) -> str | None:
    """What a person can type now, where a person is waited for or it is over."""
    state, name = found.state, found.endpoint
    if not state.judged:
        return f"how it went, look by look: seaway explain {name}/{state.candidate}"
    if state.phase is RolloutPhase.PAUSED:
        return f"go on: seaway resume {name}; take it back: seaway abort {name}"
    step = found.spec.all_steps[state.step] if state.phase is RolloutPhase.RUNNING else None
    if step is not None and step.approve and state.approved < state.step:
        return f"approve it: seaway approve {name}; take it back: seaway abort {name}"
    return None


def print_checks(judgement: Judgement, *, baking: bool) -> None:
    """One line for each check, and below what each says of itself."""
    columns = ("check", "verdict", "candidate", "stable", "harm", "margin", "decides")
    output.table(None, columns, [_row(check, baking) for check in judgement.checks])
    for check in judgement.checks:
        if check.words:
            output.say(f"  {output.plain(named(check))}")
    if judgement.guard is not None:
        output.say(f"[yellow]not judged[/]: {output.plain(judgement.guard)}")


def print_decided(state: RolloutState) -> None:
    """What each check said last on the way, and at which share: by that it was decided."""
    decided = grounds.last_of_each(state.taken)
    if decided:
        output.say("\n[bold]What was decided on[/]")
    for percent, ground in decided:
        output.say(
            f"  at {percent:g} %  {output.plain(sentence(ground.check, ground.verdict, ground.words))}"
        )


def sentence(check: str, verdict: Verdict, words: str) -> str:
    """A check, its verdict and what it said."""
    said = words.removeprefix(f"{check}: ")
    return f"{check} {verdict.value}" + (f": {said}" if said else "")


def print_moved(accepted: Accepted, found: views.RolloutStatus) -> None:
    """What a person's move did, and what comes next."""
    for warning in accepted.warnings:
        output.say(f"[yellow]warning[/] {output.plain(warning)}")
    if not accepted.changed:
        output.say(output.plain(accepted.message))
    elif accepted.deferred:
        then = "and without one a rollout stands still" if found.state.judged else "it takes effect with"
        output.say(f"[green]recorded[/] {output.plain(accepted.message)}; no server runs, {then}: seaway up")
    else:
        output.say(f"[green]done[/] {output.plain(accepted.message)}")
    if found.state.judged:
        output.say(f"  waits for {output.plain(found.waiting.words)}")


def print_begun(found: views.RolloutStatus) -> None:
    """What a deploy says of the rollout that it began."""
    name = found.endpoint
    output.say(f"  {place(found)}")
    output.say(f"  waits for {output.plain(found.waiting.words)}")
    output.say(f"  follow it: seaway watch {name}; take it back: seaway abort {name}")


def in_bake(found: views.RolloutStatus, judgement: Judgement) -> bool:
    """Whether a judgement is of the bake, in which an alarm of any check takes the candidate back."""
    return judgement.step == len(found.spec.steps) - 1


def in_words(phase: RolloutPhase) -> str:
    """Such as `rolled back`."""
    return phase.value.replace("_", " ")


def split(state: RolloutState) -> str:
    """Who has how much of the traffic while a rollout is open."""
    return (
        f"revision {state.candidate} {state.percent:g} %, revision {state.stable} {100 - state.percent:g} %"
    )


def place(found: views.RolloutStatus) -> str:
    """Where it is on its way."""
    state, steps = found.state, len(found.spec.steps)
    match state.phase:
        case RolloutPhase.WAITING | RolloutPhase.RUNNING | RolloutPhase.PAUSED:
            at = f"step {state.step + 1} of {steps}" if state.step >= 0 else f"before step 1 of {steps}"
            return f"{at}: {split(state)}"
        case RolloutPhase.BAKING:
            return f"revision {state.candidate} has all the traffic, revision {state.stable} stays warm"
        case RolloutPhase.PROMOTED | RolloutPhase.SUPERSEDED:
            return ""
        case _:
            return f"revision {state.stable} has all the traffic"


def named(check: CheckJudgement) -> str:
    """What a check says, with its name before it."""
    name = f"{check.check}: "
    return check.words if check.words.startswith(name) else name + check.words


def verdict(check: CheckJudgement, *, baking: bool) -> str:
    """A verdict in a word or two. A bake has none that passes, only alarms."""
    if check.verdict is Verdict.INCONCLUSIVE and baking:
        return "no alarm"
    return "nothing seen yet" if unseen(check) else check.verdict.value


def unseen(check: CheckJudgement) -> bool:
    """Whether neither arm has had anything for it, and nothing is wrong with that."""
    return check.verdict is Verdict.INCONCLUSIVE and check.candidate + check.stable == 0


def title(check: CheckJudgement) -> str:
    """Its name, and which of its parts the figures are of, such as `latency p99`."""
    return f"{check.check} {check.part}" if check.part else check.check


def rates(check: CheckJudgement) -> tuple[str, str]:
    """What a check saw of the candidate and of the stable revision; `-` where it saw nothing."""
    if check.check in _DISTRIBUTIONS:
        return _units(check.candidate), _units(check.stable)
    if check.means is not None:
        ours, theirs = check.means
        return _mean(check, ours, check.candidate), _mean(check, theirs, check.stable)
    return _rate(check.candidate, check.candidate_bad), _rate(check.stable, check.stable_bad)


def harm(check: CheckJudgement) -> str:
    """Between what the harm lies."""
    if check.low is None and check.high is None:
        return "-"
    low = "…" if check.low is None else points(check.low)
    return f"{low} to {'…' if check.high is None else points(check.high)}"


def points(value: float) -> str:
    """Harm in points of percent: `+0.24 %`."""
    return "0 %" if value == 0 else f"{100 * value:+.3g} %"


def _units(units: float) -> str:
    return count(round(units)) if units > 0 else "-"


def _mean(check: CheckJudgement, mean: float, units: float) -> str:
    if units <= 0:
        return "-"
    said = times.brief(mean) if check.check == "cost" else f"{mean:.4g}"
    return f"{said} of {_units(units)}"


def _rate(units: float, bad: float) -> str:
    if units <= 0:
        return "-"
    if 0 < bad < _FEW and bad == round(bad):
        return f"{bad:.0f} of {round(units):,}"
    number = count(round(units))
    return f"{100 * bad / units:.3g} % of {number}"


def _row(check: CheckJudgement, baking: bool) -> tuple[object, ...]:
    decides = "" if check.gating or baking else "no" if check.weight == 0 else "not in this step"
    margin = None if check.margin is None else points(check.margin)
    said = verdict(check, baking=baking)
    return title(check), said, *rates(check), harm(check), margin, decides or check.on_failure


def _facts(found: views.RolloutStatus) -> Iterator[tuple[str, str]]:
    state, now_s = found.state, found.now_s
    yield "candidate", f"{found.candidate.ref}  {found.candidate.digest[:19]}"
    yield "stable", f"{found.stable.ref}  {found.stable.digest[:19]}"
    yield "steps", " → ".join(f"{share:g} %" for share in found.spec.steps_percent)
    ended_s = now_s if state.ended_s is None else state.ended_s
    yield "since", f"{times.clock(state.started_s, now_s)} ({times.span(ended_s - state.started_s)})"
    if state.judged:
        yield "waits for", found.waiting.words
        if found.waiting.next_percent is not None:
            at_s = found.waiting.next_s
            when = (
                "; when cannot be told"
                if at_s is None
                else f", at {times.clock(at_s, now_s)} at the earliest"
            )
            yield "next", f"{found.waiting.next_percent:g} %{when}"
    if found.frozen:
        yield "freeze", "no share rises now; a rollback always acts"
    for taken in state.taken:
        when = times.clock(taken.at_s, now_s)
        yield f"{taken.percent:g} %", f"{when}: {grounds.in_words(taken)}"
    if state.why:
        by = f" (by {state.by})" if state.by else ""
        yield "why", f"{state.why}{by}"
    if state.accepted:
        yield "accepted", f"{', '.join(state.accepted)}: failed, and waved through by a person"
    yield "looks", f"{found.looks:,}, alpha {found.spec.alpha} for the whole rollout"

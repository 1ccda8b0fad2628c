"""What a rollout waits for, in words."""

from __future__ import annotations

import datetime

import msgspec
import pytest

from seaway.control.rollouts import waiting
from seaway.control.rollouts.views import Waiting
from seaway.core.checks import Verdict
from seaway.core.rollouts.judgement import CheckJudgement, Judgement
from seaway.core.rollouts.spec import Freeze, Inconclusive, Rollout, Step
from seaway.core.rollouts.state import RolloutPhase, RolloutState

SPEC = Rollout(steps=("1%", Step("25%", approve=True), "100%"), hold="60s", checks=("errors", "latency"))
NOON_S = datetime.datetime(2026, 11, 27, 12, 0, tzinfo=datetime.UTC).timestamp()
"""A Friday."""
RUNNING = RolloutState(5, 4, RolloutPhase.RUNNING, NOON_S - 100, step=0, percent=1.0, since_s=NOON_S - 41)


def changed(**values: object) -> RolloutState:
    return msgspec.structs.replace(RUNNING, **values)  # type: ignore[arg-type]


def judged(errors: Verdict, latency: Verdict, step: int = 0, **more: object) -> Judgement:
    values = {"gating": True, "on_failure": "rollback", "weight": 0.5, "log_fail": 0.0, "log_pass": 0.0}
    checks = (
        CheckJudgement("errors", errors, "errors: as it is", **values),  # type: ignore[arg-type]
        CheckJudgement("latency", latency, "latency: as it is", **{**values, **more}),  # type: ignore[arg-type]
    )
    return Judgement(step, int(NOON_S), 40, Verdict.INCONCLUSIVE, checks)


def at_noon(state: RolloutState, spec: Rollout = SPEC, judgement: Judgement | None = None) -> Waiting:
    return waiting.waiting(state, spec, judgement, NOON_S, NOON_S + 90)


def test_the_hold_and_the_checks_that_have_not_passed() -> None:
    found = at_noon(RUNNING, judgement=judged(Verdict.PASSED, Verdict.INCONCLUSIVE, more=900, more_s=480.0))
    assert found.words == (
        "its hold, 19 s more, and latency (about 8 min at today's traffic) to pass; rolled back where that is "
        "undecided at 2026-11-28 11:59 UTC"
    )
    assert (found.next_percent, found.next_s) == (25.0, NOON_S + 480.0)


def test_where_nothing_bad_was_seen_nothing_is_said_of_harm() -> None:
    seen = {"more": 1497, "more_s": 300.0, "candidate": 7.0, "stable": 52.0, "towards": "passed"}
    found = at_noon(RUNNING, judgement=judged(Verdict.PASSED, Verdict.INCONCLUSIVE, **seen))
    assert (
        "latency (nothing bad seen yet; some 1,000 more requests, about 5 min at today's traffic)"
        in found.words
    )
    found = at_noon(
        RUNNING, judgement=judged(Verdict.PASSED, Verdict.INCONCLUSIVE, **seen, candidate_bad=1.0)
    )
    assert "latency (about 5 min at today's traffic)" in found.words


def test_many_checks_are_listed_with_one_and() -> None:
    spec = msgspec.structs.replace(SPEC, checks=("errors", "latency", "cost", "rejections"))
    assert at_noon(RUNNING, spec).words.startswith(
        "its hold, 19 s more, and errors, latency, cost and rejections to pass"
    )


@pytest.mark.parametrize(
    ("then", "seen", "said"),
    [
        (
            "promote",
            True,
            "a person's approval; the time of latency was over at 11:58:20 UTC, so it goes on without",
        ),
        (
            "promote",
            False,
            "latency to pass, and a person's approval; its time was over at 11:58:20 UTC: on to the next step (paused, if a "
            "check has no data) now",
        ),
        (
            "rollback",
            True,
            "latency to pass, and a person's approval; its time was over at 11:58:20 UTC: rolled back now",
        ),
    ],
)
def test_when_the_time_is_over_it_says_so_and_what_it_waits_for(then: str, seen: bool, said: str) -> None:
    spec = msgspec.structs.replace(SPEC, inconclusive=Inconclusive("10m", then))  # type: ignore[arg-type]
    state = changed(step=1, percent=25.0, since_s=NOON_S - 700)
    judgement = judged(Verdict.PASSED, Verdict.INCONCLUSIVE, step=1)
    judgement = msgspec.structs.replace(judgement, seen=seen)
    assert at_noon(state, spec, judgement).words == said


def test_evidence_of_harm_is_no_time_until_a_pass() -> None:
    found = at_noon(
        RUNNING,
        judgement=judged(Verdict.PASSED, Verdict.INCONCLUSIVE, more=900, more_s=480.0, towards="failed"),
    )
    assert "latency (what was seen speaks of harm so far) to pass" in found.words
    assert found.next_s is None


def test_without_a_judgement_of_this_step_every_check_has_yet_to_pass() -> None:
    passed = judged(Verdict.PASSED, Verdict.PASSED, step=-1)
    assert "errors and latency to pass" in at_noon(RUNNING, judgement=passed).words
    assert at_noon(RUNNING).next_s is None


def test_a_broken_check_says_what_is_broken() -> None:
    found = at_noon(RUNNING, judgement=judged(Verdict.PASSED, Verdict.ERRORED, fault="no data for 3 looks"))
    assert "latency (errored: no data for 3 looks) to pass" in found.words
    assert found.next_s is None


def test_a_check_that_a_person_waved_through_is_not_waited_for() -> None:
    state = changed(accepted=("latency",))
    found = at_noon(state, judgement=judged(Verdict.PASSED, Verdict.FAILED))
    assert found.words == "its hold, 19 s more"
    assert found.next_s == RUNNING.since_s + 60  # type: ignore[operator]


def test_a_person_and_a_freeze() -> None:
    spec = msgspec.structs.replace(
        SPEC, freeze=(Freeze(days=("fri",), start="11:00", end="14:30"),), checks=()
    )
    state = changed(step=1, percent=25.0, since_s=NOON_S - 600)
    found = at_noon(state, spec)
    assert found.words == "a person's approval, and the end of a freeze until 14:30:00 UTC"
    approved = msgspec.structs.replace(state, approved=1)
    assert at_noon(approved, spec).next_s == NOON_S + 9000
    assert at_noon(approved, SPEC, judged(Verdict.PASSED, Verdict.PASSED, step=1)).words == (
        "nothing: the next step is taken now"
    )


@pytest.mark.parametrize(
    ("state", "says"),
    [
        (changed(phase=RolloutPhase.WAITING, step=-1), "every worker to have revision 5 ready"),
        (changed(since_s=None), "every worker to route by the new share of 1 %"),
        (changed(step=2, percent=100.0), "revision 5 to answer everywhere"),
        (changed(phase=RolloutPhase.PAUSED, why="answers moved"), "a person: it is paused: answers moved"),
        (
            changed(phase=RolloutPhase.BAKING),
            "the end of the bake: revision 4 stays warm until 12:01:30 UTC",
        ),
        (changed(phase=RolloutPhase.PROMOTED), "nothing: it is over"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_each_phase(state: RolloutState, says: str) -> None:
    assert at_noon(state).words == says


def test_its_start_and_a_policy_that_pauses() -> None:
    start = datetime.datetime(2026, 11, 28, 9, 0, tzinfo=datetime.UTC)
    later = msgspec.structs.replace(SPEC, start=start, inconclusive=Inconclusive("1h", "pause"))
    first = at_noon(changed(phase=RolloutPhase.WAITING, step=-1), later)
    assert (first.words, first.next_s, first.next_percent) == (
        "its start at 2026-11-28 09:00 UTC",
        start.timestamp(),
        1.0,
    )
    assert "paused where that is undecided at 12:59:19 UTC" in at_noon(RUNNING, later).words
    goes_on = msgspec.structs.replace(later, inconclusive=Inconclusive("1h", "promote"))
    assert (
        "; on to the next step (paused, if a check has no data) where that is undecided at 12:59:19 UTC"
        in (at_noon(RUNNING, goes_on).words)
    )


@pytest.mark.parametrize(
    ("freeze", "hours"),
    [
        ((Freeze(start="11:00", end="14:30"),), 2.5),
        ((Freeze(start="11:00", end="14:30"), Freeze(start="14:00", end="15:00")), 3.0),
        ((Freeze(days=("fri", "sat", "sun")),), 60.0),
        ((Freeze(start="11:30", end="08:00"),), 20.0),
        ((Freeze(start="13:00", end="14:00", utc_offset=1.5),), 0.5),
        ((Freeze(since=datetime.date(2026, 11, 20), until=datetime.date(2026, 12, 1)),), 108.0),
        ((Freeze(start="13:00", end="14:00"),), 0.0),
    ],
    ids=str,
)
def test_when_a_freeze_ends(freeze: tuple[Freeze, ...], hours: float) -> None:
    spec = msgspec.structs.replace(SPEC, freeze=freeze)
    found_s = waiting.thaws_s(spec, NOON_S)
    assert found_s is not None
    assert (found_s - NOON_S) / 3600 == pytest.approx(hours)
    assert not spec.frozen(found_s)


def test_a_freeze_without_end_has_none() -> None:
    spec = msgspec.structs.replace(SPEC, freeze=(Freeze(since=datetime.date(2026, 1, 1)),))
    assert waiting.thaws_s(spec, NOON_S) is None
    assert at_noon(RUNNING, spec).next_s is None

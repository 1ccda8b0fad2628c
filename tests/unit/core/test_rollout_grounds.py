"""Why a share was taken, and why a rollout was promoted, in words that name the checks and what they stood on."""

from __future__ import annotations

import datetime

import msgspec
import pytest

from seaway.core.checks import Verdict
from seaway.core.phrases import listed
from seaway.core.rollouts import grounds
from seaway.core.rollouts.judgement import CheckJudgement, Judgement
from seaway.core.rollouts.spec import Freeze, Rollout, Step
from seaway.core.rollouts.state import Ground, Grounds, RolloutPhase, RolloutState, Taken

NOW_S = 10_000.0
SPEC = Rollout(steps=("5%", Step("50%", approve=True), "100%"), hold="60s")
STATE = RolloutState(2, 1, RolloutPhase.RUNNING, 0.0, step=0, percent=5.0, since_s=NOW_S - 70)


def judged(step: int = 0, **verdicts: Verdict) -> Judgement:
    found = {"errors": Verdict.PASSED, "latency": Verdict.PASSED} | verdicts
    checks = tuple(
        CheckJudgement(name, verdict, f"{name}: what it saw", True, "rollback", 0.5, 0.0, 0.0)  # type: ignore[arg-type]
        for name, verdict in found.items()
    )
    return Judgement(step, int(NOW_S) - 1, 1, Verdict.PASSED, checks)


def state(**fields: object) -> RolloutState:
    return msgspec.structs.replace(STATE, **fields)


def words(found: Grounds, by: str) -> str:
    return grounds.in_words(Taken(50.0, 5.0, NOW_S, by, found))


def by_hand(to: float = 50.0, spec: Rollout = SPEC, **fields: object) -> str:
    found = grounds.of_person(spec, state(**fields), judged(), NOW_S, to, ())
    return words(found, "ada")


def test_names_are_listed_with_one_and() -> None:
    assert [listed(names) for names in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "",
        "a",
        "a and b",
        "a, b and c",
    ]


def test_a_step_is_taken_on_what_its_checks_said() -> None:
    found = grounds.of_step(SPEC, STATE, judged(), passed=True)
    assert found == Grounds(
        "passed",
        (
            Ground("errors", Verdict.PASSED, "errors: what it saw"),
            Ground("latency", Verdict.PASSED, "latency: what it saw"),
        ),
    )
    assert words(found, "seaway") == "errors and latency passed"
    assert grounds.told(found.checks) == {
        "passed": "errors, latency",
        "evidence.errors": "errors: what it saw",
        "evidence.latency": "latency: what it saw",
    }


def test_the_first_step_and_one_without_checks() -> None:
    first = grounds.of_step(SPEC, state(step=-1), None, passed=True)
    assert words(first, "seaway") == "every worker had it ready"
    timed = grounds.of_step(msgspec.structs.replace(SPEC, checks=()), STATE, None, passed=True)
    assert words(timed, "seaway") == "no check was asked for, so it went on by time alone"
    waved = grounds.of_step(SPEC, state(accepted=("errors", "latency")), judged(), passed=True)
    assert words(waved, "seaway") == (
        "no other check was asked for, so it went on by time alone; what errors and latency found a person had accepted"
    )


def test_what_was_undecided_accepted_and_approved_is_told() -> None:
    undecided = grounds.of_step(SPEC, STATE, judged(latency=Verdict.INCONCLUSIVE), passed=False)
    assert words(undecided, "seaway") == (
        "latency was undecided when its time was over, and inconclusive.then is promote (errors had passed)"
    )
    assert grounds.told(undecided.checks)["not_passed"] == "latency"
    waved = grounds.of_step(
        SPEC, state(step=1, accepted=("latency",)), judged(step=1, latency=Verdict.FAILED), passed=True
    )
    assert [one.check for one in waved.checks] == ["errors"]
    assert words(waved, "seaway") == (
        "errors passed, and a person approved it; what latency found a person had accepted"
    )


def test_a_look_of_another_step_is_no_ground() -> None:
    found = grounds.of_person(SPEC, state(step=1, percent=50.0), judged(step=0), NOW_S, 100.0, ())
    assert {one.verdict for one in found.checks} == {Verdict.INCONCLUSIVE}
    assert found.checks[0].words == "errors: nothing seen in this step yet"
    before = msgspec.structs.replace(judged(), through_s=int(NOW_S) - 71)
    stale = grounds.of_person(SPEC, STATE, before, NOW_S, 50.0, ())
    assert {one.verdict for one in stale.checks} == {Verdict.INCONCLUSIVE}


def test_what_only_the_checks_together_leave_open_is_not_said_to_have_passed() -> None:
    found = grounds.of_step(SPEC, STATE, judged(), passed=False)
    assert words(found, "seaway") == (
        "what the checks say together was undecided when its time was over, and inconclusive.then is promote "
        "(errors and latency had passed)"
    )


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "ada went on by hand (errors and latency had passed)"),
        (
            {"since_s": NOW_S - 10},
            "ada went on by hand, before its hold was over (errors and latency had passed)",
        ),
        (
            {"accepted": ("errors", "latency")},
            "ada went on by hand; what errors and latency found a person had accepted",
        ),
    ],
    ids=str,
)
def test_a_person_goes_on(fields: dict[str, object], said: str) -> None:
    assert by_hand(**fields) == said


def test_a_person_overrides_checks_holds_freezes_and_approvals() -> None:
    frozen = msgspec.structs.replace(SPEC, freeze=(Freeze(since=datetime.date(1970, 1, 1)),))
    found = grounds.of_person(
        frozen,
        state(step=1, percent=50.0, since_s=NOW_S - 10),
        judged(step=1, errors=Verdict.ERRORED, latency=Verdict.INCONCLUSIVE),
        NOW_S,
        100.0,
        ("predictions",),
    )
    assert words(found, "ada") == (
        "ada went on by hand though latency was undecided and errors was errored, before its hold was over, "
        "without the approval that the step asks for, in a freeze; what predictions found a person had accepted"
    )
    skipped = by_hand(100.0)
    assert "leaving out the step to 50 %" in skipped
    early = msgspec.structs.replace(SPEC, start=datetime.datetime(1970, 1, 2, tzinfo=datetime.UTC))
    assert "before its start" in by_hand(5.0, early, step=-1, percent=0.0)


def taken(percent: float, before: float, found: Grounds, by: str = "seaway") -> Taken:
    return Taken(percent, before, NOW_S, by, found)


PASSED = grounds.of_step(SPEC, STATE, judged(), passed=True)
UNDECIDED = grounds.of_step(SPEC, STATE, judged(latency=Verdict.INCONCLUSIVE), passed=False)


def test_a_promotion_says_on_what_each_share_was_left() -> None:
    way = (taken(5, 0, Grounds("ready")), taken(50, 5, PASSED), taken(100, 50, PASSED))
    assert grounds.of_promotion(way) == "at 5 % and 50 % errors and latency passed"
    forced = (*way[:2], taken(30, 50, Grounds("person"), "ada"), taken(100, 30, UNDECIDED))
    assert grounds.of_promotion(forced) == (
        "at 5 % errors and latency passed; at 30 % latency was undecided when its time was over, and inconclusive.then is "
        "promote (errors had passed)"
    )
    assert grounds.of_promotion(way[:1]) == ""


def test_of_each_check_the_last_sentence_is_kept_and_the_first_hundred_shares_go() -> None:
    kept: tuple[Taken, ...] = ()
    for one in (taken(5, 0, Grounds("ready")), taken(50, 5, PASSED), taken(100, 50, UNDECIDED)):
        kept = grounds.with_one_more(kept, one)
    assert [ground.words for ground in kept[1].grounds.checks] == ["", ""]
    assert [(share, ground.verdict) for share, ground in grounds.last_of_each(kept)] == [
        (50, Verdict.PASSED),
        (50, Verdict.INCONCLUSIVE),
    ]
    for _ in range(120):
        kept = grounds.with_one_more(kept, taken(10, 20, Grounds("person"), "ada"))
    assert len(kept) == 100

"""Whatever comes in whatever order: harm once certain stays, nothing passes on nothing, a restart changes nothing."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from seaway.core.checks import Verdict
from seaway.core.ledger import Counts, PairCounts, Second, SliceCounts
from seaway.core.rollouts import judging, verdicts
from seaway.core.rollouts.judging import Evidence
from seaway.core.rollouts.spec import Rollout, RolloutCheck, Sticky
from seaway.core.rollouts.state import RolloutPhase, RolloutState

START_S = 1_800_000_000
SPEC = Rollout(
    steps=("5%", "50%", "100%"),
    checks=("errors", RolloutCheck("predictions"), "latency", RolloutCheck("agreement", advisory=True)),
    shadow="10%",
    warmup="2s",
)
STICKY = msgspec.structs.replace(SPEC, sticky=Sticky(header="x-user-id"))


@st.composite
def counts(draw: st.DrawFn) -> Counts | None:
    n = draw(st.sampled_from((0, 0, 1, 7, 300)))
    if n == 0:
        return draw(st.sampled_from((None, Counts())))
    failed = draw(st.integers(0, n))
    slow = draw(st.integers(0, n - failed))
    answers = tuple((name, part) for name, part in (("a", slow), ("b", n - failed - slow)) if part)
    bins = tuple((index, part) for index, part in ((200, n - failed - slow), (260, slow)) if part)
    return Counts(finished=n, failed=failed, rows=n - failed, latency=bins, answers=answers)


@st.composite
def second(draw: st.DrawFn) -> tuple[Counts | None, Counts | None, PairCounts | None, bool]:
    """Units of both arms, pairs, and whether a step begins before it."""
    pairs = draw(st.sampled_from((None, PairCounts(9, 1), PairCounts(0, 5, 5, 2))))
    return draw(counts()), draw(counts()), pairs, draw(st.integers(0, 9)) == 0


def made(at_s: int, found: Counts | None, pairs: PairCounts | None = None) -> Second | None:
    if found is None:
        return None if pairs is None else Second(at_s, Counts(), Counts(), pairs)
    return Second(at_s, found, found, pairs)


@settings(max_examples=40, deadline=None)
@given(seconds=st.lists(second(), max_size=25), past=st.lists(counts(), max_size=5), cut=st.integers(0, 25))
def test_any_seconds(
    seconds: list[tuple[Counts | None, Counts | None, PairCounts | None, bool]],
    past: list[Counts | None],
    cut: int,
) -> None:
    before = tuple(
        Second(START_S - 100 + place, found) for place, found in enumerate(past) if found is not None
    )
    evidence = judging.begin(SPEC, 2, 1, START_S, before, False)
    state = RolloutState(2, 1, RolloutPhase.RUNNING, START_S, 0, 5.0, float(START_S))
    evidence = judging.at_step(evidence, 0, 0.05, START_S)
    seen = [0, 0]
    failed = False
    for place, (ours, theirs, pairs, steps) in enumerate(seconds):
        at_s = START_S + place
        if steps and state.step < 1:
            state = msgspec.structs.replace(state, step=1, percent=50.0, since_s=float(at_s))
            evidence = judging.at_step(evidence, 1, 0.5, float(at_s))
            seen = [0, 0]
        if place == cut:
            evidence = msgspec.json.decode(msgspec.json.encode(evidence), type=Evidence)
        taken = judging.seen(evidence, SPEC, at_s, made(at_s, ours, pairs), made(at_s, theirs))
        assert judging.seen(taken, SPEC, at_s, made(at_s, ours), made(at_s, theirs)) is taken
        evidence = taken
        seen = [seen[0] + (ours.finished if ours else 0), seen[1] + (theirs.finished if theirs else 0)]
        judged = verdicts.judge(evidence, SPEC, state)
        assert (judged.step, judged.through_s, judged.looks) == (state.step, at_s, place + 1)
        assert sum(check.weight for check in judged.checks) <= 1 + 1e-9
        if not all(seen):
            assert judged.verdict is not Verdict.PASSED
            assert not judged.seen
        if judged.verdict is Verdict.FAILED:
            assert judged.cause in ("errors", "latency")
        assert judged.verdict is Verdict.FAILED or not failed, "harm that was certain once stays"
        failed = judged.verdict is Verdict.FAILED
        assert all(check.words for check in judged.checks)
        silent = verdicts.judge(evidence, SPEC, state, "nobody answers")
        assert silent.verdict is (Verdict.FAILED if failed else Verdict.ERRORED)
        msgspec.json.decode(msgspec.json.encode(judged), type=verdicts.Judgement)


SLICED = st.tuples(
    st.sampled_from((None, Counts(), Counts(finished=1), Counts(finished=300, failed=90, rows=210))),
    st.sampled_from(
        (None, SliceCounts(90, 90), SliceCounts(90, 27), SliceCounts(90, 27), SliceCounts(90, 0))
    ),
)
"""The stable's units in one second, and those of them in the slice where there are many."""


@settings(max_examples=30, deadline=None)
@given(seconds=st.lists(st.tuples(counts(), SLICED, st.integers(0, 9)), max_size=25), cut=st.integers(0, 25))
def test_users_who_were_unlike_once_stay_so_and_the_checks_are_fed_as_without_the_guard(
    seconds: list[tuple[Counts | None, tuple[Counts | None, SliceCounts | None], int]], cut: int
) -> None:
    """The guard takes no alpha from the checks: their evidence is what it is without it. Harm that was certain before stays."""
    guarded = judging.at_step(judging.begin(STICKY, 2, 1, START_S, (), False), 0, 0.05, START_S)
    plain = judging.at_step(judging.begin(SPEC, 2, 1, START_S, (), False), 0, 0.05, START_S)
    state = RolloutState(2, 1, RolloutPhase.RUNNING, START_S, 0, 5.0, float(START_S))
    unlike = False
    for place, (ours, (theirs, part), draw) in enumerate(seconds):
        at_s = START_S + place
        if draw == 0 and state.step < 1:
            state = msgspec.structs.replace(state, step=1, percent=50.0, since_s=float(at_s))
            guarded, plain = (judging.at_step(one, 1, 0.5, float(at_s)) for one in (guarded, plain))
        if place == cut:
            guarded = msgspec.json.decode(msgspec.json.encode(guarded), type=Evidence)
        before = guarded.broken
        told = made(at_s, theirs)
        if told is not None and theirs is not None and theirs.finished > 1:
            told = msgspec.structs.replace(told, slice=part)
        guarded = judging.seen(guarded, STICKY, at_s, made(at_s, ours), told)
        plain = judging.seen(plain, SPEC, at_s, made(at_s, ours), made(at_s, theirs))
        assert [one.process for one in guarded.checks] == [one.process for one in plain.checks]
        assert guarded.users is not None and (guarded.users.unlike or not unlike)
        unlike = guarded.users.unlike
        judged = verdicts.judge(guarded, STICKY, state)
        if unlike:
            assert guarded.broken == before
            assert judged.verdict is (Verdict.ERRORED if before is None else Verdict.FAILED)
            assert before is not None or {one.verdict for one in judged.checks} == {Verdict.ERRORED}
        else:
            assert guarded.broken == plain.broken or before is not None

"""The check shadow_quality: from labelled pairs to verdicts, words and bounds, and what is never concluded."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from judged_world import World, check

from seaway.core.checks import Verdict
from seaway.core.evidence import forecasts, pairs, swings
from seaway.core.evidence.pairs import Disagreement, Labelled, PairLook
from seaway.core.rollouts import judging, margins, processes
from seaway.core.rollouts.judgement import CheckJudgement
from seaway.core.rollouts.spec import Rollout, RolloutCheck

SHADOW = {"share": 0.0, "steps": ["0%", "100%"], "shadow": "100%"}
DRAW_SEED = 7


class Paired:
    """A rollout at 0 % that is fed with labelled pairs, twenty a second."""

    def __init__(self, *, worse: float, better: float, check: object = "shadow_quality") -> None:
        self.world = World((check,), **SHADOW)  # type: ignore[arg-type]
        self.rates = worse, better, 1 - worse - better
        self.draw = np.random.default_rng(DRAW_SEED)

    def feed(self, look: PairLook | None, lost: int = 0, fault: str | None = None) -> None:
        world = self.world
        world.evidence = judging.paired(world.evidence, world.spec, look, lost, fault, world.state.accepted)

    def run(self, seconds: int) -> CheckJudgement:
        for _ in range(seconds):
            self.world.now_s += 1
            worse, better, same = self.draw.multinomial(20, self.rates).tolist()
            self.feed(PairLook(float(self.world.now_s), worse, better, same))
        return self.said

    @property
    def said(self) -> CheckJudgement:
        return check(self.world.judge(), "shadow_quality")


def test_a_worse_candidate_fails_at_nothing_and_is_named() -> None:
    paired = Paired(worse=0.10, better=0.0)
    found = paired.run(120)
    assert (found.verdict, paired.world.judge().cause) == (Verdict.FAILED, "shadow_quality")
    assert (found.candidate, found.stable, found.stable_bad) == (2400, 2400, 0)
    assert found.words.startswith(
        f"candidate alone wrong on {found.candidate_bad:.0f}, stable alone on 0 of 2,400"
    )
    assert found.words.endswith("harm above the margin is certain (false-alarm risk 5 % per rollout)")
    assert found.margin == 0.01 and found.low is not None and 0.01 <= found.low < 0.1


def test_the_forecast_says_which_verdict_it_is_of() -> None:
    worse, better = Paired(worse=0.10, better=0.0), Paired(worse=0.0, better=0.10)
    assert (worse.run(5).towards, better.run(5).towards) == ("failed", "passed")
    assert (worse.run(115).towards, better.run(115).towards) == (None, None)


def test_a_better_candidate_passes_on_pairs_of_the_step_alone() -> None:
    paired = Paired(worse=0.0, better=0.10)
    assert paired.said.verdict is Verdict.INCONCLUSIVE
    assert paired.said.words.startswith("labelled pairs: no label of a mirrored request yet")
    found = paired.run(120)
    assert paired.world.judge().verdict is found.verdict is Verdict.PASSED
    assert found.high is not None and found.high < 0
    paired.world.evidence = judging.at_step(paired.world.evidence, 1, 0.5, paired.world.now_s + 1.0)
    assert paired.said.verdict is Verdict.INCONCLUSIVE, "no pair of the new step came"


def test_pairs_that_are_alike_pass_and_say_how_many_more_before() -> None:
    paired = Paired(worse=0.0, better=0.0)
    found = paired.run(20)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.more is not None and 100 < found.more < 20_000
    assert "not decided yet, about" in found.words and "more labelled pairs, " in found.words
    assert paired.run(300).verdict is Verdict.PASSED


def test_strict_fails_on_any_harm_and_passes_by_the_margin() -> None:
    worse = Paired(worse=0.02, better=0.012, check={"check": "shadow_quality", "strict": True})
    assert worse.run(2500).verdict is Verdict.FAILED
    assert "any harm is certain" in worse.said.words
    alike = Paired(worse=0.02, better=0.02, check={"check": "shadow_quality", "strict": True, "harm": "2%"})
    assert alike.run(600).verdict is Verdict.PASSED


def test_c09_a_source_that_fails_never_passes_and_may_come_back() -> None:
    paired = Paired(worse=0.0, better=0.10)
    paired.run(120)
    paired.feed(None, fault="outcomes cannot be read")
    assert paired.said.verdict is Verdict.ERRORED
    assert paired.said.words == "shadow_quality: not judged: outcomes cannot be read"
    paired.feed(None)
    assert paired.said.verdict is Verdict.PASSED


def test_c09_a_label_that_is_no_number_is_a_fault() -> None:
    paired = Paired(worse=0.0, better=0.10)
    paired.run(120)
    for bad in (math.nan, 1.5):
        paired.feed(PairLook(float(paired.world.now_s + 1), 0, 0, 1, (bad,)))
        assert paired.said.verdict is Verdict.ERRORED


def test_c10_without_a_label_nothing_passes() -> None:
    paired = Paired(worse=0.0, better=0.0)
    paired.world.run(500)
    paired.feed(None, lost=12)
    assert paired.world.judge().verdict is Verdict.INCONCLUSIVE and not paired.world.judge().seen
    assert paired.said.words.endswith("; of 12 more the mirrored answer is not there")


def test_killed_and_read_again_it_says_the_same() -> None:
    one, other = (Paired(worse=0.05, better=0.04) for _ in range(2))
    for _ in range(100):
        one.run(1)
        other.run(1)
        other.world.resumed()
    assert one.said == other.said


def test_a_clock_that_stands_loses_no_label() -> None:
    paired = Paired(worse=0.0, better=0.10)
    for _ in range(5):
        paired.feed(PairLook(float(paired.world.now_s), 1, 0, 0))
    assert (paired.said.candidate, paired.said.fault) == (5, None)


def test_numbers_are_told_by_how_far_off_they_are() -> None:
    world = World(("shadow_quality",), **SHADOW)  # type: ignore[arg-type]
    past = msgspec.structs.replace(world.evidence.baseline, numbers=True)
    evidence = msgspec.structs.replace(world.evidence, baseline=past)
    for n in range(1, 61):
        look = PairLook(world.now_s + n, 0, 0, 0, (0.3, 0.1, -0.1, 0.1) * 25)
        evidence = judging.paired(evidence, world.spec, look, 0, None)
    world.evidence = evidence
    found = check(world.judge(), "shadow_quality")
    assert found.verdict is Verdict.FAILED
    assert found.words.startswith(
        "on 6,000 labelled pairs the candidate's error is larger by 10 % of the stable's largest usual one"
    )


def test_small_errors_of_numbers_decide_sooner_than_wrong_answers_and_the_forecast_knows() -> None:
    """Equal on average, and never further apart than a twentieth of the cap: how many more, said a third of the way."""
    found = processes.begin(RolloutCheck("shadow_quality"), World().evidence.baseline, (), 0.0)
    took, said = 0, 0
    for second in range(1, 2000):
        found = processes.paired(found, PairLook(float(second), 0, 0, 0, (0.05, -0.05) * 5), 0, None)
        assert isinstance(found, processes.Paired)
        took += 10
        if second == 70:
            square = swings.mean_square(found.swings)
            assert square == pytest.approx(0.0025)
            said = took + (forecasts.of_pairs(found.found, 0.05, 0.05, square).more or 0)
            rough = took + (forecasts.of_pairs(found.found, 0.05, 0.05).more or 0)
        if found.found.peak_pass >= math.log(20):
            break
    assert said == pytest.approx(took, rel=0.5) and rough > 2 * took


@pytest.mark.parametrize("rule", [Labelled(), Labelled(0.05, strict=True)])
@pytest.mark.parametrize("fail", [True, False])
def test_on_the_margin_a_partial_pair_wins_nothing_on_average(rule: Labelled, fail: bool) -> None:
    """Of any two losses whose mean is the margin, each bet's factor has mean 1: an e-process, whatever lies between."""
    margin = rule.margin_of(fail)
    for low, high in ((-1.0, 1.0), (-0.3, 0.9), (-0.05, margin + 0.4), (0.0, 0.7)):
        weight = (margin - low) / (high - low)
        mean = sum(
            share * np.exp(pairs.look_gains(rule, fail, PairLook(1.0, 0, 0, 0, (value,))))
            for share, value in ((1 - weight, low), (weight, high))
        )
        assert mean == pytest.approx(np.ones_like(mean), abs=1e-12)


def test_whole_losses_count_alike_as_counts_and_as_partial_ones() -> None:
    for fail in (True, False):
        counts = pairs.look_gains(Labelled(), fail, PairLook(1.0, 3, 2, 5))
        partial = pairs.look_gains(
            Labelled(), fail, PairLook(1.0, 0, 0, 0, (1.0,) * 3 + (-1.0,) * 2 + (0.0,) * 5)
        )
        assert counts == pytest.approx(partial)
    found = pairs.seen(pairs.begin(Labelled(), 0.0), PairLook(1.0, 1, 0, 0, (0.25, -0.5)))
    assert found.total == pytest.approx((1.25, 0.5, 1.25))
    refused = pairs.seen(pairs.begin(Disagreement(), 0.0), PairLook(1.0, 1, 0, 0, (0.25,)))
    assert refused.fault is not None


@pytest.mark.parametrize("rates", [(0.10, 0.02), (0.02, 0.10), (0.05, 0.05)])
def test_the_bounds_hold_the_truth_and_never_contradict_the_verdict(rates: tuple[float, float]) -> None:
    paired = Paired(worse=rates[0], better=rates[1])
    for _ in range(10):
        found = paired.run(30)
        low, high = found.low or -1.0, found.high or 1.0
        assert low <= rates[0] - rates[1] <= high
        if found.verdict is Verdict.FAILED:
            assert low >= 0.01
        if found.verdict is Verdict.PASSED:
            assert high <= 0.01


def test_it_gates_the_step_at_nothing_and_those_above() -> None:
    spec = msgspec.convert(
        {"steps": ["0%", "5%", "100%"], "shadow": "10%", "checks": ["errors", "shadow_quality"]}, Rollout
    )
    assert [check.check for check in spec.gating(0)] == ["shadow_quality"]
    assert [check.check for check in spec.gating(1)] == ["errors", "shadow_quality"]
    assert margins.margin_of(RolloutCheck("shadow_quality", harm="2%")).extra == pytest.approx(0.02)


def test_other_checks_are_not_touched_by_pairs() -> None:
    world = World(("errors",), rate=600)
    before = world.evidence
    assert judging.paired(before, world.spec, PairLook(1.0, 5, 0, 0), 3, None) == before
    assert processes.begun(processes.begin(RolloutCheck("shadow_quality"), before.baseline, (), 0.0))


def test_a_harm_that_turned_around_has_no_bounds_that_contradict_each_other() -> None:
    found = pairs.begin(Labelled(), 0.0)
    found = pairs.seen(found, PairLook(1.0, 300, 0, 0))
    assert pairs.limits(found, 0.05, 0.05)[0] is not None
    found = pairs.seen(pairs.next_step(found), PairLook(2.0, 0, 300, 0))
    assert pairs.limits(found, 0.05, 0.05) == (None, None)

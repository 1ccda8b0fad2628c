"""The pitfalls of docs/statistics.md, each as a test that fails where one steps into it."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest

from seaway.core.checks import Verdict
from seaway.core.evidence import (
    arms,
    combining,
    detectors,
    dispersion,
    forecasts,
    guards,
    means,
    pairs,
    predictions,
    units,
    wealth,
    words,
)
from seaway.core.evidence.arms import Rule
from seaway.core.evidence.combining import Standing
from seaway.core.evidence.streams import Look, Margin
from seaway.core.ledger import Counts, latency_bin

LOOK = Look(1.0, 10, 1, 190, 2)
ALPHA = 0.05
RISK = words.Risk(ALPHA, ALPHA)


def fed(rule: Rule, looks: list[tuple[float, float, float, float]], start: float = 0.0) -> arms.Arms:
    found = arms.begin(rule, start)
    for place, numbers in enumerate(looks):
        found = arms.seen(found, Look(start + place + 1, *numbers))
    return found


def test_01_bets_know_nothing_of_the_outcomes_of_their_own_look() -> None:
    before = fed(Rule(), [(10, 0, 190, 2)] * 25)
    good, bad = Look(26.0, 10, 0, 190, 0), Look(26.0, 10, 10, 190, 190)
    for fail in (True, False):
        (one, _), (other, _) = (arms.bets_of(before, look, fail) for look in (good, bad))
        assert (one.kappa == other.kappa).all()
        assert (one.x == other.x).all()
    after = arms.seen(before, bad)
    assert after.theta > before.theta
    assert before.divisor(True) == arms.seen(before, good).divisor(True) == 1.0


def test_01_the_set_of_answers_is_chosen_before_its_look() -> None:
    groups = predictions.Groups((0.5, 0.5), classes=("a",))
    first = predictions.seen(predictions.begin(groups, 0.0, late=False), 1.0, (10, 0), (50, 50))
    assert first.log_fail == 0.0, "nothing had grown before the first look"
    assert predictions.seen(first, 2.0, (10, 0), (50, 50)).log_fail > 0


def test_01_the_divisor_comes_from_blocks_that_closed_before() -> None:
    found = dispersion.Dispersion()
    for second in range(60):
        spoilt = second // 10 % 2
        found = dispersion.seen(found, second, (spoilt, 10 - spoilt), (100 * spoilt, 190 - 100 * spoilt))
        if second < 20:
            assert dispersion.divisor(found) == 1.0
    assert dispersion.divisor(found) > 10


def swinging(common: bool) -> dispersion.Dispersion:
    """Six minutes in which the share of bad units goes up and down by minutes: in both arms, or in the candidate alone."""
    found = dispersion.Dispersion()
    for second in range(360):
        bad = 0.6 if second // 60 % 2 else 0.2
        theirs = bad if common else 0.4
        found = dispersion.seen(found, second, (10 * bad, 10 * (1 - bad)), (190 * theirs, 190 * (1 - theirs)))
    return dispersion.closed(found, 360.0)


def test_a_swing_of_both_arms_divides_nothing_and_that_of_one_does() -> None:
    """Both are compared within each look: day and night are no dependence."""
    common, alone = swinging(True), swinging(False)
    assert dispersion.of_difference(common.arms) < 0.01
    assert dispersion.of_difference(alone.arms) > 10
    assert dispersion.divisor(alone) > dispersion.divisor(dispersion.Dispersion(alone.stable)) == 1.0
    assert dispersion.divisor(common) < dispersion.divisor(dispersion.Dispersion(common.stable))


def test_steps_from_block_to_block_hold_stalls_but_not_slow_swings() -> None:
    slow = swinging(True).stable
    assert dispersion.between_blocks(slow) < dispersion.around_mean(slow) / 3
    stalled = dispersion.Dispersion()
    for second in range(600):
        bad = 95.0 if second % 30 == 7 else 2.0
        stalled = dispersion.seen(stalled, second, (), (bad, 190 - bad))
    steps, mean = dispersion.between_blocks(stalled.stable), dispersion.around_mean(stalled.stable)
    assert steps > mean > 10


def test_02_looks_at_different_shares_are_never_added_up() -> None:
    """Errors rise in both arms while the share grows: pooled, the candidate looks three times as bad."""
    looks = [(2.0, 0.0, 198.0, 2.0)] * 200 + [(100.0, 4.0, 100.0, 4.0)] * 200
    pooled = [sum(numbers) for numbers in zip(*looks, strict=True)]
    assert fed(Rule(strict=True), looks).log_fail < math.log(20)
    whole = fed(Rule(strict=True), [tuple(pooled)])  # type: ignore[list-item]
    assert whole.log_fail > math.log(20)


def test_03_a_new_step_keeps_the_evidence_of_harm_and_forgets_that_of_none() -> None:
    found = fed(Rule(), [(10, 0, 190, 2)] * 300)
    stepped = arms.next_step(found)
    assert stepped.log_fail == found.log_fail
    assert found.peak_pass > 0.5
    assert (stepped.log_pass, stepped.peak_pass, stepped.step) == (0.0, 0.0, arms.Totals())
    assert stepped.total == found.total


def test_04_nothing_underflows_into_a_verdict() -> None:
    """8,300 pairs at three times the tolerance once made a false pass, by a floor under an underflow."""
    found = pairs.begin(pairs.Disagreement(0.05), 0.0)
    for place in range(400):
        found = pairs.seen(found, pairs.PairLook(place + 1, 150, 0, 850))
    assert found.peak_pass < 0.7
    assert found.log_pass < -300
    assert found.log_fail > 1000
    assert math.isfinite(found.log_pass)
    forecasts.of_pairs(found, ALPHA, ALPHA)


def test_05_timeouts_count_and_a_slow_candidate_is_caught_by_its_deadline() -> None:
    slow, healthy = Counts(finished=10, failed=10, overdue=10), Counts(finished=190)
    assert units.errors(1.0, slow, healthy) == Look(1.0, 10, 10, 190, 0)
    assert units.errors(1.0, Counts(finished=5, cancelled=5), healthy).candidate == 5


@pytest.mark.parametrize(
    ("stands", "verdict"),
    [
        (Standing("latency", 0.5, -3.0, 9.0, 100), Verdict.PASSED),
        (Standing("latency", 0.5, -3.0, 2.0, 100), Verdict.INCONCLUSIVE),
        (Standing("latency", 0.5, -3.0, 9.0, 0), Verdict.INCONCLUSIVE),
        (Standing("latency", 0.5, -3.0, 9.0, 100, "silent"), Verdict.ERRORED),
        (Standing("latency", 0.5, math.nan, 9.0, 100), Verdict.ERRORED),
        (Standing("latency", 0.5, 8.0, 9.0, 100), Verdict.FAILED),
        (Standing("latency", 0.5, 8.0, 9.0, 100, "silent"), Verdict.FAILED),
        (Standing("latency", 0.5, 3.2, 9.0, 100), Verdict.PASSED),  # at half of alpha 1/20 is not enough
    ],
)
def test_07_a_pass_needs_data_and_a_sound_source(stands: Standing, verdict: Verdict) -> None:
    assert combining.verdict_of(stands, ALPHA, ALPHA) is verdict
    assert combining.verdict_of(stands, ALPHA, ALPHA, "sample ratio") is Verdict.ERRORED


def test_07_a_broken_metric_hides_no_harm_that_another_is_certain_of() -> None:
    broken, harmful = Standing("a", 0.5, math.nan, 0.0, 9), Standing("b", 0.5, 9.0, 0.0, 9)
    assert combining.log_sum([broken, harmful]) == pytest.approx(9.0 - math.log(2))
    assert combining.loudest([broken, harmful]) == "b"
    assert combining.log_sum([]) == combining.log_sum([Standing("shown", 0.0, 99.0, 99.0, 9)]) == -math.inf


@pytest.mark.parametrize(
    ("look", "fault"),
    [
        (Look(2.0, math.nan, 0, 9, 0), "not a number"),
        (Look(2.0, 9, 0, math.inf, 0), "not a number"),
        (Look(2.0, -1, 0, 9, 0), "backwards"),
        (Look(2.0, 5, 6, 9, 0), "more bad"),
        (Look(1.0, 5, 0, 9, 0), "not newer"),
    ],
)
def test_an_impossible_look_is_a_fault_and_moves_nothing(look: Look, fault: str) -> None:
    before = arms.seen(arms.begin(Rule(), 0.0), LOOK)
    after = arms.seen(before, look)
    assert after.fault is not None
    assert fault in after.fault
    assert msgspec.structs.replace(after, fault=None) == before
    assert arms.seen(after, Look(3.0, 10, 0, 190, 1)).fault is None


def test_a_margin_that_nothing_can_exceed_decides_nothing() -> None:
    found = fed(Rule(Margin(1.2, 0.002), rate=0.95), [(10, 10, 190, 181)] * 50)
    assert found.bounded
    assert found.peak_pass == 0.0
    text = words.of_arms(found, Verdict.INCONCLUSIVE, "errors", RISK)
    assert "nothing can be worse" in text


def test_without_a_single_error_the_margin_alone_lets_a_candidate_pass() -> None:
    found, requests = arms.begin(Rule(rate=0.0), 0.0), 0
    while found.peak_pass < math.log(20):
        requests += 10
        found = arms.seen(found, Look(requests, 10, 0, 190, 0))
    assert requests == pytest.approx(math.log(20) / 0.002, rel=0.6)


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_shares_over_one_half_work(share: float) -> None:
    n_c, n_s = 400 * share, 400 * (1 - share)
    found = fed(Rule(rate=0.02), [(n_c, n_c * 0.2, n_s, n_s * 0.02)] * 40)
    assert found.log_fail > math.log(20)


def test_a_late_fault_is_heard_sooner_with_late_starts() -> None:
    looks = [(10.0, 0.1, 190.0, 1.9)] * 1800 + [(10.0, 0.5, 190.0, 1.9)] * 60
    late, single = (fed(Rule(strict=True, interval=False, late=late), looks) for late in (True, False))
    assert late.log_fail > math.log(20) > single.log_fail


def test_a_split_that_is_not_the_configured_one_trips_and_ramps_do_not() -> None:
    guard = guards.SampleRatio()
    for share in (0.01, 0.05, 0.25, 0.5) * 20:
        guard = guards.assigned(guard, share, round(share * 1000), 1000)
    assert not guard.tripped
    for _ in range(60):
        guard = guards.assigned(guard, 0.05, 70, 1000)
    assert guard.tripped
    assert guards.assigned(guards.SampleRatio(), 0.0, 5, 5) == guards.SampleRatio()


def test_a_share_that_comes_a_second_late_is_wrong_for_a_while_only() -> None:
    """Completions instead of assignments: a revision that takes a second longer from now on lacks one second, once."""
    guard = guards.assigned(guards.SampleRatio(), 0.5, 100, 200)
    guard = guards.assigned(guard, 0.5, 0, 100)
    assert guard.wrong
    for _ in range(10):
        guard = guards.assigned(guard, 0.5, 100, 200)
    assert guard.tripped and not guard.wrong
    for _ in range(100):
        guard = guards.assigned(guard, 0.5, 80, 200)
    assert guard.wrong


def test_a_slice_of_stable_that_differs_trips_in_either_direction() -> None:
    for bad in ((2.0, 1.9), (0.5, 9.5)):
        guard = guards.begin_slice(Rule(rate=0.01), 0.0)
        for second in range(400):
            guard = guards.sliced(guard, Look(second + 1, 50, bad[0], 190, bad[1]))
        assert guard.tripped
    alike = guards.begin_slice(Rule(rate=0.02), 0.0)
    for second in range(400):
        alike = guards.sliced(alike, Look(second + 1, 50, 1, 200, 4))
    assert not alike.tripped


def test_two_directions_share_the_guards_risk() -> None:
    """Summed instead of averaged, each would have the whole of it."""
    first = guards.sliced(guards.begin_slice(Rule(rate=0.01), 0.0), Look(1.0, 10, 0, 190, 2))
    assert first.peak < 0.2


def test_a_pass_stays_within_its_step() -> None:
    passed = fed(Rule(rate=0.01, interval=False), [(50.0, 0.5, 190.0, 1.9)] * 300)
    later = arms.seen(passed, Look(301.0, 50, 50, 190, 2))
    assert later.log_pass < math.log(20) < later.peak_pass == passed.peak_pass


def test_a_known_batch_divides_the_evidence() -> None:
    looks = [(16.0, 8.0, 190.0, 2.0)] * 3
    alone, batched = (fed(Rule(cluster=m, late=False), looks) for m in (1.0, 8.0))
    gains = np.array(alone.fail.logs), np.array(batched.fail.logs)
    assert gains[0] == pytest.approx(8 * gains[1])


def test_latency_is_counted_by_bins_and_never_tightens_what_was_asked() -> None:
    past = tuple((latency_bin(0.001 * k), 1) for k in range(10, 200))
    past = tuple(sorted({b: sum(c for x, c in past if x == b) for b, _ in past}.items()))
    for q, factor in ((0.5, 1.1), (0.99, 1.2)):
        found = units.freeze_slowness(past, q, factor)
        assert found is not None
        assert factor <= found.factor < factor * 1.045
        assert 0 <= found.rate <= 1 - q + 0.05
        assert found.rate + found.margin.extra >= (1 - q) / 2, "a pass would be out of reach"
    assert units.freeze_slowness((), 0.5, 1.1) is None
    slow = Counts(finished=3, latency=((found.candidate_bin - 1, 1), (found.candidate_bin, 2)))
    assert units.latency(1.0, found, slow, Counts(finished=1, latency=((found.stable_bin, 1),))) == Look(
        1.0, 3, 2, 1, 1
    )


def test_numbers_are_grouped_in_their_order_and_frozen() -> None:
    past = {f"{sign}{index}": 10 for sign in "+-" for index in range(-3, 8)} | {"0": 5, "nan": 2}
    groups = predictions.freeze_groups(past, numbers=True)
    assert groups is not None
    assert groups.ordered
    counts = predictions.grouped(groups, {"-7": 1, "+7": 1, "nan": 1, "inf": 1, "+900": 1})
    assert (counts[0], counts[-2], counts[-1]) == (1, 2, 2)
    assert len(counts) <= 22
    classes = predictions.freeze_groups({f"c{k}": k + 1 for k in range(80)}, numbers=False)
    assert classes is not None
    assert predictions.grouped(classes, {"never seen": 3, "c79": 1})[0] == 1
    assert predictions.grouped(classes, {"never seen": 3})[-1] == 3
    assert predictions.freeze_groups({}, numbers=False) is None


def test_amounts_by_bin_are_grouped_in_their_order() -> None:
    groups = predictions.freeze_bins(tuple((k, 10) for k in range(0, 1000, 10)))
    assert groups is not None
    assert groups.ordered
    assert sum(groups.shares) == pytest.approx(1)
    counts = predictions.binned(groups, ((0, 2), (5, 1), (999, 3)))
    assert (counts[0], counts[-2], counts[-1], sum(counts)) == (3, 3, 0, 6)
    assert predictions.freeze_bins(()) is None


def test_answers_that_belong_together_divide_the_evidence() -> None:
    groups = predictions.Groups((0.5, 0.5), classes=("a",))
    alone = together = predictions.begin(groups, 0.0, late=False)
    for second in range(20):
        alone = predictions.seen(alone, second + 1, (10, 0), (50, 50))
        together = predictions.seen(together, second + 1, (10, 0), (50, 50), cluster=8)
    assert np.array(alone.fail.logs) == pytest.approx(8 * np.array(together.fail.logs))
    assert alone.step_weight == pytest.approx(8 * together.step_weight)
    assert alone.step_units == together.step_units == 200


@pytest.mark.parametrize(("moved", "log_fail", "log_pass"), [(0.0, False, True), (0.3, True, False)])
def test_answers_that_move_fail_and_those_that_stay_pass(
    moved: float, log_fail: bool, log_pass: bool
) -> None:
    groups = predictions.Groups((0.5, 0.3, 0.2), classes=("a", "b"))
    found = predictions.begin(groups, 0.0, margin=0.1)
    for second in range(150):
        candidate = (50 - round(100 * moved), 30, 20 + round(100 * moved))
        found = predictions.seen(found, second + 1, tuple(c // 10 for c in candidate), (95, 57, 38))
    assert found.shift == pytest.approx(moved, abs=0.01)
    assert (found.log_fail > math.log(20)) is log_fail
    assert (found.peak_pass > math.log(20)) is log_pass


def test_capped_costs_are_shares_of_the_cap() -> None:
    found = means.amounts(1.0, ([0.25], [10.0]), ([0.1, 1.0], [60.0, 24.0]))
    assert (found.candidate, found.candidate_bad, found.stable, found.stable_bad) == (10, 2.5, 84, 30)
    assert found.candidate_at[16] == 10


def test_a_bake_alarms_at_a_rise_and_stays_alarmed() -> None:
    bake = detectors.Bake(0.012)
    for _ in range(3600):
        bake = detectors.seen(bake, 200, 2)
    assert bake.alarmed_at_look is None
    for _ in range(30):
        bake = detectors.seen(bake, 200, 10)
    at = bake.alarmed_at_look
    assert at is not None
    assert at <= 3600 + 10
    for _ in range(100):
        bake = detectors.seen(bake, 200, 0)
    assert bake.alarmed_at_look == at


def test_the_interval_agrees_with_the_verdict() -> None:
    failed = fed(Rule(rate=0.01), [(20.0, 2.0, 190.0, 2.0)] * 40)
    low, high = arms.interval(failed, ALPHA, ALPHA)
    assert failed.log_fail > math.log(20)
    assert low is not None
    assert low >= failed.rule.margin.extra
    truth = 0.1 - 1.2 * 2 / 190
    assert high is None or low < truth < high
    passed = fed(Rule(rate=0.01), [(50.0, 0.5, 190.0, 1.9)] * 300)
    low, high = arms.interval(passed, ALPHA, ALPHA)
    assert passed.log_pass > math.log(20)
    assert high is not None
    assert high <= passed.rule.margin.extra
    assert low is None or low < 0.01 - 0.012 < high


def test_the_limits_of_disagreement_shrink_around_the_truth_and_agree_with_the_verdict() -> None:
    found = pairs.begin(pairs.Disagreement(0.05), 0.0)
    assert pairs.limits(found, ALPHA, ALPHA) == (None, None)
    widths = []
    for second in range(300):
        found = pairs.seen(found, pairs.PairLook(second + 1, 2, 0, 98))
        low, high = pairs.limits(found, ALPHA, ALPHA)
        if low is not None and high is not None:
            assert low < 0.02 < high
            widths.append(high - low)
        assert (high is not None and high <= 0.05) or found.peak_pass < math.log(20)
    assert widths[-1] < 0.5 * widths[0]
    harmful = pairs.seen(pairs.begin(pairs.Disagreement(0.05), 0.0), pairs.PairLook(1, 60, 0, 40))
    low, _ = pairs.limits(harmful, ALPHA, ALPHA)
    assert low is not None and 0.05 <= low < 0.6
    assert pairs.limits(pairs.begin(pairs.Labelled(), 0.0), ALPHA, ALPHA) == (None, None)


def test_the_upper_limit_of_moved_answers_falls_below_the_margin_with_the_pass() -> None:
    found = predictions.begin(predictions.Groups((0.5, 0.5), classes=("a",)), 0.0)
    assert found.upper(ALPHA) is None
    uppers = []
    for second in range(200):
        found = predictions.seen(found, second + 1, (5, 5), (50, 50))
        upper = found.upper(ALPHA)
        if upper is not None:
            uppers.append(upper)
        assert (upper is not None and upper <= 0.1) or found.peak_pass < math.log(20)
    assert uppers[-1] <= 0.1 < uppers[0]


def test_a_candidate_without_a_bad_unit_shows_no_harm() -> None:
    """Half a bad unit of seven is no harm that was seen."""
    found = forecasts.of_arms(fed(Rule(rate=0.002), [(7.0, 0.0, 52.0, 0.0)]), ALPHA / 2, ALPHA)
    assert found.towards == "passed"
    assert found.more is not None and 500 < found.more < 10_000


def test_a_forecast_that_cannot_be_made_says_why() -> None:
    unseen = arms.next_step(fed(Rule(), [(10.0, 0.1, 190.0, 1.9)] * 20))
    early = fed(Rule(), [(10.0, 1.0, 190.0, 1.9)])
    cautious = arms.begin(Rule(), 0.0, dispersion.Dispersion(cautious=True))
    cautious = arms.seen(cautious, Look(1.0, 100.0, 2.0, 1000.0, 10.0))
    chance = fed(Rule(rate=0.01), [(10.0, 0.1, 190.0, 1.9)] * 20)
    narrow = fed(Rule(Margin(1.0, 1e-5), rate=0.3), [(50.0, 15.0, 950.0, 285.0)] * 20)
    for found, why, said in (
        (unseen, "unseen", "nothing seen in this step yet"),
        (early, "early", "too early to tell"),
        (cautious, "early", "too early to tell"),
        (chance, "early", "too early to tell"),
        (narrow, "narrow", "both arms are alike, and the margin is too narrow for this rate"),
    ):
        ahead = forecasts.of_arms(found, ALPHA, ALPHA)
        assert (ahead.more, ahead.unknown) == (None, why)
        assert said in forecasts.in_words(ahead, 1.0)


def test_forecasts_name_the_side_and_their_own_doubt() -> None:
    harmful = fed(Rule(rate=0.01), [(10.0, 0.3, 190.0, 1.9)] * 20)
    harmless = fed(Rule(rate=0.01), [(10.0, 0.1, 190.0, 1.9)] * 190)
    assert forecasts.of_arms(harmful, ALPHA, ALPHA).towards == "failed"
    found = forecasts.of_arms(harmless, ALPHA, ALPHA)
    assert found.towards == "passed"
    assert found.more is not None
    assert 500 < found.more < 20_000
    assert "seldom over 6 times that" in forecasts.in_words(found, 10.0)
    assert forecasts.of_arms(arms.begin(Rule(), 0.0), ALPHA, ALPHA) == forecasts.Forecast(unknown="unseen")
    assert "cannot be told" in forecasts.in_words(forecasts.Forecast(), 10.0)
    groups = predictions.Groups((0.5, 0.5), classes=("a",))
    for counts, towards in (((5, 5), "passed"), ((10, 0), "failed")):
        seen = predictions.begin(groups, 0.0)
        for second in range(10):
            seen = predictions.seen(seen, second + 1, counts, (50, 50))
        ahead = forecasts.of_answers(seen, ALPHA, ALPHA)
        assert ahead.towards == towards
        assert ahead.more is not None and ahead.more < 2000
    begun = predictions.begin(groups, 0.0)
    assert forecasts.of_answers(begun, ALPHA, ALPHA) == forecasts.Forecast(unknown="unseen")
    assert forecasts.plan(0.01, Margin(), ALPHA) == pytest.approx(5600, rel=0.5)
    with pytest.raises(ValueError, match="margin"):
        forecasts.plan(0.01, Margin(1.0, 0.0), ALPHA)


def test_09_words_show_rates_counts_interval_and_risk() -> None:
    found = fed(Rule(rate=0.01), [(10.0, 0.5, 190.0, 1.9)] * 310)
    said = words.of_arms(found, Verdict.FAILED, "errors", RISK)
    assert said.startswith("candidate 5.0 % errors against 1.0 % on 3,100 and 58,900 requests (")
    assert said.endswith("harm above the margin is certain (false-alarm risk 5 % per rollout)")
    assert "points above 1.2 × the stable's rate" in said
    nothing = words.of_arms(arms.begin(Rule(), 0.0), Verdict.INCONCLUSIVE, "errors", RISK)
    assert nothing == "errors: no requests of both arms yet, so nothing is known"
    shadow = pairs.seen(pairs.begin(pairs.Disagreement(), 0.0), pairs.PairLook(1.0, 40, 0, 60))
    assert "40 % of 100 requests (40), 5.0 % is tolerated; harm above" in words.of_pairs(
        shadow, Verdict.FAILED, RISK
    )


def test_checks_may_be_certain_together_though_none_is_alone() -> None:
    two = [Standing("a", 0.5, math.log(25), 0, 1), Standing("b", 0.5, math.log(26), 0, 1)]
    assert combining.log_sum(two) >= math.log(1 / ALPHA)
    assert combining.loudest(two) == "b"
    assert {combining.verdict_of(one, ALPHA, ALPHA) for one in two} == {Verdict.INCONCLUSIVE}


def test_a_lost_interval_is_no_reset() -> None:
    found = fed(Rule(), [(10.0, 0.0, 190.0, 2.0)] * 10)
    later = arms.seen(found, Look(5000.0, 10, 0, 190, 2))
    assert later.fail.starts == 83
    assert later.total.candidate == found.total.candidate + 10
    assert float(wealth.log_values(later.fail)[0]) <= math.log(2)

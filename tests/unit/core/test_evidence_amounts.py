"""Amounts as evidence: the exact factor of values between 0 and 1, relative margins, wanted gains, and how it is said."""

from __future__ import annotations

import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from seaway.core.checks import Verdict
from seaway.core.evidence import arms, forecasts, means, streams, units, words
from seaway.core.evidence.arms import Arms, Rule
from seaway.core.evidence.dispersion import Dispersion
from seaway.core.evidence.streams import Look
from seaway.core.evidence.wealth import Floats
from seaway.core.rollouts import margins
from seaway.core.rollouts.spec import RolloutCheck

RISK = words.Risk(0.05, 0.05)
SHARES = st.lists(st.floats(0.0, 1.0), min_size=1, max_size=20)


def rule_of(**options: object) -> Rule:
    check = RolloutCheck("outcome", kpi="revenue", **options)  # type: ignore[arg-type]
    return Rule(margins.margin_of(check), rate=0.8, axis=margins.axis_of(check))


def bets_of(rule: Rule, fail: bool, ours: int, theirs: int) -> tuple[streams.Bets, Floats]:
    return arms.bets_of(arms.begin(rule, 0.0), Look(1.0, ours, 0.0, theirs, 0.0), fail)


@given(SHARES)
def test_places_keep_how_many_and_how_much(values: list[float]) -> None:
    counts = np.array(means.places(values))
    assert counts.min() >= 0
    assert counts.sum() == pytest.approx(len(values))
    assert (counts * means.PLACES).sum() == pytest.approx(sum(values))


@given(SHARES, SHARES, st.booleans())
def test_places_never_win_more_than_the_values_themselves(
    ours: list[float], theirs: list[float], fail: bool
) -> None:
    bets, ratio = bets_of(rule_of(), fail, len(ours), len(theirs))
    candidate, stable = np.array(ours), np.array(theirs)
    placed = [np.array(means.places(values)) for values in (ours, theirs)]
    found = means.log_factors(bets, means.PLACES, *placed, ratio)
    x, y, kappa = (part[..., np.newaxis] for part in (bets.x, bets.y, bets.kappa))
    weight = kappa * ratio[..., np.newaxis] * len(ours) / len(theirs)
    exact = np.log1p(kappa * (candidate - y)).sum(-1) + np.log1p(-weight * (stable - x)).sum(-1)
    assert (found <= exact + 1e-9).all()
    # and never less than a yes or no of the same sum does
    whole = streams.log_factors(
        bets, np.float64(len(ours)), candidate.sum(), np.float64(len(theirs)), stable.sum(), ratio
    )
    assert (found >= whole - 1e-9).all()


@pytest.mark.parametrize("fail", [True, False], ids=["harm", "no harm"])
@pytest.mark.parametrize(
    "options",
    [{}, {"harm": "20%"}, {"gain": "5%"}, {"better": "lower"}, {"better": "lower", "gain": "30%"}],
    ids=str,
)
def test_on_the_line_no_bet_wins_on_average(options: dict[str, object], fail: bool) -> None:
    """Ville's bound needs this of every factor: wherever the stable's mean lies, and however the values do."""
    rule = rule_of(**options)
    ours, theirs = 5, 7
    bets, ratio = bets_of(rule, fail, ours, theirs)
    for stable in np.linspace(0.02, 0.98, 25):
        candidate = rule.margin.ratio * stable + rule.margin.extra
        if not 0 <= candidate <= 1:
            continue
        weight = bets.kappa * ratio * ours / theirs
        won = ours * np.log1p(bets.kappa * (candidate - bets.y)) + theirs * np.log1p(
            -weight * (stable - bets.x)
        )
        assert won[0].max() <= 1e-9  # row 0 is the margin; the mean of a product is that of its means


def fed(rule: Rule, lift: float, looks: int, seed: int, *, exact: bool = True, each: int = 400) -> Arms:
    """Looks at purchases of a fifth of the users, exponential; the candidate's are `lift` larger. Capped at 4.6 means."""
    rng = np.random.default_rng(seed)
    found = arms.begin(rule, 0.0)
    for second in range(1, looks + 1):
        values = []
        for larger in (1.0 + lift, 1.0):
            amounts = np.where(rng.random(each) < 0.2, rng.exponential(1.0, each), 0.0) * larger
            share = np.minimum(amounts / 4.6, 1.0)
            values.append(1.0 - share if rule.axis == "less" else share)
        look = units.labels(float(second), *(one.tolist() for one in values))
        if not exact:
            look = Look(look.at_s, look.candidate, look.candidate_bad, look.stable, look.stable_bad)
        found = arms.seen(found, look)
    return found


def test_less_revenue_is_harm_and_more_of_what_should_be_low_too() -> None:
    assert fed(rule_of(), -0.2, 120, 1).log_fail > math.log(20)
    assert fed(rule_of(better="lower"), 0.2, 160, 1).log_fail > math.log(20)
    healthy = fed(rule_of(harm="10%"), 0.0, 160, 1)
    assert healthy.peak_pass > math.log(20)
    assert healthy.log_fail < 0


def test_values_one_by_one_say_more_than_their_sum() -> None:
    exact, summed = (fed(rule_of(), -0.2, 100, 1, exact=one) for one in (True, False))
    assert exact.log_fail > 1.8 * max(summed.log_fail, 1.0)
    assert exact.total.variance == pytest.approx(0.31, abs=0.05)
    assert summed.total.variance == 1.0


def test_a_gain_passes_only_where_it_is_there() -> None:
    rule = rule_of(gain="5%")
    better, equal = fed(rule, 0.25, 160, 2), fed(rule, 0.0, 400, 2)
    assert better.peak_pass > math.log(20)
    assert better.log_fail < 0
    assert equal.log_fail > math.log(20)
    assert equal.peak_pass < math.log(20)


def test_the_interval_is_told_on_the_axis_of_the_margin() -> None:
    for lift in (-0.2, 0.2):
        low, high = arms.interval(fed(rule_of(), lift, 400, 3), 0.05, 0.05)
        assert low is not None
        assert high is not None
        assert low < -lift < high  # harm is less revenue
        assert high - low < 0.35


def test_amounts_that_hang_together_count_as_one() -> None:
    """Eight neighbours with the same amount: measured against what amounts vary, not against what a yes or no would."""
    rng = np.random.default_rng(4)
    found = arms.begin(rule_of(), 0.0, Dispersion())
    for second in range(1, 601):
        alike = [np.repeat(1.0 - rng.beta(2, 8, 8), 8).tolist() for _ in range(2)]
        found = arms.seen(found, units.labels(float(second), *alike))
    assert found.total.variance < 0.15
    assert 5.0 < found.divisor(fail=True) < 12.0


def test_looks_of_good_and_bad_and_of_amounts_add_up() -> None:
    plain, partial = units.labels(1.0, [1.0, 0.0], [0.0]), units.labels(2.0, [0.5], [0.25, 1.0])
    assert plain.candidate_at == ()
    whole = units.together([plain, partial])
    assert (whole.candidate, whole.candidate_bad, whole.stable, whole.stable_bad) == (3, 1.5, 3, 1.25)
    assert dict(zip(means.PLACES, whole.candidate_at, strict=True))[0.5] == 1.0
    assert (whole.candidate_at[0], whole.candidate_at[-1]) == (1.0, 1.0)
    assert means.squares(whole) == pytest.approx(means.squares(plain) + means.squares(partial))


def test_it_is_said_with_the_name_both_means_and_how_much_more() -> None:
    found = fed(rule_of(gain="5%"), 0.25, 160, 2)
    said = words.of_amounts(found, 4.6, Verdict.PASSED, "revenue", RISK)
    assert said.startswith("candidate 0.2")
    assert "revenue a request against 0.2004 on 64,000 and 64,000 requests with revenue" in said
    assert "each counted as 4.6 at most (between 12 % more and 37 % more than the stable's)" in said
    assert said.endswith("a gain of more than 5.0 % is certain (risk of a wrong pass 5 %)")
    none = fed(rule_of(gain="5%"), 0.0, 400, 2)
    failed = words.of_amounts(none, 4.6, Verdict.FAILED, "revenue", RISK)
    assert failed.endswith("less than the wanted gain of 5.0 % is certain (false-alarm risk 5 % per rollout)")
    slow = words.of_amounts(fed(rule_of(better="lower"), 0.2, 160, 1), 4.6, Verdict.FAILED, "wait_s", RISK)
    assert "between 9.9 % more and 27 % more" in slow
    assert slow.endswith("harm above the margin is certain (false-alarm risk 5 % per rollout)")


def test_before_anything_is_known_it_says_what_it_waits_for() -> None:
    begun = arms.begin(rule_of(), 0.0)
    assert (
        words.of_amounts(begun, None, Verdict.INCONCLUSIVE, "revenue", RISK)
        == "revenue: its first values above 0 tell how large one usually is, so nothing is known yet"
    )
    assert "no requests with revenue of both arms yet" in words.of_amounts(
        begun, 4.6, Verdict.INCONCLUSIVE, "revenue", RISK
    )


def test_the_forecast_knows_how_little_amounts_vary() -> None:
    exact, summed = (
        forecasts.of_arms(fed(rule_of(), 0.0, 90, 6, exact=one), 0.05, 0.05) for one in (True, False)
    )
    assert exact.more is not None
    assert summed.more is not None
    assert exact.more < summed.more / 2

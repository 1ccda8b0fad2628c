"""The mean of every factor is at most 1 under its null hypothesis: by enumeration of all outcomes, not by luck."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from seaway.core.evidence import means, pairs, predictions, streams
from seaway.core.evidence.guards import SampleRatio, assigned
from seaway.core.evidence.wealth import FAIL_ODDS, PASS_ODDS, Floats, paid_in

SETTINGS = 1500


def chances(n: int, p: float) -> Floats:
    return np.array([math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)])


@pytest.mark.parametrize("fail", [True, False])
def test_no_factor_has_a_mean_over_1_while_its_null_holds(fail: bool) -> None:
    draw = np.random.default_rng(5)
    odds, worst, tried = np.array(FAIL_ODDS if fail else PASS_ODDS), 0.0, 0
    while tried < SETTINGS:
        n_c, n_s = int(draw.integers(1, 9)), int(draw.integers(1, 9))
        ratio, extra = draw.uniform(0.3, 2.0), draw.choice([0.0, 0.002, 0.05, -0.03, -0.3])
        p_s, theta = draw.beta(0.4, 2), draw.beta(0.4, 2)
        line = ratio * p_s + extra
        low, high = (0.0, min(1.0, line)) if fail else (max(0.0, line), 1.0)
        if low > high or line >= 1:
            continue
        p_c = draw.choice([low, high, draw.uniform(low, high)])
        tried += 1
        sizes = np.asarray(float(n_c)), np.asarray(float(n_s))
        line_of = np.asarray(ratio), np.asarray(extra)
        bets = streams.choose_bets(*sizes, np.asarray(theta), *line_of, odds, fail)
        e_c, e_s = (
            grid[..., np.newaxis] for grid in np.meshgrid(range(n_c + 1), range(n_s + 1), indexing="ij")
        )
        logs = streams.log_factors(bets, sizes[0], e_c, sizes[1], e_s, line_of[0])
        chance = chances(n_c, p_c)[:, np.newaxis] * chances(n_s, p_s)[np.newaxis]
        mean = (np.exp(logs) * chance[..., np.newaxis]).sum(axis=(0, 1))
        worst = max(worst, float(mean.max()))
    assert 0.9 < worst <= 1 + 1e-9


def test_the_bets_do_win_where_the_harm_is_there() -> None:
    """Else a test that never bets would be valid too."""
    n_c, n_s, line = np.asarray(10.0), np.asarray(190.0), (np.asarray(1.2), np.asarray(0.002))
    for fail, rate in ((True, 0.05), (False, 0.005)):
        odds = np.array(FAIL_ODDS if fail else PASS_ODDS)
        bets = streams.choose_bets(n_c, n_s, np.asarray(0.01), *line, odds, fail)
        gained = streams.log_factors(bets, n_c, n_c * rate, n_s, n_s * 0.01, line[0])
        assert gained.max() > 0.01


@pytest.mark.parametrize("fail", [True, False])
@pytest.mark.parametrize("margin", [0.0, 0.01, 0.2])
def test_labelled_pairs_are_fair_on_the_margin(fail: bool, margin: float) -> None:
    for better in (0.05, 0.2):
        worse = better + margin
        rule = pairs.Labelled(margin)
        mean = (
            worse * np.exp(pairs.gains(rule, fail, 1, 0, 0))
            + better * np.exp(pairs.gains(rule, fail, 0, 1, 0))
            + (1 - worse - better) * np.exp(pairs.gains(rule, fail, 0, 0, 1))
        )
        assert mean == pytest.approx(np.ones_like(mean))


@pytest.mark.parametrize("fail", [True, False])
def test_disagreement_is_fair_on_the_tolerance_and_below_it_on_its_side(fail: bool) -> None:
    rule = pairs.Disagreement(0.05)
    for rate in (0.05, 0.01) if fail else (0.05, 0.3):
        mean = rate * np.exp(pairs.gains(rule, fail, 1, 0, 0)) + (1 - rate) * np.exp(
            pairs.gains(rule, fail, 0, 0, 1)
        )
        assert (mean <= 1 + 1e-12).all()


def test_the_sample_ratio_is_fair_at_the_configured_share() -> None:
    mean = sum(
        chance * math.exp(float(assigned(SampleRatio(), 0.05, count, 6).wealth.logs[0][0]))
        for count, chance in enumerate(chances(6, 0.05))
    )
    assert mean == pytest.approx(1.0)


def test_the_pass_side_of_predictions_is_fair_for_any_set_on_the_margin() -> None:
    """All outcomes of 3 candidate and 4 stable answers in 3 groups, at a total variation of exactly the margin."""
    p_s, p_c = (0.5, 0.3, 0.2), (0.3, 0.5, 0.2)
    groups = predictions.Groups(p_s, classes=("a", "b"))
    fresh = predictions.begin(groups, 0.0, margin=0.2)
    mean = 0.0
    for drawn in itertools.product(range(3), repeat=7):
        chance = math.prod(p_c[k] for k in drawn[:3]) * math.prod(p_s[k] for k in drawn[3:])
        candidate, stable = (
            tuple(part.count(k) for k in range(3)) for part in (list(drawn[:3]), list(drawn[3:]))
        )
        mean += chance * math.exp(predictions.seen(fresh, 1.0, candidate, stable).log_pass)
    assert 0.5 < mean <= 1.0


def test_the_pass_side_of_predictions_is_fair_in_many_answers_too() -> None:
    """Two groups, exactly 0.4 apart, 30 answers of each arm: Hoeffding's bound is nearly reached here."""
    groups = predictions.Groups((0.3, 0.7), classes=("a",))
    fresh, n, mean = predictions.begin(groups, 0.0, margin=0.4), 30, 0.0
    of_candidate, of_stable = chances(n, 0.7), chances(n, 0.3)
    for c, s in itertools.product(range(n + 1), repeat=2):
        seen = predictions.seen(fresh, 1.0, (c, n - c), (s, n - s))
        mean += float(of_candidate[c] * of_stable[s]) * math.exp(seen.log_pass)
    assert 0.5 < mean <= 1.0


def test_late_starts_never_pay_in_more_than_the_whole() -> None:
    shares = [paid_in(starts) for starts in range(10_000)]
    assert shares[0] == 0.5
    assert shares[1] - shares[0] == pytest.approx(0.5 / 2)
    assert shares[2] - shares[1] == pytest.approx(0.5 / 6)
    assert shares == sorted(shares)
    assert shares[-1] < 1


def test_the_asymptotic_limits_come_late_and_hold_the_mean() -> None:
    one = means.Moments(999, 999.0, 2000.0)
    assert means.asymptotic_limits(one, means.Moments(9999, 9999.0, 20_000.0), 1.0, 0.05) is None
    draw = np.random.default_rng(3)
    drawn = [draw.lognormal(0, 1, size) for size in (5000, 50_000)]
    arms = [means.Moments(len(x), float(x.sum()), float((x**2).sum())) for x in drawn]
    limits = means.asymptotic_limits(arms[0], arms[1], 1.0, 0.05)
    assert limits is not None
    assert limits[0] < 0 < limits[1]
    assert limits[1] - limits[0] < 0.6

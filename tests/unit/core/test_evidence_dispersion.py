"""How many outcomes count as one: the estimates against plain formulas, what they come to, and where they say nothing."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import numpy.typing as npt
import pytest

from seaway.core.evidence import arms, dispersion, streams
from seaway.core.evidence.arms import Rule
from seaway.core.evidence.dispersion import Dispersion
from seaway.core.evidence.streams import Look

Floats = npt.NDArray[np.float64]


def blocks_of(candidate: Floats, stable: Floats) -> Dispersion:
    """Closed blocks of these counts, `(blocks, categories)` of each arm."""
    found = Dispersion()
    for place, (ours, theirs) in enumerate(zip(candidate, stable, strict=True)):
        found = dispersion.seen(found, 10.0 * place, tuple(ours.tolist()), tuple(theirs.tolist()))
    return dispersion.closed(found, 10.0 * len(stable))


def test_the_estimates_are_the_plain_formulas_also_of_fractions_and_a_share_that_changes() -> None:
    draw = np.random.default_rng(3)
    sizes = np.repeat([[5.0, 95.0], [50.0, 50.0], [90.0, 10.0]], 4, axis=0)
    candidate, stable = (draw.gamma(1.0, 1.0, (12, 3)) * sizes[:, [arm]] for arm in (0, 1))
    found = blocks_of(candidate, stable)
    n_c, n_s = candidate.sum(axis=1), stable.sum(axis=1)
    ours, theirs = candidate / n_c[:, None], stable / n_s[:, None]
    one_c, one_s = (1 - ((arm.sum(axis=0) / arm.sum()) ** 2).sum() for arm in (candidate, stable))

    steps = (np.diff(theirs, axis=0) ** 2).sum(axis=1) / (1 / n_s[1:] + 1 / n_s[:-1])
    assert dispersion.between_blocks(found.stable) == pytest.approx(steps.mean() / one_s)
    mean = stable.sum(axis=0) / stable.sum()
    around = (n_s * ((theirs - mean) ** 2).sum(axis=1)).sum() / 11
    assert dispersion.around_mean(found.stable) == pytest.approx(around / one_s)
    weights, moved = 1 / (1 / n_c + 1 / n_s), ours - theirs
    centre = (weights[:, None] * moved).sum(axis=0) / weights.sum()
    varied = (weights * ((moved - centre) ** 2).sum(axis=1)).sum() / 11
    alone = (weights * (one_c / n_c + one_s / n_s)).mean()
    assert dispersion.of_difference(found.arms) == pytest.approx(varied / alone)

    both = (12 * dispersion.between_blocks(found.stable) + 11 * varied / alone) / 23
    assert dispersion.divisor(found) == pytest.approx(both) and both > 2
    assert dispersion.divisor(found, cluster=2 * both) == 2 * both


@pytest.mark.parametrize("share", [0.05, 0.5])
@pytest.mark.parametrize("together", [1, 8])
def test_outcomes_that_go_together_count_as_one(share: float, together: int) -> None:
    """Not more because one arm is worse from the beginning: that is what the test is there to find."""
    draw = np.random.default_rng(5)
    sizes = [together * draw.poisson(2000 * part / together, 1000) for part in (share, 1 - share)]
    bad = [together * draw.binomial(n // together, rate) for n, rate in zip(sizes, (0.06, 0.02), strict=True)]
    candidate, stable = (
        np.stack([wrong, n - wrong], axis=1).astype(float) for wrong, n in zip(bad, sizes, strict=True)
    )
    found = blocks_of(candidate, stable)
    for estimate in (
        dispersion.between_blocks(found.stable),
        dispersion.around_mean(found.stable),
        dispersion.of_difference(found.arms),
    ):
        assert estimate == pytest.approx(together, rel=0.15)


def test_where_nothing_varies_or_one_arm_is_silent_nothing_is_divided() -> None:
    none, some = np.zeros((6, 2)), np.tile([0.0, 40.0], (6, 1))
    for candidate, stable in ((some, some), (none, some), (some, none), (none, none)):
        found = blocks_of(candidate, stable)
        assert dispersion.divisor(found) == 1.0
        assert dispersion.around_mean(found.stable) == 1.0
    worst = blocks_of(np.tile([7.0, 0.0], (6, 1)), some)
    assert dispersion.divisor(worst) == 1.0 and dispersion.of_difference(worst.arms) == 1.0


def test_a_constant_difference_is_none_though_sums_are_rounded() -> None:
    """The same shares in each block, of sizes that no float holds exactly: never below nothing, never a nan."""
    sizes = np.linspace(0.1, 1e9, 400)[:, None]
    found = blocks_of(sizes * [0.1, 0.9], sizes * [0.3, 0.7])
    assert 0.0 <= dispersion.of_difference(found.arms) < 1e-6
    assert 0.0 <= dispersion.around_mean(found.stable) < 1e-6
    assert dispersion.divisor(found) == 1.0


def test_each_look_of_a_minute_is_a_block_and_divides_only_those_after_it() -> None:
    found = arms.begin(Rule(interval=False), 0.0)
    stable = [6.0, 300.0, 6.0]
    divisors = []
    for minute, bad in enumerate(stable, 1):
        found = arms.seen(found, Look(60.0 * minute, 60, 3, 600, bad))
        known = msgspec.structs.replace(
            found, dispersion=dispersion.closed(found.dispersion, 60.0 * minute + 60)
        )
        divisors.append((found.divisor(True), known.divisor(True)))
    assert divisors[0] == divisors[1][:1] * 2 == (1.0, 1.0)
    assert divisors[1][1] == divisors[2][0] > 10
    assert found.dispersion.stable.blocks == 2


def test_until_a_minute_of_the_stable_revision_is_known_evidence_of_harm_is_divided_by_eight() -> None:
    for cautious, first in ((True, 8.0), (False, 1.0)):
        found = arms.begin(Rule(interval=False), 0.0, Dispersion(cautious=cautious))
        told = []
        for second in range(80):
            found = arms.seen(found, Look(float(second), 10, 0, 190, 0))
            told.append((found.divisor(True), found.divisor(False)))
        # The sixth block closes with the look after it.
        assert told == [(first, 1.0)] * 60 + [(1.0, 1.0)] * 20


@pytest.mark.parametrize("fail", [True, False])
def test_a_look_is_bet_on_and_divided_by_what_was_known_before_it(fail: bool) -> None:
    """Bets or a divisor that knew the look itself would see only what they wish to."""
    found = arms.begin(Rule(interval=False, late=False), 0.0)
    for second in range(60):
        spoilt = 9.0 * (second // 10 % 2)
        found = arms.seen(found, Look(float(second), 10, spoilt / 9, 190, 2 + spoilt))
    look = Look(60.0, 10, 4, 190, 60)
    known = msgspec.structs.replace(found, dispersion=dispersion.closed(found.dispersion, look.at_s))
    bets, ratio = arms.bets_of(known, look, fail)
    counts = (
        np.asarray(float(n)) for n in (look.candidate, look.candidate_bad, look.stable, look.stable_bad)
    )
    gained = streams.log_factors(bets, *counts, ratio)[0] / known.divisor(fail)
    after = arms.seen(found, look)
    before, now = ((one.fail if fail else one.passing).logs[0] for one in (found, after))
    assert np.array(now) - np.array(before) == pytest.approx(gained)
    assert known.divisor(fail) > 1.5 and after.theta != found.theta


def test_a_restart_changes_nothing() -> None:
    draw = np.random.default_rng(7)
    whole = cut = Dispersion(cautious=True)
    for second in range(95):
        counts = [tuple(map(float, draw.poisson((2, size)))) for size in (10, 190)]
        whole = dispersion.seen(whole, float(second), *counts)
        cut = dispersion.seen(cut, float(second), *counts)
        cut = msgspec.json.decode(msgspec.json.encode(cut), type=Dispersion)
    assert cut == whole
    assert math.isfinite(dispersion.divisor(whole)) and whole.stable.blocks == whole.arms.blocks == 9

"""The first rows of the published table, in small: the whole of it is tests/proof/verdicts.py."""

from __future__ import annotations

import numpy as np
import pytest

import verdict_peers as peers
import verdicts
from seaway.core.evidence import arms
from seaway.core.evidence.streams import STRICT, Look, Margin
from seaway.core.rollouts import baseline
from verdict_runs import NEVER, Traffic, drawn, first_looks

SIZES = np.asarray(10.0), np.asarray(190.0)


def rollouts(base: float, times: float, runs: int = 120, looks: int = 900) -> Traffic:
    rates = np.asarray(base * times), np.asarray(base)
    return drawn(np.random.default_rng(17), (runs, looks), SIZES, rates)


def test_the_simulation_decides_as_the_core_does() -> None:
    verdicts._same_as_the_core(np.random.default_rng(5))


@pytest.mark.parametrize(
    ("base", "times", "requests"), [(0.001, 5.0, 1038), (0.01, 5.0, 110), (0.01, 2.0, 1096), (0.05, 2.0, 199)]
)
def test_a_worse_candidate_fails_after_about_the_published_number_of_requests(
    base: float, times: float, requests: float
) -> None:
    traffic = rollouts(base, times)
    firsts = first_looks(traffic, STRICT, True, rate=base)
    failed = firsts != NEVER
    assert failed.mean() > 0.97
    median = np.median(np.cumsum(traffic.n_c, axis=1)[failed, firsts[failed]])
    assert requests * 0.7 < median < requests * 1.4


@pytest.mark.parametrize(("base", "requests"), [(0.001, 2833), (0.05, 2822)])
def test_a_healthy_candidate_passes_after_about_the_published_number(base: float, requests: float) -> None:
    traffic = rollouts(base, 1.0)
    firsts = first_looks(traffic, Margin(), False, rate=base)
    passed = firsts != NEVER
    assert passed.mean() > 0.85
    median = np.median(np.cumsum(traffic.n_c, axis=1)[passed, firsts[passed]])
    assert requests * 0.7 < median < requests * 1.4
    assert (first_looks(traffic, STRICT, True, rate=base) != NEVER).mean() < 0.13


def test_what_others_do_with_the_same_healthy_candidate() -> None:
    traffic = rollouts(0.05, 1.0)
    assert (peers.z_rules(traffic)["naive"] != NEVER).mean() > 0.25
    for rule in (peers.flagger, peers.argo):
        back, on = rule(traffic)
        assert (back != NEVER).all(), "5 % errors are under 99 % success, whatever the stable does"
        assert (on == NEVER).all()
    back, on = peers.flagger(rollouts(0.001, 5.0))
    assert (on != NEVER).all(), "five times the errors of a good service"


def test_in_the_first_minute_of_a_stable_revision_batches_fail_no_healthy_candidate() -> None:
    """Nothing is known of how failures cluster then; taken for independent, they failed a third of 300 such rollouts."""
    draw, failed = np.random.default_rng(3), 0
    for _ in range(60):
        unknown = baseline.spread((), lambda counts: (counts.bad, counts.finished - counts.bad))
        found = arms.begin(arms.Rule(strict=True, interval=False), 0.0, unknown)
        for second in range(40):
            batches = draw.poisson(25)
            bad, ours = draw.random(batches) < 0.01, draw.random(batches) < 0.5
            sizes = (ours.sum(), (bad & ours).sum(), (~ours).sum(), (bad & ~ours).sum())
            found = arms.seen(found, Look(second + 1.0, *(8.0 * size for size in sizes)))
        failed += found.log_fail >= np.log(20)
    assert failed <= 6

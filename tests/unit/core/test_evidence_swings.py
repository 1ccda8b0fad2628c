"""How many labelled pairs count as one: near 1 of independent ones, the size of a cluster of equal ones."""

from __future__ import annotations

import math

import numpy as np
import pytest

from seaway.core.evidence import swings
from seaway.core.evidence.dispersion import BLOCK_S, KNOWN_BLOCKS, UNKNOWN
from seaway.core.evidence.pairs import PairLook
from seaway.core.evidence.swings import Swings
from seaway.core.rollouts import processes
from seaway.core.rollouts.baseline import Baseline
from seaway.core.rollouts.processes import Paired
from seaway.core.rollouts.spec import RolloutCheck


def look(at_s: float, harms: np.ndarray) -> PairLook:
    worse, better, same = (int((harms == kind).sum()) for kind in (1, -1, 0))
    return PairLook(at_s, worse, better, same)


def drawn(
    draw: np.random.Generator, count: int, cluster: int, worse: float = 0.07, better: float = 0.07
) -> np.ndarray:
    kinds = draw.choice([1, -1, 0], count // cluster, p=[worse, better, 1 - worse - better])
    return np.repeat(kinds, cluster)


@pytest.mark.parametrize("cluster", [1, 8])
def test_it_is_the_size_of_the_clusters(cluster: int) -> None:
    draw, found = np.random.default_rng(1), Swings()
    for second in range(3000):
        found = swings.seen(found, look(second + 0.5, drawn(draw, 16, cluster)))
    assert found.blocks == 299
    assert swings.divisor(found) == pytest.approx(cluster, rel=0.25)


def test_an_hour_in_which_the_candidate_is_worse_is_a_swing() -> None:
    draw, found = np.random.default_rng(2), Swings()
    for second in range(3000):
        bad = (second // 100) % 2
        harms = draw.choice([1, -1, 0], 20, p=[0.2, 0.0, 0.8] if bad else [0.0, 0.2, 0.8])
        found = swings.seen(found, look(second + 0.5, harms))
    assert swings.divisor(found) > 10


def test_the_open_block_says_nothing_and_little_known_is_taken_for_clusters() -> None:
    found = Swings()
    for block in range(KNOWN_BLOCKS):
        found = swings.seen(found, PairLook(block * BLOCK_S, 1, 1, 8))
        assert swings.divisor(found) == UNKNOWN
    assert swings.divisor(swings.closed(found, KNOWN_BLOCKS * BLOCK_S)) == 1.0


def test_losses_of_numbers_count_by_their_size_and_pairs_that_are_all_alike_say_nothing() -> None:
    found = Swings()
    for block in range(20):
        found = swings.seen(
            found, PairLook(block * BLOCK_S, 0, 0, 0, (0.5, -0.5) if block % 2 else (0.5, 0.5))
        )
    whole = Swings()
    for block in range(20):
        whole = swings.seen(whole, PairLook(block * BLOCK_S, 1 if block % 2 else 2, block % 2, 0))
    assert swings.divisor(found) == pytest.approx(swings.divisor(whole))
    alike = Swings()
    for block in range(20):
        alike = swings.seen(alike, PairLook(block * BLOCK_S, 0, 0, 5))
    assert swings.divisor(alike) == UNKNOWN


def told(seed: int, cluster: int, *, worse: float, better: float, strict: bool = False) -> tuple[bool, bool]:
    """Whether 600 s of pairs ever fail the check, and whether they ever pass it."""
    draw = np.random.default_rng(seed)
    found = processes.begin(RolloutCheck("shadow_quality", strict=strict), Baseline(), (), 0.0)
    failed = passed = False
    for second in range(600):
        found = processes.paired(found, look(second + 1.0, drawn(draw, 16, cluster, worse, better)), 0, None)
        assert isinstance(found, Paired)
        failed |= found.found.log_fail >= math.log(20)
        passed |= found.found.log_pass >= math.log(20)
    return failed, passed


@pytest.mark.parametrize("cluster", [1, 8])
def test_clusters_make_few_false_alarms(cluster: int) -> None:
    """Without a divisor eight equal pairs in a row fail 94 % of such rollouts, with it 3.5 % (200 runs)."""
    assert sum(told(seed, cluster, worse=0.07, better=0.07)[0] for seed in range(12)) <= 1


def test_rare_clusters_after_a_quiet_time_are_no_surprise() -> None:
    """Were the quiet blocks taken for knowledge, 23 % of such rollouts failed (150 runs), and 17 % of those passed whose harm
    is just what is tolerated."""
    assert not any(told(seed, 8, worse=0.002, better=0.002, strict=True)[0] for seed in range(12))
    assert not any(told(seed, 8, worse=0.01, better=0.0)[1] for seed in range(12))

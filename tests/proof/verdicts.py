"""Thousands of simulated rollouts: how often healthy candidates fail, how soon bad ones do, beside what others do.

A canary of 5 % of 200 requests a second, one look a second, one hour. The e-processes are those of `core.evidence`.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

import numpy as np

import verdict_amounts
import verdict_dependence
import verdict_labels
import verdict_peers as peers
import verdict_units
from seaway.core.evidence import arms, dispersion
from seaway.core.evidence.pairs import Disagreement, Labelled
from seaway.core.evidence.streams import STRICT, Look, Margin
from verdict_runs import (
    ALPHA,
    LOOKS,
    NEVER,
    Traffic,
    divisors_by_blocks,
    drawn,
    first_looks,
    gathered,
    holds,
    judged,
    said,
    share_of,
    steady,
)

MARGIN = Margin()
NULL_RUNS, HARM_RUNS, FEWEST = 2000, 500, 40
BASES, TIMES = (0.001, 0.01, 0.05), (1.0, 1.5, 2.0, 5.0)
SEED = 20_261_122


def measure(scale: float) -> dict[str, Any]:
    """The figures. Only validity is judged: no false-alarm rate that is proved to be under alpha is certainly over it."""
    draw = np.random.default_rng(SEED)
    runs = max(FEWEST, round(NULL_RUNS * scale)), max(FEWEST, round(HARM_RUNS * scale))
    _same_as_the_core(draw)
    verdict_labels.same_as_the_core(draw)
    verdict_labels.same_waiting(draw)
    verdict_amounts.same_as_the_core(draw)
    verdict_units.same_bake(draw)
    figures: dict[str, Any] = {
        "table": [
            _row(draw, base, times, runs[0] if times == 1 else runs[1]) for base in BASES for times in TIMES
        ],
        "on_the_margin": [_on_the_margin(draw, base, runs[0]) for base in (0.001, 0.01, 0.05, 0.15)],
        "late_starts": _late_starts(draw, runs),
        "ramps": [_ramp(draw, runs[0], rates) for rates in ((0.04, 0.01), (0.01, 0.04))],
        "bursts": _bursts(draw, runs[0]),
        "dependence": [verdict_dependence.one_arm(draw, runs[1], kind) for kind in verdict_dependence.KINDS],
        "common_swings": verdict_dependence.both_arms(draw, runs[1]),
        "within_looks": [
            _within_looks(draw, size, alpha) for size in (10, 20, 40) for alpha in (ALPHA, ALPHA / 6)
        ],
        "latency": [
            _latency(draw, runs[1], (0.99, 1.2), slower) for slower in (1.0, 1.1, 1.2, 1.3, 1.5, 2.0, 5.0)
        ],
        "median_latency": [_latency(draw, runs[1], (0.5, 1.1), slower) for slower in (1.0, 1.1, 1.2, 1.5)],
        "shares": [_share(draw, runs[0], share) for share in (0.01, 0.5, 0.95, 0.99)],
        "cold_candidate": _cold(draw, runs[1]),
        "sticky_users": [
            verdict_units.sticky(draw, max(4, runs[1] // 4), users) for users in (1_000, 10_000)
        ],
        "sticky_worse": [
            verdict_units.sticky_worse(draw, max(4, runs[1] // 4), users) for users in (10_000, 100_000)
        ],
        "shadow": [
            _pairs(draw, runs[1], Disagreement(0.02), (p, 0.0)) for p in (0.005, 0.01, 0.02, 0.03, 0.05, 0.1)
        ],
        "labelled_pairs": [
            _pairs(draw, runs[1], rule, rates)
            for rule, rates in (
                (Labelled(0.0), (0.07, 0.07)),
                (Labelled(0.0), (0.08, 0.06)),
                (Labelled(0.01), (0.075, 0.065)),
                (Labelled(0.01), (0.08, 0.06)),
                (Labelled(0.01), (0.11, 0.06)),
                (Labelled(0.01), (0.07, 0.07)),
            )
        ],
        "answers": [_answers(draw, runs[1], moved) for moved in (0.0, 0.05, 0.1, 0.15, 0.2, 0.3)],
        "accuracy": verdict_labels.accuracy(draw, runs[1]),
        "labels": verdict_labels.by_rate(draw, runs[1]),
        "kpi": verdict_amounts.kpis(draw, runs[1]),
        "cost": verdict_amounts.costs(draw, runs[1]),
        "bake": verdict_units.bake(draw, runs[1]),
    }
    figures["null_runs"], figures["harm_runs"] = runs
    return figures


def _row(draw: np.random.Generator, base: float, times: float, runs: int) -> dict[str, Any]:
    traffic = steady(draw, runs, base * times, base)
    strict = first_looks(traffic, STRICT, True, rate=base)
    failed, passed = (first_looks(traffic, MARGIN, fail, rate=base) for fail in (True, False))
    first = np.minimum(failed, passed)
    row: dict[str, Any] = {
        "base": base,
        "times": times,
        "runs": runs,
        "strict_failed": said(strict, traffic),
        "margin_failed": share_of(failed < passed),
        "margin_passed": share_of(passed < failed),
        "margin_median": said(first, traffic)["median"],
    }
    row |= {name: said(found, traffic) for name, found in peers.z_rules(traffic).items()}
    for name, rule in (("flagger", peers.flagger), ("argo", peers.argo)):
        back, on = rule(traffic)
        row[name] = {"rolled_back": said(back, traffic), "promoted": share_of(on != NEVER)}
    if times == 1:
        holds(strict, f"healthy at {base}, strict")
        holds(failed, f"healthy at {base}")
    return row


def _on_the_margin(draw: np.random.Generator, base: float, runs: int) -> dict[str, Any]:
    traffic = steady(draw, runs, MARGIN.ratio * base + MARGIN.extra, base)
    failed, passed = (first_looks(traffic, MARGIN, fail, rate=base) for fail in (True, False))
    holds(failed, f"on the margin at {base}, failed")
    holds(passed, f"on the margin at {base}, passed")
    return {"base": base, "failed": share_of(failed != NEVER), "passed": share_of(passed != NEVER)}


def _late_starts(draw: np.random.Generator, runs: tuple[int, int]) -> dict[str, Any]:
    """From the start, and a fault of five times after half an hour."""
    healthy = first_looks(steady(draw, runs[0], 0.01, 0.01), STRICT, True, rate=0.01, late=True)
    holds(healthy, "late starts")
    rates = np.where(np.arange(LOOKS) < LOOKS // 2, 0.01, 0.05)
    fault = steady(draw, runs[1], rates, 0.01)
    found: dict[str, Any] = {"healthy_failed": share_of(healthy != NEVER)}
    for name, late in (("late", True), ("single", False)):
        firsts = first_looks(fault, STRICT, True, rate=0.01, late=late)
        after = firsts[(firsts != NEVER) & (firsts >= LOOKS // 2)] - LOOKS // 2
        found[f"{name}_median_s_after_fault"] = float(np.median(after)) if after.size else None
    return found


def _ramp(draw: np.random.Generator, runs: int, rates: tuple[float, float]) -> dict[str, Any]:
    """Shares of 1, 5, 25 and 50 % while the rate of both arms moves from one value to the other."""
    share = np.repeat([0.01, 0.05, 0.25, 0.5], LOOKS // 4)
    rate = np.linspace(*rates, LOOKS)
    traffic = drawn(draw, (runs, LOOKS), (200 * share, 200 * (1 - share)), (rate, rate))
    firsts = first_looks(traffic, STRICT, True, rate=rates[0])
    holds(firsts, f"a ramp while errors go {rates}")
    return {
        "errors": rates,
        "strict_failed": share_of(firsts != NEVER),
        "pooled_z": share_of(peers.z_rules(traffic)["peek"] != NEVER),
    }


def _bursts(draw: np.random.Generator, runs: int) -> dict[str, Any]:
    """30 % errors in both arms in 2 % of the seconds."""
    rate = np.where(draw.random((runs, LOOKS)) < 0.02, 0.3, 0.01)
    traffic = steady(draw, runs, rate, rate)
    firsts = first_looks(traffic, STRICT, True, rate=0.01)
    holds(firsts, "bursts of both arms")
    others = peers.z_rules(traffic)
    return {"strict_failed": share_of(firsts != NEVER)} | {
        name: share_of(others[name] != NEVER) for name in ("naive", "peek")
    }


def _within_looks(draw: np.random.Generator, size: int, alpha: float) -> dict[str, Any]:
    """20 % errors against 0.1 %: how many of 1,000 rollouts fail within so many looks of `size` candidate requests."""
    shape = (1000, 4)
    n_c, n_s = np.full(shape, float(size)), np.full(shape, 19.0 * size)
    e_c, e_s = (draw.binomial(n.astype(int), p).astype(float) for n, p in ((n_c, 0.2), (n_s, 0.001)))
    firsts = first_looks(Traffic(n_c, e_c, n_s, e_s), MARGIN, True, rate=0.001, alpha=alpha)
    return {"requests_a_look": size, "alpha": round(alpha, 5)} | {
        f"within_{looks}": share_of(firsts < looks) for looks in (2, 3, 4)
    }


def _latency(
    draw: np.random.Generator, runs: int, rule: tuple[float, float], slower: float
) -> dict[str, Any]:
    """The rule of a quantile and a tolerated factor on log-normal times (sigma 0.5) that are so many times slower."""
    quantile, factor = rule
    place = NormalDist().inv_cdf(quantile)
    beyond, rate = 1 - NormalDist().cdf(place + math.log(factor / slower) / 0.5), 1 - quantile
    traffic = steady(draw, runs, beyond, rate)
    failed, passed = (first_looks(traffic, STRICT, fail, rate=rate) for fail in (True, False))
    found = {"slower": slower, "failed": said(failed, traffic), "passed": said(passed, traffic)}
    return judged(found, slower, factor, runs)


def _share(draw: np.random.Generator, runs: int, share: float) -> dict[str, Any]:
    """Such a share of the requests, for 20 minutes at 1 % errors: healthy, and exactly on the margin."""
    sizes = np.asarray(200 * share), np.asarray(200 * (1 - share))
    found: dict[str, Any] = {"share": share}
    for name, rate in (("healthy", 0.01), ("on_the_margin", MARGIN.ratio * 0.01 + MARGIN.extra)):
        traffic = gathered(drawn(draw, (runs, LOOKS // 3), sizes, (np.asarray(rate), np.asarray(0.01))))
        sides = (STRICT, True), (MARGIN, True), (MARGIN, False)
        strict, failed, passed = (first_looks(traffic, *side, rate=0.01) for side in sides)
        holds(failed, f"share {share}, {name}")
        holds(strict if name == "healthy" else passed, f"share {share}, {name}, strict or passed")
        cells = {"strict_failed": strict, "failed": failed, "passed": passed}
        found[name] = {cell: said(firsts, traffic) for cell, firsts in cells.items()}
    return found


def _cold(draw: np.random.Generator, runs: int) -> dict[str, Any]:
    """A healthy candidate with 5 % errors in its first 30 s: with them, and dropped for both arms as declared."""
    rates = np.where(np.arange(LOOKS // 2) < 30, 0.05, 0.01)
    traffic = steady(draw, runs, rates, 0.01, LOOKS // 2)
    warm = Traffic(*(a[:, 30:] for a in (traffic.n_c, traffic.e_c, traffic.n_s, traffic.e_s)))
    dropped = first_looks(warm, MARGIN, True, rate=0.01)
    holds(dropped, "a cold candidate without its first 30 s")
    with_them = first_looks(traffic, MARGIN, True, rate=0.01)
    return {
        "failed_with_the_cold_start": share_of(with_them != NEVER),
        "failed_without": share_of(dropped != NEVER),
    }


def _pairs(
    draw: np.random.Generator, runs: int, rule: Disagreement | Labelled, rates: tuple[float, float]
) -> dict[str, Any]:
    found = verdict_units.of_pairs(draw, runs, rule, rates)
    limit = rule.tolerance if isinstance(rule, Disagreement) else rule.margin
    return {"limit": limit} | judged(found, rates[0] - rates[1], limit, runs)


def _answers(draw: np.random.Generator, runs: int, moved: float) -> dict[str, Any]:
    return judged(verdict_units.answers(draw, runs, moved), moved, 0.1, runs)


def _same_as_the_core(draw: np.random.Generator) -> None:
    """What is simulated is what decides: the arrays give the very looks of `arms.seen`, with phi and late starts."""
    traffic, past = (steady(draw, 3, 0.03, 0.01, looks) for looks in (600, 600))
    divisors = divisors_by_blocks(traffic, past)
    firsts = first_looks(traffic, MARGIN, True, rate=0.01, divisors=divisors, late=True)
    for run in range(3):
        before = dispersion.Dispersion()
        for look in range(600):
            good = past.n_s[run, look] - past.e_s[run, look]
            before = dispersion.seen(before, look, (), (float(past.e_s[run, look]), float(good)))
        found, crossed = arms.begin(arms.Rule(MARGIN, rate=0.01, interval=False), 600.0, before), NEVER
        for look in range(600):
            counts = (a[run, look] for a in (traffic.n_c, traffic.e_c, traffic.n_s, traffic.e_s))
            found = arms.seen(found, Look(600.0 + look, *map(float, counts)))
            crossed = min(crossed, look if found.log_fail >= -math.log(ALPHA) else NEVER)
            following = look + 1
            if following % 10 and following < 600:
                assert math.isclose(found.divisor(True), divisors[run, following]), f"phi at {following}"
        assert crossed == firsts[run], f"run {run}: {crossed} and {firsts[run]}"

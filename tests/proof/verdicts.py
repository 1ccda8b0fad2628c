"""Thousands of simulated rollouts: how often healthy candidates fail, how soon bad ones do, beside what others do.

A canary of 5 % of 200 requests a second, one look a second, one hour. The e-processes are those of `core.evidence`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

import verdict_peers as peers
import verdict_units
from seaway.core.evidence import arms, dispersion
from seaway.core.evidence.pairs import Disagreement, Labelled
from seaway.core.evidence.streams import STRICT, Look, Margin
from verdict_runs import ALPHA, NEVER, Floats, Traffic, divisors_by_blocks, drawn, first_looks, share_of

MARGIN = Margin()
LOOKS, CANARY, STABLE = 3600, 10.0, 190.0
NULL_RUNS, HARM_RUNS, FEWEST = 2000, 500, 40
BASES, TIMES = (0.001, 0.01, 0.05), (1.0, 1.5, 2.0, 5.0)
SEED = 20_261_122
Firsts = npt.NDArray[np.int64]


STALL_LOOKS = {"stalls of 1 s": 1, "stalls of 3 s": 3, "stalls of 5 s": 5}
DEPENDENT = ("batches of 8", *STALL_LOOKS, "fast swings", "slow swings")


def measure(scale: float) -> dict[str, Any]:
    """The figures. Only validity is judged: no false-alarm rate that is proved to be under alpha is certainly over it."""
    draw = np.random.default_rng(SEED)
    runs = max(FEWEST, round(NULL_RUNS * scale)), max(FEWEST, round(HARM_RUNS * scale))
    _same_as_the_core(draw)
    figures: dict[str, Any] = {
        "table": [
            _row(draw, base, times, runs[0] if times == 1 else runs[1]) for base in BASES for times in TIMES
        ],
        "on_the_margin": [_on_the_margin(draw, base, runs[0]) for base in (0.001, 0.01, 0.05, 0.15)],
        "late_starts": _late_starts(draw, runs),
        "ramps": [_ramp(draw, runs[0], rates) for rates in ((0.04, 0.01), (0.01, 0.04))],
        "bursts": _bursts(draw, runs[0]),
        "dependence": [_dependent(draw, runs[1], kind) for kind in DEPENDENT],
        "common_swings": _common_swings(draw, runs[1]),
        "within_looks": [
            _within_looks(draw, size, alpha) for size in (10, 20, 40) for alpha in (ALPHA, ALPHA / 6)
        ],
        "latency": [_latency(draw, runs[1], slower) for slower in (1.0, 1.1, 1.2, 1.3, 1.5, 2.0, 5.0)],
        "cold_candidate": _cold(draw, runs[1]),
        "sticky_users": [
            verdict_units.sticky(draw, max(10, runs[1] // 4), users) for users in (1_000, 10_000)
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
    }
    figures["null_runs"], figures["harm_runs"] = runs
    return figures


def _row(draw: np.random.Generator, base: float, times: float, runs: int) -> dict[str, Any]:
    traffic = _steady(draw, runs, base * times, base)
    strict = first_looks(traffic, STRICT, True, rate=base)
    failed, passed = (first_looks(traffic, MARGIN, fail, rate=base) for fail in (True, False))
    first = np.minimum(failed, passed)
    row: dict[str, Any] = {
        "base": base,
        "times": times,
        "runs": runs,
        "strict_failed": _said(strict, traffic),
        "margin_failed": share_of(failed < passed),
        "margin_passed": share_of(passed < failed),
        "margin_median": _median(first, traffic),
    }
    row |= {name: _said(found, traffic) for name, found in peers.z_rules(traffic).items()}
    for name, rule in (("flagger", peers.flagger), ("argo", peers.argo)):
        back, on = rule(traffic)
        row[name] = {"rolled_back": _said(back, traffic), "promoted": share_of(on != NEVER)}
    if times == 1:
        _holds(strict, f"healthy at {base}, strict")
        _holds(failed, f"healthy at {base}")
    return row


def _on_the_margin(draw: np.random.Generator, base: float, runs: int) -> dict[str, Any]:
    traffic = _steady(draw, runs, MARGIN.ratio * base + MARGIN.extra, base)
    failed, passed = (first_looks(traffic, MARGIN, fail, rate=base) for fail in (True, False))
    _holds(failed, f"on the margin at {base}, failed")
    _holds(passed, f"on the margin at {base}, passed")
    return {"base": base, "failed": share_of(failed != NEVER), "passed": share_of(passed != NEVER)}


def _late_starts(draw: np.random.Generator, runs: tuple[int, int]) -> dict[str, Any]:
    """From the start, and a fault of five times after half an hour."""
    healthy = first_looks(_steady(draw, runs[0], 0.01, 0.01), STRICT, True, rate=0.01, late=True)
    _holds(healthy, "late starts")
    rates = np.where(np.arange(LOOKS) < LOOKS // 2, 0.01, 0.05)
    fault = _steady(draw, runs[1], rates, 0.01)
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
    _holds(firsts, f"a ramp while errors go {rates}")
    return {
        "errors": rates,
        "strict_failed": share_of(firsts != NEVER),
        "pooled_z": share_of(peers.z_rules(traffic)["peek"] != NEVER),
    }


def _bursts(draw: np.random.Generator, runs: int) -> dict[str, Any]:
    """30 % errors in both arms in 2 % of the seconds."""
    rate = np.where(draw.random((runs, LOOKS)) < 0.02, 0.3, 0.01)
    traffic = _steady(draw, runs, rate, rate)
    firsts = first_looks(traffic, STRICT, True, rate=0.01)
    _holds(firsts, "bursts of both arms")
    others = peers.z_rules(traffic)
    return {"strict_failed": share_of(firsts != NEVER)} | {
        name: share_of(others[name] != NEVER) for name in ("naive", "peek")
    }


def _dependent(draw: np.random.Generator, runs: int, kind: str) -> dict[str, Any]:
    """Requests that go wrong together, raw and divided; phi is simulated, not proved, so it is not judged."""
    traffic, past = (_together(draw, runs, looks, kind) for looks in (LOOKS // 2, 600))
    rate = float(past.e_s.sum() / past.n_s.sum())
    phi = first_looks(traffic, STRICT, True, rate=rate, divisors=divisors_by_blocks(traffic, past))
    found: dict[str, Any] = {
        "kind": kind,
        "raw_failed": share_of(first_looks(traffic, STRICT, True, rate=rate) != NEVER),
        "phi_failed": share_of(phi != NEVER),
    }
    if kind == "batches of 8":
        known = first_looks(traffic, STRICT, True, rate=rate, divisors=np.asarray(8.0))
        _holds(known, "batches of 8, divided by 8")
        found["known_failed"] = share_of(known != NEVER)
    return found


def _together(draw: np.random.Generator, runs: int, looks: int, kind: str) -> Traffic:
    shape = runs, looks
    if kind == "batches of 8":
        traffic = drawn(
            draw, shape, (np.asarray(CANARY / 8), np.asarray(STABLE / 8)), (np.asarray(0.01),) * 2
        )
        return Traffic(*(8 * array for array in (traffic.n_c, traffic.e_c, traffic.n_s, traffic.e_s)))
    if kind in STALL_LOOKS:
        # So long half of one arm is slow, each arm by itself, for 1 % of the time.
        rates = [_stalled(draw, shape, STALL_LOOKS[kind]) for _ in range(2)]
    else:
        # Each arm's rate wanders by itself around 5 %: latency over a threshold is such.
        memory = 0.13 if kind == "fast swings" else 0.9
        rates = [0.05 * np.exp(_wander(draw, shape, memory, 0.6) - 0.18) for _ in range(2)]
    return _steady(draw, runs, np.minimum(rates[0], 1), np.minimum(rates[1], 1), looks)


def _stalled(draw: np.random.Generator, shape: tuple[int, int], length: int) -> Floats:
    begun = draw.random(shape) < 0.01 / length
    stalled = np.zeros(shape, bool)
    for later in range(length):
        stalled[:, later:] |= begun[:, : shape[1] - later]
    return np.where(stalled, 0.5, 0.01)


def _common_swings(draw: np.random.Generator, runs: int) -> dict[str, Any]:
    """Both arms wander together around 30 %, with a memory of 10 seconds; half as much again in the candidate, or not."""
    past_looks, looks = 600, 600
    swings = np.minimum(0.3 * np.exp(_wander(draw, (runs, past_looks + looks), 0.9, 0.5)), 0.6)
    past = _steady(draw, runs, swings[:, :past_looks], swings[:, :past_looks], past_looks)
    now = swings[:, past_looks:]
    rate = float(past.e_s.sum() / past.n_s.sum())
    found: dict[str, Any] = {}
    for name, times in (("healthy", 1.0), ("worse", 1.5)):
        traffic = _steady(draw, runs, times * now, now, looks)
        divisors = divisors_by_blocks(traffic, past)
        firsts = first_looks(traffic, STRICT, True, rate=rate, divisors=divisors)
        phi = [round(float(np.median(divisors[:, look])), 1) for look in (0, looks - 1)]
        found[name] = {**_said(firsts, traffic), "phi_first_and_last": phi}
    return found


def _wander(draw: np.random.Generator, shape: tuple[int, int], memory: float, size: float) -> Floats:
    state, path = np.zeros(shape[0]), np.empty(shape)
    for look in range(shape[1]):
        state = memory * state + math.sqrt(1 - memory**2) * size * draw.standard_normal(shape[0])
        path[:, look] = state
    return path


def _within_looks(draw: np.random.Generator, size: int, alpha: float) -> dict[str, Any]:
    """20 % errors against 0.1 %: how many of 1,000 rollouts fail within so many looks of `size` candidate requests."""
    shape = (1000, 4)
    n_c, n_s = np.full(shape, float(size)), np.full(shape, 19.0 * size)
    e_c, e_s = (draw.binomial(n.astype(int), p).astype(float) for n, p in ((n_c, 0.2), (n_s, 0.001)))
    firsts = first_looks(Traffic(n_c, e_c, n_s, e_s), MARGIN, True, rate=0.001, alpha=alpha)
    return {"requests_a_look": size, "alpha": round(alpha, 5)} | {
        f"within_{looks}": share_of(firsts < looks) for looks in (2, 3, 4)
    }


def _latency(draw: np.random.Generator, runs: int, slower: float) -> dict[str, Any]:
    """The p99 rule at 1.2 on log-normal times (sigma 0.5) that are so many times slower."""
    beyond = 0.5 * math.erfc((2.3263 + math.log(1.2 / slower) / 0.5) / math.sqrt(2))
    traffic = _steady(draw, runs, beyond, 0.01)
    failed, passed = (first_looks(traffic, STRICT, fail, rate=0.01) for fail in (True, False))
    if slower <= 1.2:
        _holds(failed, f"latency x {slower}")
    if slower >= 1.2:
        _holds(passed, f"latency x {slower}, passed")
    return {
        "slower": slower,
        "failed": _said(failed, traffic),
        "passed": _said(passed, traffic),
    }


def _cold(draw: np.random.Generator, runs: int) -> dict[str, Any]:
    """A healthy candidate with 5 % errors in its first 30 s: with them, and dropped for both arms as declared."""
    rates = np.where(np.arange(LOOKS // 2) < 30, 0.05, 0.01)
    traffic = _steady(draw, runs, rates, 0.01, LOOKS // 2)
    warm = Traffic(*(a[:, 30:] for a in (traffic.n_c, traffic.e_c, traffic.n_s, traffic.e_s)))
    dropped = first_looks(warm, MARGIN, True, rate=0.01)
    _holds(dropped, "a cold candidate without its first 30 s")
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
    return {"limit": limit} | _judged(found, rates[0] - rates[1], limit, runs)


def _answers(draw: np.random.Generator, runs: int, moved: float) -> dict[str, Any]:
    return _judged(verdict_units.answers(draw, runs, moved), moved, 0.1, runs)


def _judged(found: dict[str, Any], harm: float, limit: float, runs: int) -> dict[str, Any]:
    wrong = ["failed"] * (harm <= limit + 1e-9) + ["passed"] * (harm >= limit - 1e-9)
    for name in wrong:
        assert found[name]["share"] <= _allowed(runs), f"{found}: wrongly {name}"
    return found


def _same_as_the_core(draw: np.random.Generator) -> None:
    """What is simulated is what decides: the arrays give the very looks of `arms.seen`, with phi and late starts."""
    traffic, past = (_steady(draw, 3, 0.03, 0.01, looks) for looks in (600, 600))
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


def _steady(
    draw: np.random.Generator,
    runs: int,
    candidate: float | Floats,
    stable: float | Floats,
    looks: int = LOOKS,
) -> Traffic:
    sizes = np.asarray(CANARY), np.asarray(STABLE)
    return drawn(draw, (runs, looks), sizes, (np.asarray(candidate), np.asarray(stable)))


def _holds(firsts: Firsts, what: str) -> None:
    """At most alpha, but for what chance allows once in many thousands of proofs (four standard errors)."""
    found = float((firsts != NEVER).mean())
    assert found <= _allowed(len(firsts)), f"{what}: {found:.1%} of {len(firsts)} wrong verdicts"


def _allowed(runs: int) -> float:
    return ALPHA + 4 * math.sqrt(ALPHA * (1 - ALPHA) / runs)


def _said(firsts: Firsts, traffic: Traffic) -> dict[str, float | None]:
    return {"share": share_of(firsts != NEVER), "median": _median(firsts, traffic)}


def _median(firsts: Firsts, traffic: Traffic) -> float | None:
    """Candidate requests until the verdict, of those that came to one."""
    some = firsts != NEVER
    if not some.any():
        return None
    return float(np.median(traffic.units_until(np.where(some, firsts, 0))[some]))

"""Simulated rollouts whose requests go wrong together: what φ saves, and what it costs."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from seaway.core.evidence.streams import STRICT
from verdict_runs import (
    CANARY,
    LOOKS,
    NEVER,
    STABLE,
    Floats,
    Traffic,
    divisors_by_blocks,
    drawn,
    first_looks,
    holds,
    said,
    share_of,
    steady,
)

_BATCHES: Final = {"batches of 8": (8,), "batches of 1, 2, 4, 8 and 16": (1, 2, 4, 8, 16)}
_STALL_LOOKS: Final = {"stalls of 1 s": 1, "stalls of 3 s": 3, "stalls of 5 s": 5}
KINDS: Final = (*_BATCHES, *_STALL_LOOKS, "fast swings", "slow swings")


def one_arm(draw: np.random.Generator, runs: int, kind: str) -> dict[str, Any]:
    """Each arm by itself, *strict*, half an hour: healthy, undivided and divided; then harm of two and five times, divided.

    φ is simulated, not proved, so it is not judged.
    """
    past = _together(draw, runs, 600, kind)
    rate = float(past.e_s.sum() / past.n_s.sum())
    traffic = _together(draw, runs, LOOKS // 2, kind)
    phi = first_looks(traffic, STRICT, True, rate=rate, divisors=divisors_by_blocks(traffic, past))
    found: dict[str, Any] = {
        "kind": kind,
        "raw_failed": share_of(first_looks(traffic, STRICT, True, rate=rate) != NEVER),
        "phi_failed": share_of(phi != NEVER),
    }
    if kind in _BATCHES:
        most = np.asarray(float(max(_BATCHES[kind])))
        known = first_looks(traffic, STRICT, True, rate=rate, divisors=most)
        holds(known, f"{kind}, divided by the largest")
        found["known_failed"] = share_of(known != NEVER)
    found["worse"] = []
    for times in (2.0, 5.0):
        worse = _together(draw, runs, LOOKS // 2, kind, times)
        firsts = first_looks(worse, STRICT, True, rate=rate, divisors=divisors_by_blocks(worse, past))
        found["worse"].append({"times": times} | said(firsts, worse))
    return found


def _together(draw: np.random.Generator, runs: int, looks: int, kind: str, times: float = 1.0) -> Traffic:
    """Both arms; the candidate's errors are so many times the stable's, but for the stalls, which are the same."""
    shape = runs, looks
    if kind in _BATCHES:
        return _in_batches(draw, shape, _BATCHES[kind], times)
    if kind in _STALL_LOOKS:
        # So long half of one arm is slow, each arm by itself, for 1 % of the time.
        rates = [_stalled(draw, shape, _STALL_LOOKS[kind], 0.01 * more) for more in (times, 1.0)]
    else:
        # Each arm's rate wanders by itself around 5 %: latency over a threshold is such.
        memory = 0.13 if kind == "fast swings" else 0.9
        rates = [0.05 * more * np.exp(_wander(draw, shape, memory, 0.6) - 0.18) for more in (times, 1.0)]
    return steady(draw, runs, np.minimum(rates[0], 1), np.minimum(rates[1], 1), looks)


def _in_batches(
    draw: np.random.Generator, shape: tuple[int, int], sizes: tuple[int, ...], times: float
) -> Traffic:
    """Batches of all these sizes are equally many, and each is bad or good as a whole."""
    sums = [np.zeros(shape) for _ in range(4)]
    each = 1 / sum(sizes)
    rates = np.asarray(0.01 * times), np.asarray(0.01)
    for size in sizes:
        batches = drawn(draw, shape, (np.asarray(CANARY * each), np.asarray(STABLE * each)), rates)
        for total, counted in zip(sums, (batches.n_c, batches.e_c, batches.n_s, batches.e_s), strict=True):
            total += size * counted
    return Traffic(*sums)


def _stalled(draw: np.random.Generator, shape: tuple[int, int], length: int, rate: float) -> Floats:
    begun = draw.random(shape) < 0.01 / length
    stalled = np.zeros(shape, bool)
    for later in range(length):
        stalled[:, later:] |= begun[:, : shape[1] - later]
    return np.where(stalled, 0.5, rate)


def both_arms(draw: np.random.Generator, runs: int) -> dict[str, Any]:
    """Both arms wander together around 30 %, with a memory of 10 seconds; half as much again in the candidate, or not."""
    past_looks, looks = 600, 600
    swings = np.minimum(0.3 * np.exp(_wander(draw, (runs, past_looks + looks), 0.9, 0.5)), 0.6)
    past = steady(draw, runs, swings[:, :past_looks], swings[:, :past_looks], past_looks)
    now = swings[:, past_looks:]
    rate = float(past.e_s.sum() / past.n_s.sum())
    found: dict[str, Any] = {}
    for name, times in (("healthy", 1.0), ("worse", 1.5)):
        traffic = steady(draw, runs, times * now, now, looks)
        divisors = divisors_by_blocks(traffic, past)
        firsts = first_looks(traffic, STRICT, True, rate=rate, divisors=divisors)
        phi = [round(float(np.median(divisors[:, look])), 1) for look in (0, looks - 1)]
        found[name] = {**said(firsts, traffic), "phi_first_and_last": phi}
    return found


def _wander(draw: np.random.Generator, shape: tuple[int, int], memory: float, size: float) -> Floats:
    state, path = np.zeros(shape[0]), np.empty(shape)
    for look in range(shape[1]):
        state = memory * state + math.sqrt(1 - memory**2) * size * draw.standard_normal(shape[0])
        path[:, look] = state
    return path

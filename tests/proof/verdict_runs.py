"""Many rollouts at once: the streams of `core.evidence`, its own formulas, with a row of the arrays for each rollout."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seaway.core.evidence import streams, wealth
from seaway.core.evidence.streams import Margin
from seaway.core.evidence.wealth import FAIL_ODDS, PASS_ODDS, Floats

KEPT = 0.5 ** (1 / 300)
ALPHA = 0.05
NEVER = np.iinfo(np.int64).max


@dataclass
class Traffic:
    """Units and bad ones of each rollout and look: four arrays `(runs, looks)`."""

    n_c: Floats
    e_c: Floats
    n_s: Floats
    e_s: Floats

    @property
    def runs(self) -> int:
        return len(self.n_c)

    def units_until(self, looks: npt.NDArray[np.int64]) -> Floats:
        """The candidate's, up to and with that look of each rollout."""
        return np.cumsum(self.n_c, axis=1)[np.arange(self.runs), looks]


def drawn(
    draw: np.random.Generator,
    shape: tuple[int, int],
    sizes: tuple[Floats, Floats],
    rates: tuple[Floats, Floats],
) -> Traffic:
    """Independent requests; mean sizes and rates broadcast to `(runs, looks)`."""
    n_c, n_s = (draw.poisson(np.broadcast_to(size, shape)) for size in sizes)
    return Traffic(
        n_c.astype(float),
        draw.binomial(n_c, np.broadcast_to(rates[0], shape)).astype(float),
        n_s.astype(float),
        draw.binomial(n_s, np.broadcast_to(rates[1], shape)).astype(float),
    )


def first_looks(
    traffic: Traffic,
    margin: Margin,
    fail: bool,
    *,
    rate: float,
    divisors: Floats | None = None,
    late: bool = False,
    alpha: float = ALPHA,
) -> npt.NDArray[np.int64]:
    """The look at which each rollout's e-process first reaches 1/alpha; NEVER where it does not.

    `divisors` are `(runs, looks)`, or one number for all.
    """
    found = np.full(traffic.runs, NEVER)
    alive = np.arange(traffic.runs)
    odds = np.array(FAIL_ODDS if fail else PASS_ODDS)
    logs = np.full((traffic.runs, len(odds)), math.log(wealth.paid_in(0)) if late else 0.0)
    bad, units, starts = np.full(traffic.runs, 200.0 * rate), np.full(traffic.runs, 200.0), 0
    ratio, extra = np.asarray(margin.ratio), np.asarray(margin.extra)
    for look in range(traffic.n_c.shape[1]):
        n_c, e_c = traffic.n_c[alive, look, None], traffic.e_c[alive, look, None]
        n_s, e_s = traffic.n_s[alive, look, None], traffic.e_s[alive, look, None]
        live = (n_c > 0) & (n_s > 0)
        sizes = np.where(live, n_c, 1.0), np.where(live, n_s, 1.0)
        bets = streams.choose_bets(*sizes, (bad / units)[:, None], ratio, extra, odds, fail)
        gained = np.where(live, streams.log_factors(bets, sizes[0], e_c, sizes[1], e_s, ratio), 0.0)
        if divisors is not None:
            gained = gained / np.broadcast_to(divisors, traffic.n_c.shape)[alive, look, None]
        if late and look // 60 > starts:
            logs = np.logaddexp(logs, math.log(wealth.paid_in(look // 60) - wealth.paid_in(starts)))
            starts = look // 60
        logs = logs + gained
        bad, units = bad * KEPT + e_s[:, 0], units * KEPT + n_s[:, 0]
        values = wealth.log_mean_exp(logs)
        if late:
            values = np.logaddexp(values, math.log1p(-wealth.paid_in(starts)))
        crossed = values >= -math.log(alpha)
        if crossed.any():
            found[alive[crossed]] = look
            kept = ~crossed
            alive, logs, bad, units = alive[kept], logs[kept], bad[kept], units[kept]
            if not alive.size:
                break
    return found


def share_of(found: npt.NDArray[np.bool_]) -> float:
    """How many of them."""
    return round(float(found.mean()), 4)


def divisors_by_blocks(traffic: Traffic, past: Traffic, block: int = 10) -> Floats:
    """`dispersion.divisor` of every look, `(runs, looks)`: from blocks that closed before it."""
    before = _blocks(past, block)[1]
    candidate, stable = _blocks(traffic, block)
    joined = [np.concatenate([old, new], axis=1) for old, new in zip(before, stable, strict=True)]
    skipped = before[0].shape[1]
    of_stable, of_candidate = _factors(*joined)[:, skipped - 1 :], _factors(*candidate)
    first = np.ones((traffic.runs, 1))
    of_candidate = np.concatenate([first, of_candidate], axis=1)
    count = np.arange(of_candidate.shape[1])
    mixed = np.maximum(1.0, (30 * of_stable + count * of_candidate) / (30 + count))
    return np.repeat(mixed, block, axis=1)[:, : traffic.n_c.shape[1]]


def _blocks(traffic: Traffic, block: int) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats]]:
    def summed(array: Floats) -> Floats:
        return array.reshape(traffic.runs, -1, block).sum(axis=2)

    return (summed(traffic.n_c), summed(traffic.e_c)), (summed(traffic.n_s), summed(traffic.e_s))


def _factors(n: Floats, e: Floats) -> Floats:
    """`dispersion.factor` after each block."""
    squares = np.cumsum(np.divide(e**2, n, out=np.zeros_like(e), where=n > 0), axis=1)
    total, bad, count = np.cumsum(n, axis=1), np.cumsum(e, axis=1), np.cumsum(n > 0, axis=1)
    total = np.maximum(total, 1.0)
    rate = bad / total
    alone = rate * (1 - rate) * (count - 1)
    between = np.maximum(squares - bad**2 / total, 0.0)
    return np.where((count >= 2) & (alone > 1e-12), between / np.maximum(alone, 1e-12), 1.0)

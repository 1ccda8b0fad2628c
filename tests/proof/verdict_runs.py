"""Many rollouts at once: the streams of `core.evidence`, its own formulas, with a row of the arrays for each rollout."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from seaway.core.evidence import streams, wealth
from seaway.core.evidence.streams import Margin
from seaway.core.evidence.wealth import FAIL_ODDS, PASS_ODDS, Floats

KEPT = 0.5 ** (1 / 300)
ALPHA = 0.05
LOOKS, CANARY, STABLE = 3600, 10.0, 190.0
"""An hour of seconds, and the requests of each arm in one."""
NEVER = np.iinfo(np.int64).max
Firsts = npt.NDArray[np.int64]


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


def steady(
    draw: np.random.Generator,
    runs: int,
    candidate: float | Floats,
    stable: float | Floats,
    looks: int = LOOKS,
) -> Traffic:
    """A canary of 5 % of 200 requests a second, with such rates of bad ones."""
    sizes = np.asarray(CANARY), np.asarray(STABLE)
    return drawn(draw, (runs, looks), sizes, (np.asarray(candidate), np.asarray(stable)))


def first_looks(
    traffic: Traffic,
    margin: Margin,
    fail: bool,
    *,
    rate: float,
    divisors: Floats | None = None,
    late: bool = False,
    alpha: float = ALPHA,
    look_s: int = 1,
) -> Firsts:
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
        if late and (due := look * look_s // 60) > starts:
            logs = np.logaddexp(logs, math.log(wealth.paid_in(due) - wealth.paid_in(starts)))
            starts = due
        logs = logs + gained
        seen = live[:, 0]
        bad = np.where(seen, bad * KEPT + e_s[:, 0], bad)
        units = np.where(seen, units * KEPT + n_s[:, 0], units)
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


def gathered(traffic: Traffic) -> Traffic:
    """As `units.gathered`: a look with nothing of one arm in it waits for the other; what is not shown yet is 0."""
    waiting = np.zeros((4, traffic.runs))
    looks = np.stack((traffic.n_c, traffic.e_c, traffic.n_s, traffic.e_s))
    shown = np.zeros_like(looks)
    for look in range(looks.shape[2]):
        waiting += looks[:, :, look]
        due = (waiting[0] > 0) & (waiting[2] > 0)
        shown[:, due, look] = waiting[:, due]
        waiting[:, due] = 0.0
    return Traffic(*shown)


def together(traffic: Traffic, looks: int) -> Traffic:
    """So many looks are one."""
    return Traffic(
        *(
            array.reshape(traffic.runs, -1, looks).sum(axis=2)
            for array in (traffic.n_c, traffic.e_c, traffic.n_s, traffic.e_s)
        )
    )


def said(firsts: Firsts, traffic: Traffic) -> dict[str, float | None]:
    """How many came to a verdict, and the median of candidate units until it, of those."""
    some = firsts != NEVER
    units = traffic.units_until(np.where(some, firsts, 0))[some]
    return {"share": share_of(some), "median": float(np.median(units)) if some.any() else None}


def holds(firsts: Firsts, what: str) -> None:
    """At most alpha, but for what chance allows once in many thousands of proofs (four standard errors)."""
    found = float((firsts != NEVER).mean())
    assert found <= _allowed(len(firsts)), f"{what}: {found:.1%} of {len(firsts)} wrong verdicts"


def judged(found: dict[str, Any], harm: float, limit: float, runs: int) -> dict[str, Any]:
    """As `holds`, of the verdicts `failed` and `passed` that are wrong at that harm; what was found, for the figures."""
    wrong = ["failed"] * (harm <= limit + 1e-9) + ["passed"] * (harm >= limit - 1e-9)
    for name in wrong:
        assert found[name]["share"] <= _allowed(runs), f"{found}: wrongly {name}"
    return found


def _allowed(runs: int) -> float:
    return ALPHA + 4 * math.sqrt(ALPHA * (1 - ALPHA) / runs)


def divisors_by_blocks(traffic: Traffic, past: Traffic | None = None, block: int = 10) -> Floats:
    """`dispersion.divisor` of every look, `(runs, looks)`: from blocks that closed before it, those of the `past` too."""
    candidate, stable = _blocks(traffic, block)
    if past is None:
        of_stable = np.concatenate([np.ones((traffic.runs, 1)), _between_blocks(*stable)], axis=1)
    else:
        before = _blocks(past, block)[1]
        joined = [np.concatenate(both, axis=1) for both in zip(before, stable, strict=True)]
        of_stable = _between_blocks(*joined)[:, before[0].shape[1] - 1 :]
    of_both = np.concatenate([np.ones((traffic.runs, 1)), _of_difference(candidate, stable)], axis=1)
    known = np.maximum(0, np.arange(of_both.shape[1]) - 1)
    mixed = np.maximum(1.0, (12 * of_stable + known * of_both) / (12 + known))
    return np.repeat(mixed, block, axis=1)[:, : traffic.n_c.shape[1]]


def _blocks(traffic: Traffic, block: int) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats]]:
    found = together(traffic, block)
    return (found.n_c, found.e_c), (found.n_s, found.e_s)


def _between_blocks(n: Floats, e: Floats) -> Floats:
    """`dispersion.between_blocks` after each block; each holds units."""
    rate, sizes = e / n, n[:, 1:] * n[:, :-1] / (n[:, 1:] + n[:, :-1])
    moved = np.cumsum(sizes * np.diff(rate, axis=1) ** 2, axis=1)
    pooled = (np.cumsum(e, axis=1) / np.cumsum(n, axis=1))[:, 1:]
    alone = pooled * (1 - pooled) * np.arange(1, n.shape[1])
    found = np.where(alone > 1e-12, moved / np.maximum(alone, 1e-12), 1.0)
    return np.concatenate([np.ones((len(n), 1)), found], axis=1)


def _of_difference(candidate: tuple[Floats, Floats], stable: tuple[Floats, Floats]) -> Floats:
    """`dispersion.of_difference` after each block; one that does not hold units of both is left out."""
    live = (candidate[0] > 0) & (stable[0] > 0)
    n_c, e_c, n_s, e_s = (np.where(live, array, 0.0) for array in (*candidate, *stable))
    some = [np.maximum(array, 1.0) for array in (n_c, n_s, n_c + n_s)]
    weight, moved = n_c * n_s / some[2], e_c / some[0] - e_s / some[1]
    totals = [np.cumsum(a, axis=1) for a in (n_c, e_c, n_s, e_s, weight, weight * moved, weight * moved**2)]
    count = np.cumsum(live, axis=1)
    balance = np.cumsum(n_s / some[2], axis=1) / np.maximum(count, 1)
    ours, theirs = totals[1] / np.maximum(totals[0], 1.0), totals[3] / np.maximum(totals[2], 1.0)
    alone = (balance * ours * (1 - ours) + (1 - balance) * theirs * (1 - theirs)) * (count - 1)
    varied = np.maximum(totals[6] - totals[5] ** 2 / np.maximum(totals[4], 1e-12), 0.0)
    return np.where(alone > 1e-12, varied / np.maximum(alone, 1e-12), 1.0)

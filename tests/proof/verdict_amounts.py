"""Simulated rollouts judged by amounts: a business figure that is known one by one, and the capped mean of costs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from statistics import NormalDist
from typing import Any

import numpy as np

from seaway.core.evidence import arms, means, streams, wealth
from seaway.core.evidence.arms import Rule
from seaway.core.evidence.means import PLACES, Moments
from seaway.core.evidence.streams import STRICT, Look, Margin
from seaway.core.evidence.wealth import FAIL_ODDS, PASS_ODDS, Floats
from seaway.core.rollouts import margins
from seaway.core.rollouts.spec import RolloutCheck
from verdict_runs import ALPHA, KEPT, NEVER, Firsts, holds, judged, share_of

BAR = -math.log(ALPHA)
SIDES = ("failed", "passed")
BUYERS, CAP = 0.2, 4.6
"""The share of the stable's users that buy, amounts of mean 1, and the cap: the 99th percentile of what buyers spend."""
EACH, LOOKS = 800, 500
LACKING = 0.8
"""What a rollout takes for the first share that lacks to the cap."""
SIGMA, COST_LOOKS = 1.5, 1800
COST_SIZES = 50, 950
"""Of a look of five seconds."""
AT_ONCE = 20
Round = tuple[Floats, Floats]


def kpis(draw: np.random.Generator, runs: int) -> list[dict[str, Any]]:
    """So many more (fewer) buyers of the same amounts; a look every 800 values of each arm, up to 400,000."""
    found = []
    for gain, changes in ((None, (0.0, -0.05, -0.1, 0.05)), (0.03, (0.0, 0.03, 0.06, 0.1))):
        wanted = None if gain is None else f"{gain:%}"
        check = RolloutCheck("outcome", kpi="revenue", gain=wanted)
        for more in changes:
            rounds = _rounds(draw, runs, BUYERS * (1 + more))
            firsts = _first_looks(rounds, margins.margin_of(check), runs)
            cells = {side: _median(one) for side, one in zip(SIDES, firsts, strict=True)}
            row = {"gain": gain, "more": more} | cells
            found.append(judged(row, -more, margins.harm_of(check), runs))
    return found


def costs(draw: np.random.Generator, runs: int) -> list[dict[str, Any]]:
    """Log-normal costs that are so many times the stable's, capped at its p99, 30 minutes, a look each 5 s: no harm tolerated,
    and the default margin of a tenth; and what the asymptotic sequence says of the costs themselves, which no check uses."""
    margin = margins.margin_of(RolloutCheck("cost"))
    rate = _capped_mean(1.0)
    limit = _times(margin.ratio)
    found = []
    for times in (1.0, limit, 1.2, 1.5):
        row: dict[str, Any] = {"times": times, "on_the_margin": times == limit}
        strict, _ = _first_looks(_dear(draw, runs, times), STRICT, runs, COST_SIZES, rate)
        if times == 1.0:
            holds(strict, "equal costs, strict")
        row["strict_failed"] = _median(strict, COST_SIZES[0])
        firsts = _first_looks(_dear(draw, runs, times), margin, runs, COST_SIZES, rate)
        row |= {side: _median(one, COST_SIZES[0]) for side, one in zip(SIDES, firsts, strict=True)}
        row["asymptotic_failed"] = _by_asymptotics(draw, runs, times)
        found.append(judged(row, times, limit, runs))
    return found


def same_as_the_core(draw: np.random.Generator) -> None:
    """The rounds give the very looks of `arms.seen` on both sides, and amounts lie where `means.places` puts them."""
    values = 1 - np.minimum(draw.exponential(1.0, 50), CAP) / CAP
    placed = _placed(values, np.array([20, 30]))
    for run, own in enumerate((values[:20], values[20:])):
        assert np.allclose(placed[run], means.places(own.tolist()))
    for more, limit, side in ((-0.5, 0.05, 0), (0.5, -0.03, 1)):
        rounds = list(_rounds(draw, 2, BUYERS * (1 + more), 40))
        margin = streams.on_axis("less", limit)
        firsts = _first_looks(rounds, margin, 2)[side]
        for run in range(2):
            found, crossed = arms.begin(Rule(margin, rate=LACKING, late=False, interval=False), 0.0), NEVER
            for look, both in enumerate(rounds):
                counts = [one[run] for one in both]
                sums = (float(number) for one in counts for number in (EACH, (one * PLACES).sum()))
                at = (tuple(one.tolist()) for one in counts)
                # All of them in one block of time, so nothing is divided.
                found = arms.seen(found, Look(look / 100, *sums, *at))
                crossed = min(crossed, look if (found.log_fail, found.log_pass)[side] >= BAR else NEVER)
            assert crossed == firsts[run] != NEVER, f"run {run}: {crossed} and {firsts[run]}"


def _rounds(draw: np.random.Generator, runs: int, buyers: float, looks: int = LOOKS) -> Iterator[Round]:
    """What both arms lack to the cap, look by look: counts at `PLACES`, each `(runs, places)`."""
    for _ in range(looks):
        yield _lacking(draw, runs, buyers), _lacking(draw, runs, BUYERS)


def _lacking(draw: np.random.Generator, runs: int, buyers: float) -> Floats:
    bought = draw.binomial(EACH, buyers, runs)
    counts = _placed(1 - np.minimum(draw.exponential(1.0, bought.sum()), CAP) / CAP, bought)
    counts[:, -1] += EACH - bought
    return counts


def _placed(values: Floats, sizes: Floats) -> Floats:
    """`means.places` of so many of the values for each run."""
    last = len(PLACES) - 1
    below = np.minimum((values * last).astype(np.int64), last - 1)
    above = values * last - below
    cells = np.repeat(np.arange(len(sizes)) * len(PLACES), sizes) + below
    most = len(sizes) * len(PLACES)
    counts = np.bincount(cells, 1 - above, most) + np.bincount(cells + 1, above, most)
    return counts.reshape(len(sizes), -1)


def _dear(draw: np.random.Generator, runs: int, times: float) -> Iterator[Round]:
    """What both arms cost, as shares of the cap, look by look."""
    cap = math.exp(SIGMA * NormalDist().inv_cdf(0.99))
    for _ in range(COST_LOOKS // 5):
        both = []
        for size, more in zip(COST_SIZES, (times, 1.0), strict=True):
            drawn = more * np.exp(SIGMA * draw.standard_normal(runs * size))
            both.append(_placed(np.minimum(drawn, cap) / cap, np.full(runs, size)))
        yield both[0], both[1]


def _first_looks(
    rounds: Iterable[Round],
    margin: Margin,
    runs: int,
    sizes: tuple[int, int] = (EACH, EACH),
    rate: float = LACKING,
) -> tuple[Firsts, Firsts]:
    """The looks at which each run fails and passes, from one start each; NEVER where it does not. `sizes` are those of a look."""
    ratio, extra = np.asarray(margin.ratio), np.asarray(margin.extra)
    firsts = np.full(runs, NEVER), np.full(runs, NEVER)
    odds = np.array(FAIL_ODDS), np.array(PASS_ODDS)
    logs = np.zeros((runs, len(odds[0]))), np.zeros((runs, len(odds[1])))
    bad, units = np.full(runs, 200 * rate), np.full(runs, 200.0)
    n_c, n_s = (np.asarray(float(size)) for size in sizes)
    for look, (ours, theirs) in enumerate(rounds):
        for side, first in enumerate(firsts):
            alive = first == NEVER
            if not alive.any():
                continue
            theta = (bad / units)[alive, None]
            bets = streams.choose_bets(n_c, n_s, theta, ratio, extra, odds[side], side == 0)
            logs[side][alive] += means.log_factors(
                bets, PLACES, ours[alive, None], theirs[alive, None], ratio
            )
            first[alive & (wealth.log_mean_exp(logs[side]) >= BAR)] = look
        bad, units = bad * KEPT + theirs @ PLACES, units * KEPT + sizes[1]
        if all((first != NEVER).all() for first in firsts):
            break
    return firsts


def _median(firsts: Firsts, each: int = EACH) -> dict[str, float | None]:
    some = firsts[firsts != NEVER]
    median = float((np.median(some) + 1) * each) if some.size else None
    return {"share": share_of(firsts != NEVER), "median": median}


def _by_asymptotics(draw: np.random.Generator, runs: int, times: float) -> dict[str, float | None]:
    """Of costs without a cap, ten requests of the candidate a second and 190 of the stable's."""
    alarms = []
    for begin in range(0, runs, AT_ONCE):
        shape, plain = (min(AT_ONCE, runs - begin), COST_LOOKS), []
        for size, more in ((10, times), (190, 1.0)):
            drawn = more * np.exp(SIGMA * draw.standard_normal((*shape, size), np.float32))
            plain += [part.sum(axis=2, dtype=np.float64).cumsum(axis=1) for part in (drawn, drawn**2)]
        alarms += [_asymptotic(*(one[run] for one in plain)) for run in range(shape[0])]
    return _median(np.array(alarms), 10)


def _asymptotic(ours: Floats, our_squares: Floats, theirs: Floats, their_squares: Floats) -> int:
    """The first look, of every tenth, at which the candidate's mean is above the stable's by `means.asymptotic_limits`."""
    for look in range(9, COST_LOOKS, 10):
        candidate = Moments(10 * (look + 1), ours[look], our_squares[look])
        limits = means.asymptotic_limits(
            candidate, Moments(190 * (look + 1), theirs[look], their_squares[look]), 1.0, ALPHA
        )
        if limits is not None and limits[0] > 0:
            return look
    return int(NEVER)


def _capped_mean(times: float) -> float:
    """Of log-normal costs that are so many times the stable's, as a share of the cap."""
    place = NormalDist().inv_cdf(0.99) - math.log(times) / SIGMA
    normal, cap = NormalDist(), math.exp(SIGMA * NormalDist().inv_cdf(0.99))
    below = times * math.exp(SIGMA**2 / 2) * normal.cdf(place - SIGMA)
    return below / cap + 1 - normal.cdf(place)


def _times(ratio: float) -> float:
    """How many times the stable's costs must be for such a ratio of the capped means."""
    low, high = 1.0, 10.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _capped_mean(middle) < ratio * _capped_mean(1.0) else (low, middle)
    return high

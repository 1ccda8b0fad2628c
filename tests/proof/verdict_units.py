"""Simulated rollouts whose units are not requests alone: users, pairs, answers; and the alarms after promotion."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from seaway.core.evidence import pairs, streams, wealth
from seaway.core.evidence.pairs import Disagreement, Labelled
from seaway.core.evidence.streams import STRICT
from seaway.core.evidence.wealth import FAIL_ODDS
from verdict_runs import ALPHA, KEPT, NEVER, Floats, Traffic, first_looks, share_of

REQUESTS_PER_S, SECONDS = 200, 1800
BAR = -math.log(ALPHA)


def sticky(draw: np.random.Generator, runs: int, users: int) -> dict[str, Any]:
    """A healthy candidate for 5 % of the users, Zipf(1); a tenth of the users has 10 % errors, the rest 0.1 %."""
    weights = np.cumsum(1 / np.arange(1, users + 1))
    every, first = [], []
    for _ in range(runs):
        who = np.searchsorted(weights / weights[-1], draw.random(REQUESTS_PER_S * SECONDS))
        canary, rate = draw.random(users) < 0.05, np.where(draw.random(users) < 0.1, 0.1, 0.001)
        bad, second = draw.random(len(who)) < rate[who], np.arange(len(who)) // REQUESTS_PER_S
        places = np.unique(who, return_index=True)[1]
        every.append(_looks(second, canary[who], bad))
        first.append(_looks(second[places], canary[who[places]], bad[places]))
    found: dict[str, Any] = {"users": users}
    for name, rows in (("every_request", every), ("first_per_user", first)):
        traffic = Traffic(*(np.stack(arrays) for arrays in zip(*rows, strict=True)))
        found[f"{name}_failed"] = share_of(first_looks(traffic, STRICT, True, rate=0.011) != NEVER)
    return found


def _looks(second: Floats, canary: Floats, bad: Floats) -> tuple[Floats, ...]:
    chosen = (canary, canary & bad, ~canary, ~canary & bad)
    return tuple(np.bincount(second[mask], minlength=SECONDS).astype(float) for mask in chosen)


def of_pairs(
    draw: np.random.Generator, runs: int, rule: Disagreement | Labelled, rates: tuple[float, float]
) -> dict[str, Any]:
    """Single starts, a look every 20 pairs, up to 20,000 pairs; `rates` are of (worse, better)."""
    drawn = draw.multinomial(20, [*rates, 1 - sum(rates)], size=(runs, 1000)).cumsum(axis=1)
    firsts = []
    for fail in (True, False):
        unit = [pairs.gains(rule, fail, *event) for event in np.eye(3)]
        logs = sum(drawn[..., place, None] * gained for place, gained in enumerate(unit))
        crossed = wealth.log_mean_exp(np.asarray(logs)) >= BAR
        firsts.append(np.where(crossed.any(axis=1), crossed.argmax(axis=1), NEVER))
    return {"worse": rates[0], "better": rates[1]} | {
        name: {"share": share_of(found != NEVER), "median": _median(found, 20)}
        for name, found in zip(("failed", "passed"), firsts, strict=True)
    }


def answers(draw: np.random.Generator, runs: int, moved: float, margin: float = 0.1) -> dict[str, Any]:
    """Ten classes, ten candidate answers a look; a share `moved` of them goes to the first class from the last five."""
    stable = np.full(10, 0.1)
    candidate = stable + np.array([moved] + [0.0] * 4 + [-moved / 5] * 5)
    drift, theta = np.zeros((runs, 10)), np.full((runs, 10), 20.0)
    odds, one, extra, weight = np.array(FAIL_ODDS), np.asarray(1.0), np.asarray(margin), 0.0
    logs, firsts = np.zeros((runs, len(odds))), np.full((2, runs), NEVER)
    speeds = np.array((4.0, 3.0, 2.0, 1.0)) * margin
    n_c, n_s, looks = np.asarray(10.0), np.asarray(190.0), 500
    for look in range(looks):
        c, s = draw.multinomial(10, candidate, runs), draw.multinomial(190, stable, runs)
        inside = drift > 0
        share = ((theta * inside).sum(axis=1) / theta.sum(axis=1))[:, None]
        bets = streams.choose_bets(n_c, n_s, share, one, extra, odds, True)
        bad = (
            (c * inside).sum(axis=1)[:, None].astype(float),
            (s * inside).sum(axis=1)[:, None].astype(float),
        )
        gained = streams.log_factors(bets, n_c, bad[0], n_s, bad[1], one)
        logs += np.where(inside.any(axis=1)[:, None], gained, 0.0)
        drift, weight = drift + 9.5 * (c / 10 - s / 190), weight + 9.5
        theta = theta * KEPT + s
        distance = np.maximum(drift, 0).sum(axis=1)[:, None]
        passing = wealth.log_mean_exp(speeds * (margin * weight - distance) - speeds**2 * weight / 8)
        for side, values in enumerate((wealth.log_mean_exp(logs), passing)):
            new = (values >= BAR) & (firsts[side] == NEVER)
            firsts[side, new] = look
    return {"moved": moved} | {
        name: {"share": share_of(found != NEVER), "median": _median(found, 10)}
        for name, found in zip(("failed", "passed"), firsts, strict=True)
    }


def _median(firsts: Floats, per_look: int) -> float | None:
    some = firsts[firsts != NEVER]
    return float((np.median(some) + 1) * per_look) if some.size else None

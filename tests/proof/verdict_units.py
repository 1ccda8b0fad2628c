"""Simulated rollouts whose units are not requests alone: users, pairs, answers; and the alarms after promotion."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from seaway.core.evidence import arms, detectors, pairs, streams, wealth
from seaway.core.evidence.arms import Rule
from seaway.core.evidence.detectors import ODDS, Bake
from seaway.core.evidence.pairs import Disagreement, Labelled, odds_gains
from seaway.core.evidence.streams import STRICT, Look, Margin
from seaway.core.evidence.wealth import FAIL_ODDS
from seaway.core.ledger import Counts, SliceCounts
from seaway.core.rollouts import baking
from seaway.core.rollouts import users as users_
from verdict_runs import ALPHA, KEPT, NEVER, Floats, Traffic, first_looks, gathered, share_of

REQUESTS_PER_S, SECONDS = 200, 1800
BAR = -math.log(ALPHA)


def sticky(draw: np.random.Generator, runs: int, users: int) -> dict[str, Any]:
    """A healthy candidate for 5 % of the users, Zipf(1); a tenth of the users has 10 % errors, the rest 0.1 %.

    `noticed` is how often the guard of users trips, `failed_unnoticed` how often the candidate fails before: both as a
    rollout holds them, with late starts and divided by φ.
    """
    weights = np.cumsum(1 / np.arange(1, users + 1))
    rows: dict[str, list[tuple[Floats, ...]]] = {"every_request": [], "first_per_user": []}
    guarded: dict[str, list[tuple[int, int]]] = {name: [] for name in rows}
    for _ in range(runs):
        who = np.searchsorted(weights / weights[-1], draw.random(REQUESTS_PER_S * SECONDS))
        point, rate = draw.random(users), np.where(draw.random(users) < 0.1, 0.1, 0.001)
        canary, own = point < 0.05, (point >= 0.05) & (point < 0.1)
        bad, second = draw.random(len(who)) < rate[who], np.arange(len(who)) // REQUESTS_PER_S
        places = np.unique(who, return_index=True)[1]
        for name, taken in (("every_request", slice(None)), ("first_per_user", places)):
            given = second[taken], canary[who[taken]], bad[taken]
            rows[name].append(_looks(*given))
            guarded[name].append(_guarded(*given, own[who[taken]]))
    found: dict[str, Any] = {"users": users}
    for name, looks in rows.items():
        traffic = Traffic(*(np.stack(arrays) for arrays in zip(*looks, strict=True)))
        found[f"{name}_failed"] = share_of(first_looks(traffic, STRICT, True, rate=0.011) != NEVER)
        failed, noticed = np.array(guarded[name]).T
        found[f"{name}_noticed"] = share_of(noticed != NEVER)
        found[f"{name}_failed_unnoticed"] = share_of(failed < noticed)
    return found


def sticky_worse(draw: np.random.Generator, runs: int, users: int) -> dict[str, Any]:
    """The same users, the first request of each a unit: a healthy candidate, and one with three times the errors."""
    weights = np.cumsum(1 / np.arange(1, users + 1))
    rows: dict[str, list[tuple[Floats, ...]]] = {"healthy": [], "worse": []}
    for _ in range(runs):
        who = np.searchsorted(weights / weights[-1], draw.random(REQUESTS_PER_S * SECONDS))
        who, places = np.unique(who, return_index=True)
        canary, second = draw.random(len(who)) < 0.05, places // REQUESTS_PER_S
        rate, point = np.where(draw.random(len(who)) < 0.1, 0.1, 0.001), draw.random(len(who))
        rows["healthy"].append(_looks(second, canary, point < rate))
        rows["worse"].append(_looks(second, canary, point < np.where(canary, 3.0, 1.0) * rate))
    found: dict[str, Any] = {"users": users}
    for name, looks in rows.items():
        traffic = gathered(Traffic(*(np.stack(arrays) for arrays in zip(*looks, strict=True))))
        firsts = first_looks(traffic, STRICT, True, rate=0.011)
        found[name] = {"share": share_of(firsts != NEVER), "median_s": _median(firsts, 1)}
    return found


def _guarded(second: Floats, canary: Floats, bad: Floats, own: Floats) -> tuple[int, int]:
    """The looks at which the check of errors first fails and the guard first trips; NEVER where they do not."""
    check = arms.begin(Rule(strict=True, rate=0.011, interval=False), 0.0)
    guard, failed, noticed = users_.begin(check, 0.0), NEVER, NEVER
    masks = (canary, canary & bad, ~canary, ~canary & bad, own, own & bad)
    counted = (np.bincount(second[mask], minlength=SECONDS).tolist() for mask in masks)
    for look, (*both, sliced, sliced_bad) in enumerate(zip(*counted, strict=True)):
        if failed == NEVER:
            check = arms.seen(check, Look(look + 1.0, *both))
            failed = look if check.log_fail >= BAR else NEVER
        if noticed == NEVER:
            stable, part = Counts(finished=both[2], failed=both[3]), SliceCounts(sliced, sliced_bad)
            guard = users_.seen(guard, look + 1.0, stable, part)
            noticed = look if guard.unlike else NEVER
    return int(failed), int(noticed)


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


def bake(draw: np.random.Generator, runs: int) -> dict[str, Any]:
    """The alarms after promotion, at 200 requests a second of 1 % errors: against that very rate, and as a rollout sets the
    limit by an hour of it. Judged is the mean number of looks between false alarms."""
    asked, looks = 3600, 20_000
    alarms = int(_alarms(draw, (runs, looks), 0.01, Bake(0.01, asked)).sum())
    expected = runs * looks / asked
    assert alarms <= expected + 4 * math.sqrt(expected), f"{alarms} alarms of the bake, at most {expected}"
    limited = baking.begin(720_000, 7_200, Margin(), 1.0).found
    assert limited is not None
    healthy = _alarms(draw, (runs, 600), 0.01, limited).any(axis=1)
    return {
        "asked_looks": asked,
        "looks_between_alarms": round(runs * looks / alarms) if alarms else None,
        "limit": limited.limit,
        "healthy_alarmed": share_of(healthy),
        "risen": [
            {
                "times": times,
                "at_the_rate": _risen(draw, runs, times, Bake(0.01, 86_400)),
                "in_a_rollout": _risen(draw, runs, times, limited),
            }
            for times in (1.5, 2.0, 5.0)
        ],
    }


def same_bake(draw: np.random.Generator) -> None:
    """The arrays give the alarms of `detectors.seen`."""
    state = draw.bit_generator.state
    first = int(_alarms(draw, (1, 600), 0.02, Bake(0.01, 3600))[0].argmax())
    draw.bit_generator.state = state
    found = Bake(0.01, 3600)
    for _ in range(600):
        found = detectors.seen(found, REQUESTS_PER_S, int(draw.binomial(REQUESTS_PER_S, 0.02, 1)[0]))
    assert found.alarmed_at_look == first + 1, f"{found.alarmed_at_look} and {first + 1}"


def _risen(draw: np.random.Generator, runs: int, times: float, begun: Bake) -> dict[str, float | None]:
    """Ten minutes of health, then ten of so many times the errors: how many are found, and after how many seconds."""
    rates = np.where(np.arange(1200) < 600, 0.01, 0.01 * times)
    later = _alarms(draw, (runs, 1200), rates, begun)[:, 600:]
    firsts = np.where(later.any(axis=1), later.argmax(axis=1), NEVER)
    return {"share": share_of(firsts != NEVER), "median_s": _median(firsts, 1)}


def _alarms(
    draw: np.random.Generator, shape: tuple[int, int], rate: float | Floats, begun: Bake
) -> npt.NDArray[np.bool_]:
    """Where `detectors.seen` alarms, look by look; it begins anew after each alarm."""
    logs, alarms = np.zeros((shape[0], len(ODDS))), np.zeros(shape, dtype=bool)
    bad_gain, good_gain = (odds_gains(begun.limit, ODDS, *event) for event in ((1, 0), (0, 1)))
    for look, now in enumerate(np.broadcast_to(rate, shape[1])):
        bad = draw.binomial(REQUESTS_PER_S, now, shape[0])[:, None]
        logs = np.maximum(logs, 0.0) + bad * bad_gain + (REQUESTS_PER_S - bad) * good_gain
        alarms[:, look] = wealth.log_mean_exp(logs) >= math.log(begun.looks_between)
        logs[alarms[:, look]] = 0.0
    return alarms


def _median(firsts: Floats, per_look: int) -> float | None:
    some = firsts[firsts != NEVER]
    return float((np.median(some) + 1) * per_look) if some.size else None

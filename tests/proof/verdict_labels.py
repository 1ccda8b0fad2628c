"""Simulated rollouts judged by labels of a canary: bad is a wrong answer, or an outcome that was not wanted."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np

import verdict_peers as peers
from seaway.core.evidence import arms, units
from seaway.core.evidence.arms import Rule
from seaway.core.evidence.dispersion import KNOWN_BLOCKS, UNKNOWN, Dispersion
from seaway.core.evidence.streams import STRICT, Look, Margin
from seaway.core.rollouts import margins
from seaway.core.rollouts.spec import RolloutCheck
from verdict_runs import (
    ALPHA,
    NEVER,
    Firsts,
    Traffic,
    divisors_by_blocks,
    drawn,
    first_looks,
    gathered,
    holds,
    judged,
    said,
    share_of,
    together,
)

POINT = margins.margin_of(RolloutCheck("quality"))
LABELS_PER_S, SECONDS = 20, 7200
RATE = 0.1
"""The share of bad labels that a rollout begins with: it does not know that of before."""
LOOK_S, BLOCK_LOOKS = 5, 2
SIDES = ("failed", "passed")


def accuracy(draw: np.random.Generator, runs: int) -> dict[str, Any]:
    """20 labels a second for two hours, 15 % of the stable's wrong: by a canary of 5 %, and by half of the traffic, there with a
    look every 5 s, with one start and as a rollout holds it."""
    healthy, worse = (_labels(draw, runs, 0.05, wrong) for wrong in (0.15, 0.17))
    strict = first_looks(healthy, STRICT, True, rate=RATE)
    holds(strict, "labels of 5 %, equal, strict")
    others = peers.z_rules(healthy, SECONDS // 60)
    found: dict[str, Any] = {
        "canary": {
            "healthy_strict": share_of(strict != NEVER),
            "healthy_naive": share_of(others["naive"] != NEVER),
            "healthy_peek": share_of(others["peek"] != NEVER),
            "worse_strict": said(first_looks(worse, STRICT, True, rate=RATE), worse),
            "worse_peek": said(peers.z_rules(worse, SECONDS // 60)["peek"], worse),
        },
        "half": [],
    }
    for wrong in (0.15, 0.16, 0.17, 0.20):
        traffic = together(_labels(draw, runs, 0.5, wrong), LOOK_S)
        row: dict[str, Any] = {"wrong": wrong, "strict": said(_first(traffic, STRICT, True), traffic)}
        for name, held in (("once", False), ("held", True)):
            firsts = (_first(traffic, POINT, side == "failed", held) for side in SIDES)
            cells = {side: said(one, traffic) for side, one in zip(SIDES, firsts, strict=True)}
            row[name] = judged(cells, wrong - 0.15, POINT.extra, runs)
        found["half"].append(row)
    return found


def by_rate(draw: np.random.Generator, runs: int) -> list[dict[str, Any]]:
    """Half of the traffic, the default margin, a look every 200 labels of each arm, up to 120,000: at rates of bad ones, and
    with so many more of the candidate's."""
    found = []
    for bad in (0.05, 0.15, 0.3, 0.4, 0.5):
        for more in (0.0, 0.01, 0.02, 0.03):
            sizes = np.asarray(200.0), np.asarray(200.0)
            traffic = drawn(draw, (runs, 600), sizes, (np.asarray(bad + more), np.asarray(bad)))
            cells = {side: said(_first(traffic, POINT, side == "failed"), traffic) for side in SIDES}
            found.append({"bad": bad, "more": more} | judged(cells, more, POINT.extra, runs))
    return found


def same_as_the_core(draw: np.random.Generator) -> None:
    """The looks at which `arms.seen` comes to both verdicts, as a rollout holds a check of labels."""
    traffic = together(_labels(draw, 2, 0.2, 0.4, 3000), LOOK_S)
    for margin, fail in ((Margin(1.0, 0.1), True), (Margin(1.0, 0.35), False)):
        firsts = _first(traffic, margin, fail, held=True)
        for run in range(2):
            found, crossed = arms.begin(_rule(margin), 0.0, Dispersion(cautious=True)), NEVER
            for look in range(600):
                counts = (a[run, look] for a in (traffic.n_c, traffic.e_c, traffic.n_s, traffic.e_s))
                found = arms.seen(found, Look(float(look * LOOK_S), *map(float, counts)))
                log_value = found.log_fail if fail else found.log_pass
                crossed = min(crossed, look if log_value >= -math.log(ALPHA) else NEVER)
            assert crossed == firsts[run] != NEVER, f"{margin}: {crossed} and {firsts[run]}"


def same_waiting(draw: np.random.Generator) -> None:
    """Looks wait for each other as `units.gathered` lets them."""
    traffic = drawn(draw, (1, 200), (np.asarray(0.5), np.asarray(2.0)), (np.asarray(0.3), np.asarray(0.3)))
    whole, waiting, since_s = gathered(traffic), None, 0.0
    for look in range(200):
        counts, shown = (
            [float(a[0, look]) for a in (one.n_c, one.e_c, one.n_s, one.e_s)] for one in (traffic, whole)
        )
        found = units.gathered(waiting, since_s, Look(float(look), *counts))
        waiting, since_s = (None if found.due else found.look), found.since_s
        assert shown == (list(msgspec.structs.astuple(found.look)[1:5]) if found.due else [0.0] * 4)


def _rule(margin: Margin) -> Rule:
    return Rule(margin, rate=RATE, interval=False, labels=True)


def _labels(
    draw: np.random.Generator, runs: int, share: float, wrong: float, seconds: int = SECONDS
) -> Traffic:
    sizes = np.asarray(LABELS_PER_S * share), np.asarray(LABELS_PER_S * (1 - share))
    return gathered(drawn(draw, (runs, seconds), sizes, (np.asarray(wrong), np.asarray(0.15))))


def _first(traffic: Traffic, margin: Margin, fail: bool, held: bool = False) -> Firsts:
    """Once: one start, undivided. Held: as in a rollout, with late starts, φ, and at first as for clusters."""
    if not held:
        return first_looks(traffic, margin, fail, rate=RATE)
    divisors = divisors_by_blocks(traffic, block=BLOCK_LOOKS)
    first = divisors[:, : KNOWN_BLOCKS * BLOCK_LOOKS]
    divisors[:, : KNOWN_BLOCKS * BLOCK_LOOKS] = np.maximum(first, UNKNOWN)
    return first_looks(traffic, margin, fail, rate=RATE, divisors=divisors, late=fail, look_s=LOOK_S)

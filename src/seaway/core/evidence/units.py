"""From the ledger's counts to looks: what a unit is for each check, and when it is bad. `control` calls it every look."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from seaway.core import ledger
from seaway.core.evidence import means
from seaway.core.evidence.streams import Look, Margin
from seaway.core.ledger import Counts, Sparse

WAIT_S: Final = 60.0
"""How long a look waits until both arms have something in it: at little traffic a second holds requests of one arm only."""


def errors(at_s: float, candidate: Counts, stable: Counts) -> Look:
    """Requests by the second in which they ended or their deadline passed; bad is the revision's fault."""
    return Look(at_s, candidate.finished, candidate.bad, stable.finished, stable.bad)


def rejections(at_s: float, candidate: Counts, stable: Counts) -> Look:
    """Answers of 4xx: the model's fault or the caller's, so a check of its own."""
    return Look(at_s, candidate.finished, candidate.rejected, stable.finished, stable.rejected)


class Slowness(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """From which bin of the ledger on a request is slow, for each arm, and the stable's share of slow ones before.

    The margin lies on the axis of time: if the candidate's times are at most `factor` times the stable's, its share above
    the second threshold is at most the stable's above the first. So `margin` tolerates only `plus` more, a share that the
    caller chose; but where times are so alike that nearly none of the stable's is above, half of the `tail` 1 - q is
    tolerated, else nothing could ever pass.
    """

    stable_bin: int
    candidate_bin: int
    rate: float
    tail: float
    plus: float = 0.0

    @property
    def margin(self) -> Margin:
        return Margin(1.0, max(self.plus, self.tail / 2 - self.rate))

    @property
    def factor(self) -> float:
        """How much slower is tolerated, as it is counted: at least what was asked, by less than 4.5 %."""
        return ledger.edge_s(self.candidate_bin) / ledger.edge_s(self.stable_bin)


def freeze_slowness(past: Sparse, q: float, factor: float, plus: float = 0.0) -> Slowness | None:
    """Thresholds from the stable's times before the rollout; None where there were none."""
    found = ledger.latency_quantile_s(past, q)
    if found is None:
        return None
    first = ledger.threshold_bin(found)
    second = first + max(0, math.ceil(math.log2(factor) * ledger.LATENCY_BINS_PER_OCTAVE - 1e-9))
    rate = ledger.slower(past, first) / sum(count for _, count in past)
    return Slowness(first, second, rate, 1 - q, plus)


def latency(at_s: float, slowness: Slowness, candidate: Counts, stable: Counts) -> Look:
    """Requests that were answered or timed out; bad is slow."""
    return Look(
        at_s,
        sum(count for _, count in candidate.latency),
        ledger.slower(candidate.latency, slowness.candidate_bin),
        sum(count for _, count in stable.latency),
        ledger.slower(stable.latency, slowness.stable_bin),
    )


def labels(at_s: float, candidate: Sequence[float], stable: Sequence[float]) -> Look:
    """Labels that came since the last look, as losses in [0, 1] of each arm; of requests that were answered since the present
    share began."""
    partial = any(0.0 < loss < 1.0 for loss in (*candidate, *stable))
    return Look(
        at_s,
        len(candidate),
        math.fsum(candidate),
        len(stable),
        math.fsum(stable),
        means.places(candidate) if partial else (),
        means.places(stable) if partial else (),
    )


def together(looks: list[Look]) -> Look:
    """One look of several at one share of traffic: before the evidence, never after. Raises ValueError on none."""
    if not looks:
        raise ValueError("no looks")
    return Look(
        max(one.at_s for one in looks),
        sum(one.candidate for one in looks),
        sum(one.candidate_bad for one in looks),
        sum(one.stable for one in looks),
        sum(one.stable_bad for one in looks),
        *means.together(looks),
    )


class Gathered(NamedTuple):
    """Looks together, the first of `since_s`. `due` says that they are shown to the test, else they wait for more."""

    look: Look
    since_s: float
    due: bool


def gathered(waiting: Look | None, since_s: float, look: Look) -> Gathered:
    """What waits since `since_s`, and one more look. It is due with something of both arms in it, or after `WAIT_S`: that
    depends on counts alone, never on how requests ended."""
    whole = look
    if waiting is None:
        since_s = look.at_s
    else:
        whole = together([waiting, look])
    both = whole.candidate > 0 and whole.stable > 0
    return Gathered(whole, since_s, both or look.at_s - since_s >= WAIT_S)

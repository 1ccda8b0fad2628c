"""How many outcomes count as one, where requests fail or slow down together: estimated from blocks of 10 seconds.

Batches and stalls are the largest threat to a test that takes requests for independent. Each factor's logarithm is
divided by `divisor`, which comes from closed blocks only, so from before the look. A swing of both arms is no threat: they
are compared within each look. So what counts is how the *difference* of the arms varies between blocks. Before there are
blocks of both, the stable revision's steps from one block to the next stand in for it: slow swings are not in them.
Simulated, not proved.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec

BLOCK_S: Final = 10.0
_WEIGHT_OF_STABLE: Final = 12.0
"""How many blocks of both arms weigh as much as what is known of the stable revision alone."""
KNOWN_BLOCKS: Final = 6
UNKNOWN: Final = 8.0
"""The divisor, at least, while fewer than `KNOWN_BLOCKS` are known."""
_NONE: Final = 1e-12
"""A variance below it is none."""
Categories = tuple[float, ...]


class Spread(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one arm's closed blocks add up to: how many, their units by category, the sum of squares over sizes.

    `moved` is the sum of the squared steps of the shares from one block to the next, each weighed by its sizes; `last` is
    the newest block.
    """

    blocks: int = 0
    units: float = 0.0
    sums: Categories = ()
    squares: float = 0.0
    moved: float = 0.0
    last: Categories = ()


class Contrast(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The difference of both arms' shares in closed blocks that hold units of both.

    `weight`, `drift` and `squares` are sums of weights, of weighed differences by category and of weighed squares;
    `balance` is the sum of the stable's shares of the units.
    """

    blocks: int = 0
    candidate: Categories = ()
    stable: Categories = ()
    weight: float = 0.0
    drift: Categories = ()
    squares: float = 0.0
    balance: float = 0.0


class Dispersion(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The closed blocks, and the open one, which began at `open_s`. `cautious` is where `unknown` holds."""

    stable: Spread = Spread()
    arms: Contrast = Contrast()
    open_s: float | None = None
    open_stable: Categories = ()
    open_candidate: Categories = ()
    cautious: bool = False


def closed(found: Dispersion, at_s: float) -> Dispersion:
    """With the open block closed, where a look at that time is of a later one; to be called before the look's bets."""
    block_s = math.floor(at_s / BLOCK_S) * BLOCK_S
    if found.open_s is None or block_s == found.open_s:
        return found
    return Dispersion(
        _closed(found.stable, found.open_stable),
        _contrasted(found.arms, found.open_candidate, found.open_stable),
        cautious=found.cautious,
    )


def seen(found: Dispersion, at_s: float, candidate: Categories, stable: Categories) -> Dispersion:
    """With one more look: counts by category of each arm, empty where there is only the other one."""
    found = closed(found, at_s)
    return Dispersion(
        found.stable,
        found.arms,
        math.floor(at_s / BLOCK_S) * BLOCK_S,
        _added(found.open_stable, stable),
        _added(found.open_candidate, candidate),
        found.cautious,
    )


def divisor(found: Dispersion, cluster: float = 1.0, share: float = 1.0) -> float:
    """By what to divide a look's logarithm: at least the largest known cluster, at least 1.

    `share` is the variance of one unit over that of a yes or no of the same mean; less than 1 for amounts.
    """
    known = max(0, found.arms.blocks - 1)
    stable, arms = between_blocks(found.stable, share), of_difference(found.arms, share)
    return max(1.0, cluster, (_WEIGHT_OF_STABLE * stable + known * arms) / (_WEIGHT_OF_STABLE + known))


def unknown(found: Dispersion) -> float:
    """By what to divide evidence of harm at least, while less than a minute of the stable revision is known: as for clusters of
    eight. Without it three of ten healthy candidates of a stable revision without a past failed in simulation (batches of 8)."""
    return UNKNOWN if found.cautious and found.stable.blocks < KNOWN_BLOCKS else 1.0


def around_mean(spread: Spread) -> float:
    """The variance of blocks around their common mean over that of independent units, slow swings included; 1 where
    nothing can be said. For what is compared with the past."""
    alone = _alone(spread.sums)
    if spread.blocks < 2 or alone <= _NONE:
        return 1.0
    varied = spread.squares - sum(part**2 for part in spread.sums) / spread.units
    return max(0.0, varied / (alone * (spread.blocks - 1)))


def between_blocks(spread: Spread, share: float = 1.0) -> float:
    """The variance of the steps from one block to the next over that of independent units; 1 where nothing can be said."""
    alone = share * _alone(spread.sums)
    if spread.blocks < 2 or alone <= _NONE:
        return 1.0
    return spread.moved / (alone * (spread.blocks - 1))


def of_difference(arms: Contrast, share: float = 1.0) -> float:
    """The variance between blocks of the arms' difference over that of independent units; 1 where nothing can be said."""
    if arms.blocks < 2:
        return 1.0
    balance = arms.balance / arms.blocks
    alone = share * (balance * _alone(arms.candidate) + (1.0 - balance) * _alone(arms.stable))
    if alone <= _NONE:
        return 1.0
    varied = arms.squares - sum(part**2 for part in arms.drift) / arms.weight
    return max(0.0, varied / (alone * (arms.blocks - 1)))


def _alone(sums: Categories) -> float:
    """The variance of one unit, summed over its categories."""
    units = sum(sums)
    return 1.0 - sum((part / units) ** 2 for part in sums) if units > 0 else 0.0


def _closed(spread: Spread, block: Categories) -> Spread:
    units = sum(block)
    if units <= 0:
        return spread
    before = sum(spread.last)
    step = 0.0
    if before > 0:
        step = units * before / (units + before) * _distance(block, spread.last)
    return Spread(
        spread.blocks + 1,
        spread.units + units,
        _added(spread.sums, block),
        spread.squares + sum(part**2 for part in block) / units,
        spread.moved + step,
        block,
    )


def _contrasted(arms: Contrast, candidate: Categories, stable: Categories) -> Contrast:
    ours, theirs = sum(candidate), sum(stable)
    if ours <= 0 or theirs <= 0:
        return arms
    weight = ours * theirs / (ours + theirs)
    drift = tuple(weight * (c / ours - s / theirs) for c, s in zip(candidate, stable, strict=True))
    return Contrast(
        arms.blocks + 1,
        _added(arms.candidate, candidate),
        _added(arms.stable, stable),
        arms.weight + weight,
        _added(arms.drift, drift),
        arms.squares + weight * _distance(candidate, stable),
        arms.balance + theirs / (ours + theirs),
    )


def _distance(one: Categories, other: Categories) -> float:
    """The squared distance of two blocks' shares."""
    ones, others = sum(one), sum(other)
    return sum((a / ones - b / others) ** 2 for a, b in zip(one, other, strict=True))


def _added(one: Categories, other: Categories) -> Categories:
    if not one or not other:
        return one or other
    return tuple(a + b for a, b in zip(one, other, strict=True))

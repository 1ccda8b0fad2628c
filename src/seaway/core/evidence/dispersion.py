"""How many outcomes count as one, where requests fail or slow down together: estimated from blocks of 10 seconds.

Batches and stalls are the largest threat to a test that takes requests for independent. Each factor's logarithm is
divided by `divisor`, which comes from closed blocks only, so from before the look. Simulated, not proved.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec

BLOCK_S: Final = 10.0
_WEIGHT_OF_STABLE: Final = 30.0
_KNOWN_BLOCKS: Final = 6
_UNKNOWN: Final = 8.0
Categories = tuple[float, ...]


class Spread(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one arm's closed blocks add up to: how many, their units by category, the sum of squares over sizes."""

    blocks: int = 0
    units: float = 0.0
    sums: Categories = ()
    squares: float = 0.0


class Dispersion(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Both arms' closed blocks, and the open one, which began at `open_s`. `cautious` is where `unknown` holds."""

    stable: Spread = Spread()
    candidate: Spread = Spread()
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
        _closed(found.candidate, found.open_candidate),
        cautious=found.cautious,
    )


def seen(found: Dispersion, at_s: float, candidate: Categories, stable: Categories) -> Dispersion:
    """With one more look: counts by category of each arm, empty where there is only the other one."""
    found = closed(found, at_s)
    return Dispersion(
        found.stable,
        found.candidate,
        math.floor(at_s / BLOCK_S) * BLOCK_S,
        _added(found.open_stable, stable),
        _added(found.open_candidate, candidate),
        found.cautious,
    )


def divisor(found: Dispersion, cluster: float = 1.0) -> float:
    """By what to divide a look's logarithm: at least the largest known cluster, at least 1."""
    blocks = found.candidate.blocks
    mixed = (_WEIGHT_OF_STABLE * factor(found.stable) + blocks * factor(found.candidate)) / (
        _WEIGHT_OF_STABLE + blocks
    )
    return max(1.0, cluster, mixed)


def unknown(found: Dispersion) -> float:
    """By what to divide evidence of harm at least, while less than a minute of the stable revision is known: as for clusters of
    eight. Without it three of ten healthy candidates of a stable revision without a past failed in simulation (batches of 8)."""
    return _UNKNOWN if found.cautious and found.stable.blocks < _KNOWN_BLOCKS else 1.0


def factor(spread: Spread) -> float:
    """The variance between blocks over that of independent units; 1 where nothing can be said."""
    if spread.blocks < 2 or spread.units <= 0:
        return 1.0
    alone = 1.0 - sum((part / spread.units) ** 2 for part in spread.sums)
    if alone <= 1e-12:
        return 1.0
    between = spread.squares - sum(part**2 for part in spread.sums) / spread.units
    return max(0.0, between / (alone * (spread.blocks - 1)))


def _closed(spread: Spread, block: Categories) -> Spread:
    units = sum(block)
    if units <= 0:
        return spread
    squares = sum(part**2 for part in block) / units
    return Spread(
        spread.blocks + 1, spread.units + units, _added(spread.sums, block), spread.squares + squares
    )


def _added(one: Categories, other: Categories) -> Categories:
    if not one or not other:
        return one or other
    return tuple(a + b for a, b in zip(one, other, strict=True))

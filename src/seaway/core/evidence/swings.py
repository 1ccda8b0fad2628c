"""How many pairs count as one, where neighbours are alike: right or wrong together, or answered otherwise together. Estimated
from blocks of 10 seconds.

As `dispersion` does it for two arms; of pairs there is one difference, and its swings in time are no arm's alone: a market
in which the candidate is worse for an hour, a user who asks the same again and again. Simulated, not proved. Used by
`core.rollouts.processes`.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec

from seaway.core.evidence.dispersion import BLOCK_S, KNOWN_BLOCKS, UNKNOWN
from seaway.core.evidence.pairs import PairLook

_NONE: Final = 1e-12


class Swings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the closed blocks add up to: how many, their pairs, harms (candidate's loss less the stable's; 1 where both only
    differ), squared harms, and squared sums of harms over sizes; `telling` are those in which any harm was not 0, `crowds`
    their squared sizes. The open block began at `open_s`, and `open` is its pairs, harms and squared harms."""

    blocks: int = 0
    pairs: float = 0.0
    harm: float = 0.0
    energy: float = 0.0
    squares: float = 0.0
    open_s: float | None = None
    open: tuple[float, float, float] = (0.0, 0.0, 0.0)
    telling: int = 0
    crowds: float = 0.0


def closed(found: Swings, at_s: float) -> Swings:
    """With the open block closed, where a look at that time is of a later one; to be called before the look's bets."""
    block_s = math.floor(at_s / BLOCK_S) * BLOCK_S
    if found.open_s == block_s:
        return found
    pairs, harm, energy = found.open
    if not pairs:
        return msgspec.structs.replace(found, open_s=block_s)
    return Swings(
        found.blocks + 1,
        found.pairs + pairs,
        found.harm + harm,
        found.energy + energy,
        found.squares + harm**2 / pairs,
        block_s,
        telling=found.telling + (energy > _NONE),
        crowds=found.crowds + pairs**2,
    )


def seen(found: Swings, look: PairLook) -> Swings:
    """With one more look."""
    found = closed(found, look.at_s)
    alone = look.worse + look.better
    more = (
        alone + look.same + len(look.partial),
        look.worse - look.better + math.fsum(look.partial),
        alone + math.fsum(harm**2 for harm in look.partial),
    )
    pairs, harm, energy = (a + b for a, b in zip(found.open, more, strict=True))
    return msgspec.structs.replace(found, open=(pairs, harm, energy))


def mean_square(found: Swings) -> float | None:
    """Of the harms of all pairs, those of the open block too; None where there are none."""
    pairs, _, energy = found.open
    count = found.pairs + pairs
    return (found.energy + energy) / count if count else None


def divisor(found: Swings) -> float:
    """By what to divide a look's logarithm: the variance between closed blocks over that of independent pairs; at least 1.

    While both revisions differed in fewer than six blocks, at least as for clusters of eight: pairs that are all alike say
    nothing of how those hang together that are not.
    """
    if found.telling < KNOWN_BLOCKS:
        return max(UNKNOWN, _between(found))
    return max(1.0, _between(found))


def divisor_to_pass(found: Swings, by_user: bool) -> float:
    """The same for the evidence that two revisions agree, which most often never differ: six blocks tell in no time then.

    Until they do, no more pairs count as one than their block holds, weighed by pairs (Kish 1965, the sum of squared sizes over
    the sum of sizes): what hangs together over longer times is not noticed later either. With `by_user` each is of another
    user, who are taken for independent as in all checks.
    """
    between = max(1.0, _between(found))
    if by_user or found.telling >= KNOWN_BLOCKS:
        return between
    crowd = found.crowds / found.pairs if found.pairs else UNKNOWN
    return max(between, min(UNKNOWN, crowd))


def _between(found: Swings) -> float:
    """1 where nothing can be said."""
    if found.blocks < 2:
        return 1.0
    alone = found.energy / found.pairs - (found.harm / found.pairs) ** 2
    if alone <= _NONE:
        return 1.0
    return (found.squares - found.harm**2 / found.pairs) / (alone * (found.blocks - 1))

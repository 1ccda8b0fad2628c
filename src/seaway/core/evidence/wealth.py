"""E-processes kept as logarithms: a mixture over bets, with new wealth paid in while time goes on. Used by every test.

An e-process starts at 1 and has mean at most 1 at every stopping time while its null hypothesis holds; so the chance
that it ever reaches 1/alpha is at most alpha (Ville 1939), however often one looks.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

FAIL_ODDS: Final = (1.01, 1.03, 1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 100.0, 1000.0)
"""The harms that are bet on, as multiples of the odds at the margin."""
PASS_ODDS: Final = tuple(1 / odds for odds in FAIL_ODDS[:-2])
START_EVERY_S: Final = 60.0
_FIRST_SHARE: Final = 0.5


class Wealth(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What each bet has won, as logarithms; rows are margins, columns are bets.

    `starts` counts the late starts so far; None is a mixture that starts once. With late starts one half is bet at
    first, and the j-th start pays in 0.5/(j(j+1)), so that all of them together are at most 1.
    """

    logs: tuple[tuple[float, ...], ...]
    starts: int | None = None


def fresh(rows: int, bets: int, late: bool) -> Wealth:
    """Nothing won and nothing lost."""
    first = math.log(_FIRST_SHARE) if late else 0.0
    return Wealth(((first,) * bets,) * rows, 0 if late else None)


def grown(wealth: Wealth, log_factors: Floats, elapsed_s: float) -> Wealth:
    """After one look, whose factors are `(rows, bets)`, that began `elapsed_s` after the test.

    The starts that are due by then are paid in before the factors: time decides of them, never an outcome.
    """
    logs = np.array(wealth.logs, dtype=np.float64)
    starts = wealth.starts
    if starts is not None:
        due = max(starts, int(elapsed_s // START_EVERY_S))
        if due > starts:
            logs = np.logaddexp(logs, math.log(paid_in(due) - paid_in(starts)))
        starts = due
    logs = logs + log_factors
    return Wealth(tuple(tuple(row) for row in logs.tolist()), starts)


def paid_in(starts: int) -> float:
    """The share of the wealth that has been bet after so many late starts."""
    return 1.0 - (1.0 - _FIRST_SHARE) / (starts + 1)


def log_values(wealth: Wealth) -> Floats:
    """log E of each row: the mean over the bets, and what has not been bet yet."""
    means = log_mean_exp(np.array(wealth.logs, dtype=np.float64))
    if wealth.starts is None:
        return means
    kept: Floats = np.logaddexp(means, math.log1p(-paid_in(wealth.starts)))
    return kept


def log_mean_exp(logs: Floats) -> Floats:
    """log of the mean of the exponentials along the last axis, without leaving the logarithms' scale."""
    top = logs.max(axis=-1, keepdims=True)
    means: Floats = top[..., 0] + np.log(np.exp(logs - top).mean(axis=-1))
    return means

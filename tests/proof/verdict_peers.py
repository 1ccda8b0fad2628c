"""What others do on the same traffic: z tests, once or at every look, and the documented rules of Flagger and Argo."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from verdict_runs import NEVER, Floats, Traffic

MINUTE = 60
_Z = {0.05: 1.6449, 0.05 / 60: 3.1437}


def z_scores(traffic: Traffic) -> Floats:
    """Of two proportions over all looks so far, pooled, one-sided; 0 before 30 candidate requests."""
    n_c, e_c, n_s, e_s = (
        np.cumsum(array, axis=1) for array in (traffic.n_c, traffic.e_c, traffic.n_s, traffic.e_s)
    )
    pooled = (e_c + e_s) / np.maximum(n_c + n_s, 1)
    spread = np.sqrt(pooled * (1 - pooled) * (1 / np.maximum(n_c, 1) + 1 / np.maximum(n_s, 1)))
    score = (e_c / np.maximum(n_c, 1) - e_s / np.maximum(n_s, 1)) / np.maximum(spread, 1e-12)
    return np.where((n_c >= 30) & (n_s >= 30) & (e_c + e_s > 0), score, 0.0)


def z_rules(traffic: Traffic, every: int = MINUTE) -> dict[str, npt.NDArray[np.int64]]:
    """`naive`: 5 % at every look; `peek`: every so many looks, Bonferroni over 60; `end`: once."""
    scores = z_scores(traffic)
    minutes = np.zeros(scores.shape[1], dtype=bool)
    minutes[every - 1 :: every] = True
    last = np.zeros_like(minutes)
    last[-1] = True
    return {
        "naive": _first(scores > _Z[0.05]),
        "peek": _first((scores > _Z[0.05 / 60]) & minutes),
        "end": _first((scores > _Z[0.05]) & last),
    }


def flagger(traffic: Traffic) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Rolled back and promoted at: success under 99 % in a minute, five times in all, or ten good minutes before.

    A minute without traffic counts as failed.
    """
    good = _good_minutes(traffic)
    return _race(np.cumsum(~good, axis=1) >= 5, np.cumsum(good, axis=1) >= 10)


def argo(traffic: Traffic) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The same success, `count: 10`, `failureLimit: 3`: the fourth failed of ten minutes aborts."""
    good = _good_minutes(traffic)[:, :10]
    failed = np.cumsum(~good, axis=1) >= 4
    ended = np.zeros_like(failed)
    ended[:, -1] = True
    return _race(failed, ended)


def _good_minutes(traffic: Traffic) -> npt.NDArray[np.bool_]:
    n, e = (array.reshape(traffic.runs, -1, MINUTE).sum(axis=2) for array in (traffic.n_c, traffic.e_c))
    return (n > 0) & (e <= 0.01 * n + 1e-9)


def _race(
    back: npt.NDArray[np.bool_], on: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    first_back, first_on = (_minutes(_first(one)) for one in (back, on))
    won = first_back <= first_on
    return np.where(won, first_back, NEVER), np.where(won, NEVER, first_on)


def _minutes(found: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.where(found == NEVER, NEVER, (np.minimum(found, 10**9) + 1) * MINUTE - 1)


def _first(crossed: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    return np.where(crossed.any(axis=1), crossed.argmax(axis=1), NEVER)

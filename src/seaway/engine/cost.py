"""How long a batch of n rows takes, t(n) = a + b·n, learned from every execution. Pure: the predictor feeds and asks it."""

from __future__ import annotations

import math
from typing import Final

_FORGET: Final = 0.98
"""What one more observation leaves of the weight of all before it: the last 50 or so count."""
_HOLD_ROWS2: Final = 0.25
"""How firmly the slope is held where all batches have about the same size, as a variance of rows."""
_CLIP: Final = 3.0
"""A time that is further off than this many usual errors counts as that far off."""
_LEAST_ERROR: Final = 0.1
"""The usual error is never taken for less than this share of the prediction."""
_LEAST_ERROR_S: Final = 5e-6


class CostModel:
    """Recursive least squares with forgetting over (rows, seconds), clipped against outliers; never negative.

    Kept as exponentially weighted means and moments, which is the same as the textbook's recursion (Ljung, System
    Identification, 11.2) for two unknowns, and cannot wind up while every batch has the same size: then the slope
    stays as it was, and the offset follows.
    """

    __slots__ = ("_cross", "_error_s", "_mean_rows", "_mean_s", "_square", "_weight", "a_s", "b_s", "samples")

    def __init__(self, a_s: float = 0.0, b_s: float = 0.0, samples: int = 0) -> None:
        """`samples` is how many executions a_s and b_s come from; 0 means that nothing is known."""
        self.a_s = a_s
        self.b_s = b_s
        self.samples = samples
        self._weight = 0.0
        self._mean_rows = 0.0
        self._mean_s = 0.0
        self._square = 0.0
        self._cross = 0.0
        self._error_s = 0.0

    def seconds(self, rows: int) -> float:
        """Predicted time of one batch; 0 where nothing is known."""
        return self.a_s + self.b_s * rows

    def rows_within(self, limit_s: float) -> float:
        """The most rows whose batch is predicted to take at most `limit_s`; below 1 where none is, infinite at no cost."""
        left_s = limit_s - self.a_s
        if left_s < 0:
            return 0.0
        return left_s / self.b_s if self.b_s > 0 else math.inf

    def observe(self, rows: int, took_s: float) -> None:
        """One execution of `rows` rows ended after `took_s`."""
        if self.samples:
            took_s = self._clipped(self.a_s + self.b_s * rows, took_s)
        self.samples += 1
        self._weight = weight = self._weight * _FORGET + 1.0
        share = 1.0 / weight
        off_rows = rows - self._mean_rows
        off_s = took_s - self._mean_s
        self._mean_rows += off_rows * share
        self._mean_s += off_s * share
        keep = 1.0 - share
        self._square = keep * (self._square + share * off_rows * off_rows)
        self._cross = keep * (self._cross + share * off_rows * off_s)
        b_s = (self._cross + _HOLD_ROWS2 * self.b_s) / (self._square + _HOLD_ROWS2)
        self.b_s = b_s = min(max(b_s, 0.0), self._mean_s / self._mean_rows if self._mean_rows > 0 else 0.0)
        self.a_s = max(0.0, self._mean_s - b_s * self._mean_rows)

    def _clipped(self, expected_s: float, took_s: float) -> float:
        """`took_s`, at most some usual errors away. The usual error grows fast, so a lasting change is soon believed."""
        usual_s = max(self._error_s, _LEAST_ERROR * expected_s, _LEAST_ERROR_S)
        off_s = took_s - expected_s
        self._error_s = usual_s + 0.1 * (min(abs(off_s), 10 * usual_s) - usual_s)
        return expected_s + max(-_CLIP * usual_s, min(_CLIP * usual_s, off_s))

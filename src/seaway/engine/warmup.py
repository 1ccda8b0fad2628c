"""The first predictions of a model: it must answer as its Signature says, and its speed chooses its first lane."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from seaway.core.errors import SeawayError
from seaway.core.ports import Clock, LoadedModel
from seaway.core.tensors import Tensors, check_inputs, check_outputs
from seaway.engine import batches
from seaway.engine.jobs import Learned

FIRST_S: Final = 30.0
"""How long the first prediction may take."""
_ROWS: Final = 8
_RUNS: Final = 5
_BUDGET_S: Final = 0.2
"""No further run is made for measuring once all took so long together."""
_SLOW_ROW_S: Final = 0.25
"""A model that takes longer for a row is not measured further."""
_ALL_S: Final = 2.0
"""Eight rows are run, twice at least, only where that would be over by then, going by what one row took; else two."""
_APART: Final = 0.05
"""Outputs further apart than this share of the largest mean that rows of a batch influence each other."""


def warm(model: LoadedModel, sample: Tensors, clock: Clock, known: Learned | None) -> Learned:
    """Make a real prediction, then measure t(1) and t(8), unless that is `known`. Blocking.

    Another model may wait for its start behind this one, so a very slow model makes no more than the real prediction.
    Its requests are not put together, since nothing is known of how its rows influence each other.

    Raises `PermanentError("execution_failed")` where an answer does not fit the Signature, and what the model raises.
    """
    signature = model.signature
    check_inputs(signature, sample)
    began_s = clock.monotonic_s()
    check_outputs(signature, model.predict(sample, FIRST_S))
    first_s = clock.monotonic_s() - began_s
    if known is not None and known.samples > 0:
        return known
    apart = batches.batchable(signature)
    each_s = first_s / (len(next(iter(sample.values()))) if apart else 1)
    if each_s > _SLOW_ROW_S:
        return Learned(0.0, each_s, 1, batchable=False)
    if not apart:
        runs, one_s = _least_s(lambda: model.predict(sample, FIRST_S), clock, _BUDGET_S)
        return Learned(one_s, 0.0, runs, batchable=False)
    one = _rows(sample, 1)
    runs, one_s = _least_s(lambda: model.predict(one, FIRST_S), clock, _BUDGET_S / 2)
    spent_s = clock.monotonic_s() - began_s - first_s
    count = _ROWS if spent_s + one_s * (1 + 2 * _ROWS) <= _ALL_S else 2
    many = _rows(sample, count)
    if not _independent(model, one, many, count):
        return Learned(one_s, 0.0, runs, batchable=False)
    more, many_s = _least_s(lambda: model.predict(many, FIRST_S), clock, _BUDGET_S / 2)
    b_s = min(max(0.0, (many_s - one_s) / (count - 1)), one_s)
    return Learned(one_s - b_s, b_s, runs + more)


def _rows(sample: Tensors, count: int) -> Tensors:
    return {name: array[np.arange(count) % len(array)] for name, array in sample.items()}


def _least_s(run: Callable[[], object], clock: Clock, budget_s: float) -> tuple[int, float]:
    """How often it was run, and the shortest time: whatever disturbs a run makes it longer."""
    began_s = before_s = clock.monotonic_s()
    least_s = float("inf")
    count = 0
    while count < _RUNS and before_s - began_s <= budget_s:
        run()
        count += 1
        now_s = clock.monotonic_s()
        least_s = min(least_s, now_s - before_s)
        before_s = now_s
    return count, least_s


def _independent(model: LoadedModel, one: Tensors, many: Tensors, count: int) -> bool:
    """Whether the first row's outputs stay about the same, and its own, in a batch."""
    try:
        alone, together = model.predict(one, FIRST_S), model.predict(many, FIRST_S)
    except SeawayError:
        return False
    for name, expected in alone.items():
        found = together[name]
        if expected.shape[:1] != (1,) or found.shape[:1] != (count,):
            return False
        if expected.dtype.kind == "f" and expected.size:
            apart = np.abs(expected.astype(np.float64) - found[:1].astype(np.float64))
            largest = float(np.max(np.abs(expected.astype(np.float64))))
            if bool(np.any(apart > _APART * max(largest, 1e-6))):
                return False
    return True

"""The first predictions of a model, in virtual time: a slow model must not hold up those that start behind it."""

from __future__ import annotations

import numpy as np
import pytest
from engine_fakes import FakeModel

from seaway.core.tensors import Tensors
from seaway.engine import warmup
from seaway.engine.jobs import Learned
from seaway.testing.clock import VirtualClock

SAMPLE = {"x": np.array([3.0, 4.0], np.float32)}


class TimedModel(FakeModel):
    """Takes `a_s` for each prediction and `b_s` for each row of it."""

    def __init__(self, clock: VirtualClock, a_s: float, b_s: float) -> None:
        super().__init__()
        self._clock, self._a_s, self._b_s = clock, a_s, b_s

    def predict(self, inputs: Tensors, timeout_s: float | None = None) -> Tensors:
        self._clock.advance(self._a_s + self._b_s * len(inputs["x"]))
        return super().predict(inputs, timeout_s)


def warmed(a_s: float, b_s: float) -> tuple[Learned, float, int]:
    """What was learned, the time that it took, and the predictions that were made."""
    clock = VirtualClock(0.0)
    model = TimedModel(clock, a_s, b_s)
    learned = warmup.warm(model, SAMPLE, clock, None)
    return learned, clock.monotonic_s(), len(model.calls)


@pytest.mark.parametrize(("a_s", "b_s"), [(6.0, 0.0), (0.0, 7.5), (0.3, 0.15)])
def test_a_slow_model_costs_its_start_one_prediction(a_s: float, b_s: float) -> None:
    learned, took_s, predictions = warmed(a_s, b_s)
    assert predictions == 1
    assert took_s == pytest.approx(a_s + 2 * b_s)
    assert learned == Learned(0.0, pytest.approx(took_s / 2), 1, batchable=False)


@pytest.mark.parametrize("b_s", [0.0001, 0.003, 0.02, 0.05, 0.1, 0.15, 0.2, 0.24])
def test_no_model_measures_for_more_than_seconds(b_s: float) -> None:
    _, took_s, _ = warmed(0.001, b_s)
    assert took_s <= 0.5 + 2.0


def test_a_quick_model_is_measured_as_it_is() -> None:
    learned, took_s, _ = warmed(0.004, 0.0005)
    assert (learned.a_s, learned.b_s) == (pytest.approx(0.004), pytest.approx(0.0005))
    assert learned.batchable
    assert took_s < 0.5

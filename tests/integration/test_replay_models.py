"""A replay's models crash, hang and fail in processes of their own: one request fails, the next one is answered."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import faulty_bundles
import numpy as np
import pytest

from seaway.core.errors import PermanentError, SeawayError
from seaway.core.tensors import Tensors
from seaway.wiring.replay_models import ReplayModel

MEMORY = 4 * 2**30


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ReplayModel]:
    monkeypatch.setenv("PYTHONPATH", str(faulty_bundles.RUNTIME))
    made = ReplayModel(faulty_bundles.write(tmp_path / "b", "b"), MEMORY, 5.0)
    yield made
    made.close()


def x(*values: float) -> Tensors:
    return {"x": np.array(values, dtype=np.float32)}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("act", "code", "lost"),
    [
        (1, "engine_crashed", 1),
        (2, "engine_crashed", 1),
        (7, "engine_crashed", 1),
        (10, "execution_failed", 0),
    ],
    ids=["segfault", "hang", "exit", "raise"],
)
def test_one_request_is_lost_and_the_next_is_answered(
    model: ReplayModel, act: int, code: str, lost: int
) -> None:
    assert model.ask(x(0.5), 1).values.tolist() == [1.0]
    with pytest.raises(SeawayError) as refused:
        model.ask(x(float(act)), 1)
    assert (refused.value.code, model.lost) == (code, lost)
    assert model.ask(x(0.25, 0.5), 2).values.tolist() == [0.5, 1.0]


@pytest.mark.slow
def test_processor_time_is_that_of_the_model(model: ReplayModel) -> None:
    model.ask(x(0.5), 1)
    little = model.cpu_s
    model.ask(x(12.0), 1)  # computes for 50 ms
    assert little < 0.045 < model.cpu_s - little < 0.5


def test_a_request_that_does_not_fit_is_refused_as_a_door_would(model: ReplayModel) -> None:
    with pytest.raises(SeawayError) as refused:
        model.ask({"x": np.array([np.nan], dtype=np.float32)}, 1)
    assert refused.value.code == "invalid_value"
    with pytest.raises(SeawayError) as refused:
        model.ask({"z": np.array([1.0], dtype=np.float32)}, 1)
    assert refused.value.code == "unknown_input"


def test_a_model_that_ends_its_process_while_it_loads_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(faulty_bundles.RUNTIME))
    bundle = faulty_bundles.write(tmp_path / "b", "b", "crash-at-load")
    with pytest.raises(PermanentError, match="while it loaded the model"):
        ReplayModel(bundle, MEMORY, 60.0)

"""The runtime of models that answer step by step, on real files; test_serve_streams.py serves them to clients."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import msgspec
import numpy as np
import onnxruntime
import pytest
import step_models
from step_models import CONTEXT, FORECAST, LAGS, PIECE, RATE, SLOW, VAD

import datasets
import seaway
from seaway.adapters.runtimes.onnx_steps import OnnxStepsModel, OnnxStepsRuntime
from seaway.core.errors import PermanentError, TemporaryError, UserError
from seaway.core.ports import LoadedModel, StreamingModel
from seaway.core.steps import StepRules, Steps, Window


def loaded(directory: Path, path: Path, rules: StepRules) -> OnnxStepsModel:
    return OnnxStepsRuntime().load(step_models.packaged(directory, path, rules))


def silero_as_its_package_runs_it(path: Path, samples: np.ndarray) -> np.ndarray:
    """`OnnxWrapper.audio_forward` of silero-vad 6.2.3, with numpy in the place of torch."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    state = np.zeros((2, len(samples), 128), np.float32)
    context = np.zeros((len(samples), CONTEXT), np.float32)
    samples = np.pad(samples, [(0, 0), (0, -samples.shape[1] % PIECE)])
    found = []
    for start in range(0, samples.shape[1], PIECE):
        x = np.concatenate([context, samples[:, start : start + PIECE]], axis=1)
        out, state = session.run(None, {"input": x, "state": state, "sr": np.array(RATE, np.int64)})
        context = x[:, -CONTEXT:]
        found.append(out)
    return np.concatenate(found, axis=1)


def test_silero_answers_as_its_own_package(tmp_path: Path) -> None:
    path = datasets.fetch("silero-vad")
    model = loaded(tmp_path, path, VAD)
    assert isinstance(model, StreamingModel)
    samples = np.concatenate([step_models.audio(2.01), step_models.audio(2.01, seed=1)[:, ::-1]])
    for given in (samples[:1], samples[:, :100], samples):
        whole = model.predict({"input": given})["output"]
        np.testing.assert_array_equal(whole, silero_as_its_package_runs_it(path, given))
        replies = [reply["output"] for reply in model.stream({"input": given})]
        assert {reply.shape for reply in replies} == {(len(given), 1)}
        np.testing.assert_array_equal(np.concatenate(replies, axis=1), whole)
    assert np.ptp(model.predict({"input": samples[:1]})["output"]) > 0.05, "it hears a difference"


@pytest.mark.parametrize(("length", "context"), [(1, 0), (3, 0), (3, 2), (2, 5), (4, 4)])
def test_pieces_overlap_and_are_filled_up(tmp_path: Path, length: int, context: int) -> None:
    rules = StepRules(
        ("seen", "total"), 50, {"total": "state"}, ("state",), window=Window("x", length, context)
    )
    model = loaded(tmp_path, step_models.window_model(tmp_path / "window.onnx"), rules)
    for size in (1, length, length + 1, 13):
        x = np.arange(1, 2 * size + 1, dtype=np.float32).reshape(2, size)
        count = -(-size // length)
        padded = np.pad(x, [(0, 0), (context, count * length - size)])
        pieces = [padded[:, k * length : (k + 1) * length + context] for k in range(count)]
        found = model.predict({"x": x})
        np.testing.assert_array_equal(found["seen"], np.stack(pieces, axis=1))
        totals = np.cumsum([piece.sum(axis=1) for piece in pieces], axis=0).T
        np.testing.assert_array_equal(found["total"], totals)


def test_too_long_and_empty_inputs_are_refused_before_a_step(tmp_path: Path) -> None:
    rules = StepRules(
        ("total",), 3, {"total": "state"}, ("state",), window=Window("x", 2), limit_input="most"
    )
    model = loaded(tmp_path, step_models.window_model(tmp_path / "window.onnx"), rules)
    for size in (0, 7):
        with pytest.raises(UserError, match="axis 1") as caught:
            model.stream({"x": np.ones((1, size), np.float32)})
        assert (caught.value.code, caught.value.hint) == ("wrong_shape", "send 1 to 6")
    cut = model.predict({"x": np.ones((1, 7), np.float32), "most": np.array([2])})
    assert cut["total"].tolist() == [[2, 4]]


def test_a_forecast_feeds_on_itself(tmp_path: Path) -> None:
    path, weights = step_models.forecaster(tmp_path / "forecast.onnx")
    model = loaded(tmp_path, path, FORECAST)
    recent = step_models.last_day()
    expected = list(recent[0].astype(np.float64))
    for _ in range(96):
        expected.append(float(np.dot(expected[-LAGS:], weights[:-1]) + weights[-1]))
    found = model.predict({"recent": recent})["price"]
    assert found.shape == (1, 96)
    np.testing.assert_allclose(found[0], expected[LAGS:], rtol=1e-4, atol=1e-5)
    fewer = [r["price"].item() for r in model.stream({"recent": recent, "max_steps": np.array([5])})]
    assert fewer == found[0, :5].tolist()
    for wrong in (0, -1, 97):
        with pytest.raises(UserError, match=f"is {wrong}") as caught:
            model.predict({"recent": recent, "max_steps": np.array([wrong])})
        assert caught.value.code == "invalid_value"


def test_a_forecast_stops_by_itself_with_the_step_that_says_so(tmp_path: Path) -> None:
    path, _ = step_models.forecaster(tmp_path / "forecast.onnx")
    free = loaded(tmp_path, path, FORECAST).predict({"recent": step_models.last_day()})["price"][0]
    ceiling = float(np.sort(free)[-20])
    path, _ = step_models.forecaster(tmp_path / "stopping.onnx", ceiling)
    stopped = loaded(tmp_path, path, FORECAST).predict({"recent": step_models.last_day()})["price"][0]
    first = int(np.argmax(free > np.float32(ceiling)))
    assert 0 < first < 95
    np.testing.assert_array_equal(stopped, free[: first + 1])


def rounds(number: float) -> dict[str, np.ndarray]:
    return {"rounds": np.array([number], np.float32)}


def test_p13_each_step_has_the_deadline(tmp_path: Path) -> None:
    model = loaded(tmp_path, step_models.slow_model(tmp_path / "slow.onnx"), SLOW)
    began = time.monotonic()
    with pytest.raises(TemporaryError) as caught:
        next(model.stream(rounds(1e12), 0.2))
    assert caught.value.code == "deadline_exceeded"
    with pytest.raises(TemporaryError) as caught:
        model.predict(rounds(1_000), 0.3)
    assert caught.value.code == "deadline_exceeded"
    assert time.monotonic() - began < 30
    replies = model.stream(rounds(1), 60.0)
    assert [next(replies)["count"].item() for _ in range(3)] == [1, 2, 3]


def test_nothing_runs_ahead_of_the_reader_or_after_the_end(tmp_path: Path) -> None:
    model = loaded(tmp_path, step_models.slow_model(tmp_path / "slow.onnx"), SLOW)
    runs = []
    run_one_step = model._model.predict
    model._model.predict = lambda *given: runs.append(1) or run_one_step(*given)
    replies = model.stream(rounds(1))
    assert runs == []
    list(itertools.islice(replies, 3))
    assert len(runs) == 3
    replies.close()
    assert list(replies) == []
    assert len(runs) == 3


def test_streams_at_once_keep_their_own_state_until_the_model_is_closed(tmp_path: Path) -> None:
    model: LoadedModel = loaded(tmp_path, step_models.slow_model(tmp_path / "slow.onnx"), SLOW)
    assert isinstance(model, StreamingModel)
    one, other = model.stream(rounds(1)), model.stream(rounds(1))
    next(one)
    assert [next(one)["count"].item(), next(other)["count"].item(), next(one)["count"].item()] == [2, 1, 3]
    model.close()
    with pytest.raises(PermanentError, match="closed"):
        next(one)


def test_python_packages_with_rules_as_a_mapping_or_a_file(tmp_path: Path) -> None:
    path = step_models.slow_model(tmp_path / "slow.onnx")
    rules = {"emit": ["count"], "max_steps": 9, "feedback": {"count": "state"}, "zeros": ["state"]}
    made = seaway.package(path, name="slow", steps=rules, lock=False, home=tmp_path / "home")
    (tmp_path / "slow.toml").write_text(
        'emit = ["count"]\nmax_steps = 9\nfeedback = {count = "state"}\nzeros = ["state"]\n'
    )
    again = seaway.package(
        path, name="slow", steps=str(tmp_path / "slow.toml"), lock=False, home=tmp_path / "home"
    )
    assert (made.created, again.created) == (True, False)
    assert isinstance(made.manifest.steps, Steps)
    with pytest.raises(UserError, match="colour"):
        seaway.package(path, name="slow", steps={**rules, "colour": 1}, lock=False, home=tmp_path / "home")


def test_rules_that_a_stranger_wrote_are_checked_again(tmp_path: Path) -> None:
    bundle = step_models.packaged(tmp_path, step_models.slow_model(tmp_path / "slow.onnx"), SLOW)
    assert isinstance(bundle.manifest.steps, Steps)
    graph = bundle.manifest.steps.graph
    wrong_graph = msgspec.structs.replace(graph, inputs=graph.inputs[:1])
    for steps in (
        Steps(msgspec.structs.replace(SLOW, emit=("secret",)), graph),
        Steps(SLOW, wrong_graph),
        msgspec.UNSET,
    ):
        manifest = msgspec.structs.replace(bundle.manifest, steps=steps)
        with pytest.raises(UserError) as caught:
            OnnxStepsRuntime().load(msgspec.structs.replace(bundle, manifest=manifest))
        assert caught.value.code == "invalid_steps"


def test_a_state_that_changes_its_shape_fails_after_the_first_step(tmp_path: Path) -> None:
    path = step_models.growing_model(tmp_path / "grow.onnx")
    model = loaded(tmp_path, path, step_models.GROWING)
    inputs = {"s": np.ones((3, 4), np.float32)}
    words = r"state 's_next' has shape \[3, 8\], but goes back into 's' of \[3, 4\]"
    with pytest.raises(PermanentError, match=words):
        model.predict(inputs)
    replies = model.stream(inputs)
    np.testing.assert_array_equal(next(replies)["total"], np.full((3, 1), 4.0))
    with pytest.raises(PermanentError, match=words):
        next(replies)

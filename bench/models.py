"""The four models of the bench, and thousands of different inputs to each with the right answers.

`python -m bench` makes them once into its cache; everything is seeded, so every machine gets the same.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from bench import places

Floats = NDArray[np.float32]
_OPSET: Final = 17
_IR_VERSION: Final = 9
_HIDDEN, _BLOCKS = 1280, 7
_CHANNELS, _SIDE, _CONVOLUTIONS = 64, 32, 6
OUTPUT: Final = "probabilities"
"""The output that is compared; *small* also gives `label`."""


class Model(NamedTuple):
    """One model: its input's name and shape without the batch axis, and how many different inputs it is asked."""

    name: str
    input: str
    tail: tuple[int, ...]
    inputs: int

    @property
    def path(self) -> Path:
        return places.MODELS / f"{self.name}.onnx"


MODELS: Final = {
    model.name: model
    for model in (
        Model("small", "X", (30,), 2048),  # StandardScaler + LogisticRegression: the server is all the cost
        Model("heavy", "input", (30,), 2048),  # residual MLP, about 4 ms, bound by memory: batching pays
        Model(
            "conv", "input", (30,), 2048
        ),  # about 5 ms, bound by the processor: batching gains almost nothing
        Model("img", "input", (3, 224, 224), 16),  # an average: decoding 150,528 numbers is all the cost
    )
}


def make_all() -> None:
    """Make what is missing: the ONNX files, and beside each its inputs and right answers."""
    places.MODELS.mkdir(parents=True, exist_ok=True)
    makers = {"small": _small, "heavy": _heavy, "conv": _conv, "img": _img}
    for name, model in MODELS.items():
        if not model.path.exists():
            onnx.save(makers[name](), str(model.path))
        if not _data_path(model).exists():
            inputs = make_inputs(model)
            np.savez(_data_path(model), inputs=inputs, answers=answers(model, inputs))


def data(name: str) -> tuple[NDArray[np.float64], Floats]:
    """Inputs `(n, *tail)`, as the decimal numbers that a client would send, and `session.run`'s answers to them."""
    with np.load(_data_path(MODELS[name])) as stored:
        return stored["inputs"], stored["answers"]


def session(path: Path) -> onnxruntime.InferenceSession:
    """A session as every system here is told to make it: one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def answers(model: Model, inputs: NDArray[np.float64]) -> Floats:
    """What `session.run` says to each row by itself."""
    one = session(model.path)
    rows = inputs.astype(np.float32)
    return np.concatenate([one.run([OUTPUT], {model.input: row[np.newaxis]})[0] for row in rows])


def make_inputs(model: Model, seed: int = 1) -> NDArray[np.float64]:
    """Different inputs with as many digits as real data has, and answers spread widely enough to tell them apart."""
    rng = np.random.default_rng(seed)
    if model.name == "small":
        table, target = _breast_cancer()
        count = model.inputs
        bad = table[target == 0][rng.integers(0, int((target == 0).sum()), count)]
        good = table[target == 1][rng.integers(0, int((target == 1).sum()), count)]
        share = rng.uniform(
            0.2, 0.8, (count, 1)
        )  # between the classes, or nearly every answer would be 0 or 1
        return _digits(share * bad + (1 - share) * good, 5)
    if model.name == "img":
        brightness = rng.uniform(0.2, 1.0, (model.inputs, 3, 1, 1))
        return np.round(rng.random((model.inputs, *model.tail)) * brightness, 8)
    return np.round(rng.standard_normal((model.inputs, *model.tail)), 4)


def _digits(values: NDArray[np.float64], digits: int) -> NDArray[np.float64]:
    """Rounded to that many significant digits."""
    return np.array([float(f"{value:.{digits}g}") for value in values.ravel()]).reshape(values.shape)


def _data_path(model: Model) -> Path:
    return model.path.with_suffix(".npz")


def _breast_cancer() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    from sklearn.datasets import load_breast_cancer

    table, target = load_breast_cancer(return_X_y=True)
    return table, target


def _small() -> onnx.ModelProto:
    from skl2onnx import to_onnx
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    table, target = _breast_cancer()
    rows = table.astype(np.float32)
    fitted = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(rows, target)
    made: onnx.ModelProto = to_onnx(fitted, rows[:1], options={"zipmap": False}, target_opset=_OPSET)
    return made


def _weights(
    rng: np.random.Generator, name: str, *shape: int, scale: float | None = None
) -> onnx.TensorProto:
    spread = shape[0] ** -0.5 if scale is None else scale
    return numpy_helper.from_array((rng.standard_normal(shape) * spread).astype(np.float32), name)


def _model(
    name: str, nodes: list[Any], weights: list[Any], tail: tuple[int, ...], outputs: int
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", *tail])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["N", outputs])],
        weights,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)])
    made.ir_version = _IR_VERSION
    onnx.checker.check_model(made)
    return made


def _heavy() -> onnx.ModelProto:
    """30 → 1280, seven residual blocks, → 2: 46 MB of weights are read for a batch of whatever size."""
    rng = np.random.default_rng(0)
    node = helper.make_node
    weights = [_weights(rng, "w0", 30, _HIDDEN), _weights(rng, "b0", _HIDDEN, scale=0.01)]
    nodes = [node("Gemm", ["input", "w0", "b0"], ["g0"]), node("Relu", ["g0"], ["h0"])]
    for i in range(1, _BLOCKS + 1):
        weights += [_weights(rng, f"w{i}", _HIDDEN, _HIDDEN), _weights(rng, f"b{i}", _HIDDEN, scale=0.01)]
        nodes += [
            node("Gemm", [f"h{i - 1}", f"w{i}", f"b{i}"], [f"g{i}"]),
            node("Relu", [f"g{i}"], [f"r{i}"]),
            node("Add", [f"r{i}", f"h{i - 1}"], [f"h{i}"]),
        ]
    weights += [
        _weights(rng, "wo", _HIDDEN, 2, scale=0.1 * _HIDDEN**-0.5),
        _weights(rng, "bo", 2, scale=0.01),
    ]
    nodes += [
        node("Gemm", [f"h{_BLOCKS}", "wo", "bo"], ["logits"]),
        node("Softmax", ["logits"], [OUTPUT], axis=1),
    ]
    return _model("heavy", nodes, weights, (30,), 2)


def _conv() -> onnx.ModelProto:
    """30 → an image of 8 channels, seven 3×3 convolutions of 64 channels, → 2."""
    rng = np.random.default_rng(0)
    node = helper.make_node
    shape = numpy_helper.from_array(np.array([-1, 8, _SIDE, _SIDE], np.int64), "shape")
    weights = [
        _weights(rng, "w0", 30, _SIDE * _SIDE * 8),
        shape,
        _weights(rng, "c0", _CHANNELS, 8, 3, 3, scale=0.1),
    ]
    nodes = [
        node("MatMul", ["input", "w0"], ["m0"]),
        node("Reshape", ["m0", "shape"], ["x0"]),
        node("Conv", ["x0", "c0"], ["y0"], pads=[1] * 4),
        node("Relu", ["y0"], ["z0"]),
    ]
    for i in range(1, _CONVOLUTIONS + 1):
        weights.append(_weights(rng, f"c{i}", _CHANNELS, _CHANNELS, 3, 3, scale=0.05))
        nodes += [
            node("Conv", [f"z{i - 1}", f"c{i}"], [f"y{i}"], pads=[1] * 4),
            node("Relu", [f"y{i}"], [f"z{i}"]),
        ]
    weights.append(_weights(rng, "wo", _CHANNELS, 2, scale=10 * _CHANNELS**-0.5))
    nodes += [
        node("GlobalAveragePool", [f"z{_CONVOLUTIONS}"], ["p"]),
        node("Flatten", ["p"], ["f"]),
        node("MatMul", ["f", "wo"], ["l"]),
        node("Softmax", ["l"], [OUTPUT], axis=1),
    ]
    return _model("conv", nodes, weights, (30,), 2)


def _img() -> onnx.ModelProto:
    nodes = [
        helper.make_node("GlobalAveragePool", ["input"], ["p"]),
        helper.make_node("Flatten", ["p"], [OUTPUT]),
    ]
    return _model("img", nodes, [], (3, 224, 224), 3)

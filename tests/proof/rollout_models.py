"""Models for the proofs of rollouts: one that is right, and candidates that are wrong in one way each.

All take x, FP32 [N, 2]; whose answer it is can be read off the number, and what is right off the request.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_WIDTH = 256


def _save(
    path: Path, nodes: list[onnx.NodeProto], weights: dict[str, np.ndarray], labels: bool = False
) -> Path:
    output = ("y", TensorProto.INT64, ["N"]) if labels else ("y", TensorProto.FLOAT, ["N", 1])
    graph = helper.make_graph(
        nodes,
        path.stem,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2])],
        [helper.make_tensor_value_info(*output)],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.save(model, path)
    return path


def work(path: Path, factor: float, rounds: int) -> Path:
    """y = factor * (x0 + x1), after so many products of 256 x 256, of which each takes a few microseconds a row."""
    wide = np.zeros((2, _WIDTH), np.float32)
    wide[:, 0] = factor
    nodes = [helper.make_node("MatMul", ["x", "wide"], ["h0"])]
    nodes += [helper.make_node("MatMul", [f"h{i}", "same"], [f"h{i + 1}"]) for i in range(rounds)]
    nodes.append(helper.make_node("MatMul", [f"h{rounds}", "narrow"], ["y"]))
    narrow = np.zeros((_WIDTH, 1), np.float32)
    narrow[0] = 1.0
    return _save(path, nodes, {"wide": wide, "same": np.eye(_WIDTH, dtype=np.float32), "narrow": narrow})


def erring(path: Path, factor: float) -> Path:
    """As `work` without work, and fails for each row whose x0 is 3 above a multiple of 5: its index lies outside its table."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["sum"]),
        helper.make_node("Slice", ["x", "zero", "one", "one"], ["first"]),
        helper.make_node("Mod", ["first", "five"], ["rest"], fmod=1),
        helper.make_node("Equal", ["rest", "three"], ["hit"]),
        helper.make_node("Cast", ["hit"], ["index"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "index"], ["found"]),
        helper.make_node("Add", ["sum", "found"], ["y"]),
    ]
    weights = {
        "w": np.full((2, 1), factor, np.float32),
        "zero": np.array([0], np.int64),
        "one": np.array([1], np.int64),
        "five": np.array(5.0, np.float32),
        "three": np.array(3.0, np.float32),
        "table": np.zeros(1, np.float32),
    }
    return _save(path, nodes, weights)


def nan(path: Path) -> Path:
    """Answers NaN, always."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["sum"]),
        helper.make_node("Mul", ["sum", "none"], ["y"]),
    ]
    return _save(path, nodes, {"w": np.ones((2, 1), np.float32), "none": np.array(np.nan, np.float32)})


def threshold(path: Path, at: float) -> Path:
    """A class: 1 where x0 is more than `at`, else 0."""
    nodes = [
        helper.make_node("Slice", ["x", "zero", "one", "axis"], ["first"]),
        helper.make_node("Greater", ["first", "at"], ["more"]),
        helper.make_node("Squeeze", ["more", "axis"], ["flat"]),
        helper.make_node("Cast", ["flat"], ["y"], to=TensorProto.INT64),
    ]
    weights = {
        "zero": np.array([0], np.int64),
        "one": np.array([1], np.int64),
        "axis": np.array([1], np.int64),
        "at": np.array(at, np.float32),
    }
    return _save(path, nodes, weights, labels=True)

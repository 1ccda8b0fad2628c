"""Small real models and a store for the bundle's tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from seaway.bundle.store import BundleStore
from seaway.testing.clock import VirtualClock


def linear_model(weight: float = 2.0) -> onnx.ModelProto:
    """y = x·w, FP32[N,3] → FP32[N,1]."""
    weights = numpy_helper.from_array(np.full((3, 1), weight, dtype=np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])],
        [weights],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


@pytest.fixture
def linear() -> onnx.ModelProto:
    return linear_model()


@pytest.fixture
def linear_path(tmp_path: Path, linear: onnx.ModelProto) -> Path:
    path = tmp_path / "linear.onnx"
    path.write_bytes(linear.SerializeToString())
    return path


@pytest.fixture
def bundle_store(tmp_path: Path) -> BundleStore:
    return BundleStore(tmp_path / "home" / "models", tmp_path / "home" / "opened", VirtualClock())

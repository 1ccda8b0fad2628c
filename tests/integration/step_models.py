"""Real models that answer step by step, for tests of everything that runs or serves one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import datasets
from seaway.adapters.runtimes.onnx_steps import OnnxStepsRuntime
from seaway.bundle.build import Package, Tools, package
from seaway.bundle.store import BundleStore
from seaway.core.bundles import OpenedBundle
from seaway.core.steps import StepRules, Window
from seaway.testing.clock import VirtualClock

RATE, PIECE, CONTEXT = 16_000, 512, 64
VAD = StepRules(
    emit=("output",),
    max_steps=2_000,
    zeros=("state",),
    feedback={"stateN": "state"},
    fixed={"sr": RATE},
    window=Window("input", PIECE, CONTEXT),
)
LAGS = 48
FORECAST = StepRules(("price",), 96, {"recent_next": "recent"}, stop="high", limit_input="max_steps")
SLOW = StepRules(("count",), 5_000, {"count": "state"}, ("state",), limit_input="max_steps")


BREAKING = StepRules(("y",), 10, {"next": "place"}, limit_input="max_steps")


def packaged(directory: Path, path: Path, rules: StepRules) -> OpenedBundle:
    """An ONNX file with rules as an opened bundle, by the same way as `seaway package`."""
    store = BundleStore(directory / "models", directory / "opened", VirtualClock())
    result = package(Package(path, "stepped", steps=rules), Tools(store, OnnxStepsRuntime()))
    return store.open(result.version)


def save(path: Path, nodes: list, inputs: dict, outputs: dict, weights: dict | None = None) -> Path:
    """An ONNX file; inputs and outputs by name as (type, shape)."""
    graph = helper.make_graph(
        nodes,
        path.stem,
        [helper.make_tensor_value_info(name, *spec) for name, spec in inputs.items()],
        [helper.make_tensor_value_info(name, *spec) for name, spec in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save_model(model, str(path))
    return path


def audio(seconds: float, seed: int = 0) -> np.ndarray:
    """A buzzing tone that comes and goes, in noise; FP32[1, samples]."""
    t = np.arange(int(seconds * RATE)) / RATE
    voice = sum(np.sin(2 * np.pi * 140 * k * t) / k for k in range(1, 12)) * (np.sin(2 * np.pi * 2 * t) > 0)
    noise = np.random.default_rng(seed).standard_normal(len(t))
    return (0.15 * voice + 0.01 * noise).astype(np.float32)[None, :]


def window_model(path: Path) -> Path:
    """`seen` is the piece itself, FP32[N,?]; `total` FP32[N] adds up its elements over all steps."""
    return save(
        path,
        [
            helper.make_node("Identity", ["x"], ["seen"]),
            helper.make_node("ReduceSum", ["x", "axis"], ["sum"], keepdims=0),
            helper.make_node("Add", ["sum", "state"], ["total"]),
        ],
        {"x": (TensorProto.FLOAT, ["N", "T"]), "state": (TensorProto.FLOAT, ["N"])},
        {"seen": (TensorProto.FLOAT, ["N", "T"]), "total": (TensorProto.FLOAT, ["N"])},
        {"axis": np.array([1])},
    )


def forecaster(path: Path, ceiling: float = 1e9) -> tuple[Path, np.ndarray]:
    """The next half hour's price by ridge regression on the last day's, from elec2; `high` above the ceiling."""
    prices = np.loadtxt(datasets.fetch("elec2"), delimiter=",", skiprows=1, usecols=1, max_rows=6_000)
    rows = np.lib.stride_tricks.sliding_window_view(prices, LAGS + 1)
    design = np.column_stack([rows[:, :-1], np.ones(len(rows))])
    weights = np.linalg.solve(design.T @ design + 1e-3 * np.eye(LAGS + 1), design.T @ rows[:, -1])
    slope, bias = weights[:-1].astype(np.float32)[:, None], weights[-1:].astype(np.float32)
    save(
        path,
        [
            helper.make_node("Gemm", ["recent", "slope", "bias"], ["price"]),
            helper.make_node("Slice", ["recent", "one", "end", "one"], ["kept"]),
            helper.make_node("Concat", ["kept", "price"], ["recent_next"], axis=1),
            helper.make_node("Greater", ["price", "ceiling"], ["high"]),
        ],
        {"recent": (TensorProto.FLOAT, ["N", LAGS])},
        {
            "price": (TensorProto.FLOAT, ["N", 1]),
            "recent_next": (TensorProto.FLOAT, ["N", LAGS]),
            "high": (TensorProto.BOOL, ["N", 1]),
        },
        {
            "slope": slope,
            "bias": bias,
            "one": np.array([1]),
            "end": np.array([LAGS]),
            "ceiling": np.array(ceiling, np.float32),
        },
    )
    return path, weights


def last_day() -> np.ndarray:
    prices = np.loadtxt(datasets.fetch("elec2"), delimiter=",", skiprows=6_001, usecols=1, max_rows=LAGS)
    return prices.astype(np.float32)[None, :]


def slow_model(path: Path) -> Path:
    """Each step works for `rounds` rounds of a loop, and `count` FP32[N] grows by one."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("Add", ["value", "unit"], ["next"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("round", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("value", TensorProto.FLOAT, ["N"]),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, ["N"]),
        ],
    )
    return save(
        path,
        [
            helper.make_node("ReduceMax", ["rounds"], ["most"], keepdims=0),
            helper.make_node("Cast", ["most"], ["trips"], to=TensorProto.INT64),
            helper.make_node("Loop", ["trips", "yes", "state"], ["worked"], body=body),
            helper.make_node("Mul", ["worked", "nothing"], ["zero"]),
            helper.make_node("Add", ["state", "zero"], ["same"]),
            helper.make_node("Add", ["same", "unit"], ["count"]),
        ],
        {"rounds": (TensorProto.FLOAT, ["N"]), "state": (TensorProto.FLOAT, ["N"])},
        {"count": (TensorProto.FLOAT, ["N"])},
        {"yes": np.array(True), "unit": np.ones(1, np.float32), "nothing": np.zeros(1, np.float32)},
    )


def breaking_model(path: Path) -> Path:
    """`y` FP32[N] is `place` INT64[N], which grows by one each step; fails where it reaches 13."""
    return save(
        path,
        [
            helper.make_node("Gather", ["values", "place"], ["y"]),
            helper.make_node("Add", ["place", "one"], ["next"]),
        ],
        {"place": (TensorProto.INT64, ["N"])},
        {"y": (TensorProto.FLOAT, ["N"]), "next": (TensorProto.INT64, ["N"])},
        {"values": np.arange(13, dtype=np.float32), "one": np.array([1])},
    )


GROWING = StepRules(("total",), 30, {"s_next": "s"})


def growing_model(path: Path) -> Path:
    """`s_next` is `s` twice, so that it would need more than any machine's memory after some steps."""
    return save(
        path,
        [
            helper.make_node("Concat", ["s", "s"], ["s_next"], axis=1),
            helper.make_node("ReduceSum", ["s", "axis"], ["total"], keepdims=0),
        ],
        {"s": (TensorProto.FLOAT, ["N", "K"])},
        {"s_next": (TensorProto.FLOAT, ["N", "L"]), "total": (TensorProto.FLOAT, ["N"])},
        {"axis": np.array([1])},
    )

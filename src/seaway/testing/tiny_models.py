"""Small real bundles on disk, for tests of everything that loads one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from seaway.bundle import oci, sources
from seaway.core.bundles import BundleFile, Manifest, OpenedBundle, Source, Task
from seaway.core.tensors import DType, Meaning, Signature, TensorSpec

OPSET = 17
IR_VERSION = 9


def linear(directory: Path, bias: float, columns: Sequence[str] = ("a", "b", "c")) -> OpenedBundle:
    """One FP32 input `x` with these columns; `y` is their sum plus `bias`."""
    width = len(columns)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Add", ["m", "b"], ["y"])],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", width])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 1])],
        [
            helper.make_tensor("w", TensorProto.FLOAT, [width, 1], [1.0] * width),
            helper.make_tensor("b", TensorProto.FLOAT, [1], [bias]),
        ],
    )
    signature = Signature(
        (TensorSpec("x", DType.FP32, (-1, width), Meaning.FEATURE, tuple(columns)),),
        (TensorSpec("y", DType.FP32, (-1, 1), Meaning.VALUE),),
    )
    return write(directory, graph, signature)


def mlp(directory: Path, width: int, hidden: int = 64) -> OpenedBundle:
    """One FP32 input `x` of `width` values; `y` are two numbers out of a hidden layer, whose sums depend on their order."""
    chance = np.random.default_rng(7)
    first = chance.normal(size=(width, hidden)).astype(np.float32)
    second = chance.normal(size=(hidden, 2)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "first"], ["sums"]),
            helper.make_node("Tanh", ["sums"], ["layer"]),
            helper.make_node("MatMul", ["layer", "second"], ["y"]),
        ],
        "mlp",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", width])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 2])],
        [numpy_helper.from_array(first, "first"), numpy_helper.from_array(second, "second")],
    )
    signature = Signature(
        (TensorSpec("x", DType.FP32, (-1, width)),), (TensorSpec("y", DType.FP32, (-1, 2)),)
    )
    return write(directory, graph, signature)


def lookup(directory: Path, words: Sequence[str] = ("zero", "one", "two")) -> OpenedBundle:
    """Mixed inputs `index` INT64 and `name` BYTES; gives `word` (the index's word) and `same` (the name).

    An index beyond the words makes the model itself fail.
    """
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["words", "index"], ["word"]),
            helper.make_node("Identity", ["name"], ["same"]),
        ],
        "lookup",
        [
            helper.make_tensor_value_info("index", TensorProto.INT64, ["N"]),
            helper.make_tensor_value_info("name", TensorProto.STRING, ["N"]),
        ],
        [
            helper.make_tensor_value_info("word", TensorProto.STRING, ["N"]),
            helper.make_tensor_value_info("same", TensorProto.STRING, ["N"]),
        ],
        [helper.make_tensor("words", TensorProto.STRING, [len(words)], [word.encode() for word in words])],
    )
    signature = Signature(
        (TensorSpec("index", DType.INT64, (-1,)), TensorSpec("name", DType.BYTES, (-1,), nullable=True)),
        (TensorSpec("word", DType.BYTES, (-1,)), TensorSpec("same", DType.BYTES, (-1,))),
    )
    return write(directory, graph, signature)


def endless(directory: Path) -> OpenedBundle:
    """One FP32 input `times`; runs that many rounds of a loop, so that a large number never ends in time."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("Add", ["value", "one"], ["next"]),
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
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMax", ["times"], ["most"], keepdims=0),
            helper.make_node("Cast", ["most"], ["rounds"], to=TensorProto.INT64),
            helper.make_node("Loop", ["rounds", "yes", "times"], ["y"], body=body),
        ],
        "endless",
        [helper.make_tensor_value_info("times", TensorProto.FLOAT, ["N"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N"])],
        [
            helper.make_tensor("yes", TensorProto.BOOL, [], [True]),
            helper.make_tensor("one", TensorProto.FLOAT, [], [1.0]),
        ],
    )
    signature = Signature((TensorSpec("times", DType.FP32, (-1,)),), (TensorSpec("y", DType.FP32, (-1,)),))
    return write(directory, graph, signature)


def write(directory: Path, graph: onnx.GraphProto, signature: Signature) -> OpenedBundle:
    """A bundle of this graph in `directory`, whose name is the model's."""
    directory.mkdir(parents=True, exist_ok=True)
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
    ).SerializeToString()
    (directory / "model.onnx").write_bytes(model)
    manifest = Manifest(
        name=directory.name,
        task=Task.OTHER,
        entry="model.onnx",
        signature=signature,
        source=Source("onnx"),
        files=(BundleFile("model.onnx", oci.sha256(model), len(model)),),
    )
    (directory / oci.MANIFEST_FILE).write_bytes(oci.canonical(manifest))
    return msgspec.structs.replace(sources.open_directory(directory), ref=f"{directory.name}:v1")

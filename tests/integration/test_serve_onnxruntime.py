"""The ONNX Runtime adapter on real files: answers, deadlines, refusals, and what its errors keep to themselves."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest
from onnx import TensorProto, helper

from seaway.core.errors import PermanentError, TemporaryError, UserError
from seaway.core.tensors import DType, Signature, TensorSpec
from seaway.testing import tiny_models
from seaway.wiring import adapters


def load(bundle):
    return adapters.runtime("onnx").load(bundle)


def test_answers_in_the_signatures_datatypes(tmp_path: Path) -> None:
    model = load(tiny_models.linear(tmp_path / "m", 10.0))
    found = model.predict({"x": np.array([[1, 2, 3], [0, 0, 0]], np.float32)})
    assert found["y"].dtype == np.float32
    assert found["y"].tolist() == [[16.0], [10.0]]
    words = load(tiny_models.lookup(tmp_path / "w"))
    given = {"index": np.array([2, 0]), "name": np.array(["ü", ""], dtype=object)}
    assert {name: array.tolist() for name, array in words.predict(given).items()} == {
        "word": ["two", "zero"],
        "same": ["ü", ""],
    }
    model.close()
    model.close()
    with pytest.raises(PermanentError, match="closed"):
        model.predict({"x": np.zeros((1, 3), np.float32)})


def test_p13_an_endless_loop_is_stopped_and_others_go_on(tmp_path: Path) -> None:
    model = load(tiny_models.endless(tmp_path / "e"))
    failures: list[str] = []

    def stuck() -> None:
        try:
            model.predict({"times": np.array([1e12], np.float32)}, 0.4)
        except TemporaryError as error:
            failures.append(error.code)

    threads = [threading.Thread(target=stuck) for _ in range(2)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for _ in range(100):
        assert model.predict({"times": np.array([2], np.float32)}, 60.0)["y"].tolist() == [4.0]
    for thread in threads:
        thread.join(60)
    assert failures == ["deadline_exceeded"] * 2
    assert time.monotonic() - began < 30.0


def test_many_watched_runs_leave_nothing_behind(tmp_path: Path) -> None:
    model = load(tiny_models.linear(tmp_path / "m", 0.0))
    one = {"x": np.zeros((1, 3), np.float32)}
    model.predict(one, 60.0)
    before = len(model._watchdog._watches)
    for _ in range(10_000):
        model.predict(one, 60.0)
    assert len(model._watchdog._watches) <= before


def test_a_failing_run_tells_nothing_internal(tmp_path: Path) -> None:
    model = load(tiny_models.lookup(tmp_path / "w"))
    with pytest.raises(PermanentError) as caught:
        model.predict({"index": np.array([99]), "name": np.array(["n"], dtype=object)})
    assert caught.value.code == "execution_failed"
    assert "Gather" in caught.value.message
    assert "idx=99" in caught.value.message
    assert not re.search(r"/|0x|::|\.cc|ONNXRuntimeError|Name:", caught.value.message)


@pytest.mark.parametrize("data", [b"", b"garbage", b"\x08\x09" + b"\xff" * 100])
def test_p11_what_is_no_model_is_refused(tmp_path: Path, data: bytes) -> None:
    bundle = tiny_models.linear(tmp_path / "m", 0.0)
    (tmp_path / "m" / "model.onnx").write_bytes(data)
    with pytest.raises(UserError) as caught:
        load(bundle)
    assert caught.value.code == "invalid_model"
    assert str(tmp_path) not in caught.value.message


def test_p11_a_custom_operator_is_refused(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("Shell", ["x"], ["y"], domain="com.example")],
        "custom",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N"])],
    )
    signature = Signature((TensorSpec("x", DType.FP32, (-1,)),), (TensorSpec("y", DType.FP32, (-1,)),))
    with pytest.raises(UserError, match=r"com\.example"):
        load(tiny_models.write(tmp_path / "m", graph, signature))


@pytest.mark.parametrize(
    ("inputs", "outputs", "word"),
    [
        ([("z", DType.FP32)], [("y", DType.FP32)], "'z'"),
        ([("x", DType.FP64)], [("y", DType.FP32)], "FP64"),
        ([("x", DType.FP32)], [("q", DType.FP32)], "'q'"),
        ([("x", DType.FP32)], [("y", DType.INT64)], "INT64"),
    ],
)
def test_a_signature_that_is_not_the_models_is_refused(tmp_path: Path, inputs, outputs, word: str) -> None:
    bundle = tiny_models.linear(tmp_path / "m", 0.0)
    signature = Signature(
        tuple(TensorSpec(name, dtype, (-1, 3)) for name, dtype in inputs),
        tuple(TensorSpec(name, dtype, (-1, 1)) for name, dtype in outputs),
    )
    changed = msgspec.structs.replace(
        bundle, manifest=msgspec.structs.replace(bundle.manifest, signature=signature)
    )
    with pytest.raises(UserError) as caught:
        load(changed)
    assert caught.value.code == "invalid_model"
    assert word in caught.value.message


def test_p08_external_data_outside_the_bundle_is_refused_at_load(tmp_path: Path) -> None:
    (tmp_path / "secret.bin").write_bytes(np.ones(3, np.float32).tobytes())
    weights = helper.make_tensor("w", TensorProto.FLOAT, [3], np.zeros(3, np.float32).tobytes(), raw=True)
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "../secret.bin"), ("offset", "0"), ("length", "12")):
        weights.external_data.add(key=key, value=value)
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"])],
        "outside",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3])],
        [weights],
    )
    signature = Signature((TensorSpec("x", DType.FP32, (-1, 3)),), (TensorSpec("y", DType.FP32, (-1, 3)),))
    with pytest.raises(UserError) as caught:
        load(tiny_models.write(tmp_path / "m", graph, signature))
    assert caught.value.code == "invalid_model"


def test_an_unknown_format_is_named() -> None:
    with pytest.raises(UserError, match="'tflite'"):
        adapters.runtime("tflite")

"""Rules of models that answer step by step: read, checked against the model file, and what clients then see."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from seaway.adapters.runtimes.onnx_steps import OnnxStepsRuntime
from seaway.bundle import frames, imports, oci, steps
from seaway.bundle.build import Package, Tools, package
from seaway.bundle.difference import difference
from seaway.bundle.store import BundleStore
from seaway.core.bundles import Manifest, Source, Task
from seaway.core.errors import UserError
from seaway.core.steps import StepRules, Steps, constant
from seaway.core.tensors import DType, Meaning, Signature, TensorSpec, check_inputs, placeholder_inputs
from seaway.testing.clock import VirtualClock

VAD = """
emit = ["output"]
max_steps = 4000
zeros = ["state"]
limit_input = "max_steps"
feedback = {stateN = "state"}
fixed = {sr = 16000}
window = {input = "input", length = 512, context = 64}
"""
# the Signature of the silero-vad model file
GRAPH = Signature(
    (
        TensorSpec("input", DType.FP32, (-1, -1)),
        TensorSpec("state", DType.FP32, (2, -1, 128)),
        TensorSpec("sr", DType.INT64, ()),
    ),
    (
        TensorSpec("output", DType.FP32, (-1, 1)),
        TensorSpec("stateN", DType.FP32, (-1, -1, -1)),
        TensorSpec("frames", DType.FP32, (-1, 7, 3)),
        TensorSpec("done", DType.BOOL, (-1,)),
        TensorSpec("loss", DType.FP32, ()),
    ),
)
RULES: dict[str, Any] = {
    "emit": ["output"],
    "max_steps": 4000,
    "zeros": ["state"],
    "feedback": {"stateN": "state"},
    "fixed": {"sr": 16000},
    "window": {"input": "input", "length": 512, "context": 64},
}


def with_rules(**changes: object) -> Steps:
    merged = {key: value for key, value in {**RULES, **changes}.items() if value is not None}
    return Steps(steps.read_rules(merged), GRAPH)


def refusal(call: Any, *arguments: object) -> UserError:
    with pytest.raises(UserError) as caught:
        call(*arguments)
    return caught.value


def test_a_file_and_a_mapping_say_the_same(tmp_path: Path) -> None:
    path = tmp_path / "vad.toml"
    path.write_text(VAD)
    assert steps.read_rules(path) == steps.read_rules({**RULES, "limit_input": "max_steps"})


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        (VAD + "colour = 1", "invalid_steps", "colour"),
        (VAD.replace("512", '"512"'), "invalid_steps", "window.length"),
        (VAD.replace("512", "0"), "invalid_steps", "window.length"),
        (VAD.replace("4000", "0"), "invalid_steps", "max_steps"),
        (VAD.replace("max_steps = 4000", ""), "invalid_steps", "max_steps"),
        (VAD.replace("length = 512, ", ""), "invalid_steps", "length"),
        (VAD + "emit = []", "invalid_steps", "not TOML"),
        ("\xff\xfe", "invalid_steps", "not TOML"),
        ("#" * (1 << 20) + "\n", "invalid_steps", "bytes"),
        (None, "file_not_found", "No such file"),
    ],
)
def test_a_bad_file_is_refused_by_its_key(tmp_path: Path, text: str | None, code: str, words: str) -> None:
    path = tmp_path / "steps.toml"
    if text is not None:
        path.write_bytes(text.encode("latin-1"))
    error = refusal(steps.read_rules, path)
    assert error.code == code
    assert words in error.message
    assert str(path) in error.message


def test_clients_see_no_state_and_an_input_of_any_length() -> None:
    seen = steps.client_signature(with_rules(limit_input="max_steps"))
    assert seen.inputs == (
        TensorSpec("input", DType.FP32, (-1, -1)),
        TensorSpec("max_steps", DType.INT64, (1,), optional=True),
    )
    assert seen.outputs == (TensorSpec("output", DType.FP32, (-1, -1), Meaning.VALUE),)
    audio = {"input": np.zeros((1, 700), np.float32)}
    check_inputs(seen, audio)
    check_inputs(seen, {**audio, "max_steps": np.array([3])})
    assert list(placeholder_inputs(seen)) == ["input"]
    assert refusal(check_inputs, seen, {}).code == "missing_input"
    assert refusal(check_inputs, seen, {**audio, "max_steps": np.array([[3]])}).code == "wrong_shape"


def test_an_output_of_many_values_gets_an_axis_of_steps() -> None:
    seen = steps.client_signature(with_rules(emit=["frames", "done"]))
    assert [(spec.shape, spec.meaning) for spec in seen.outputs] == [
        ((-1, -1, 7, 3), Meaning.TENSOR),
        ((-1, -1), Meaning.TENSOR),
    ]


def test_a_model_that_stops_by_itself_takes_one_row_and_no_sample() -> None:
    stopping = with_rules(stop="done")
    assert steps.client_signature(stopping).inputs == (TensorSpec("input", DType.FP32, (1, -1)),)
    error = refusal(steps.client_signature, stopping, frames.table_from({"a": [1.0]}))
    assert error.code == "invalid_data"


def test_a_sample_names_no_columns_of_a_long_input() -> None:
    sample = frames.table_from({"a": [1.0], "b": [2.0]})
    assert steps.client_signature(with_rules(), sample).inputs[0].columns == ()
    lags = Steps(
        StepRules(("y",), 5, {"next": "x"}),
        Signature(
            (TensorSpec("x", DType.FP32, (-1, 2)),),
            (TensorSpec("y", DType.FP32, (-1, 1)), TensorSpec("next", DType.FP32, (-1, 2))),
        ),
    )
    assert steps.client_signature(lags, sample).inputs[0].columns == ("a", "b")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"emit": []}, "emit names no output"),
        ({"emit": ["output", "output"]}, "one twice"),
        ({"emit": ["probability"]}, "emit names the output 'probability'"),
        ({"emit": ["loss"]}, "'loss' is a scalar"),
        ({"stop": "end"}, "stop names the output 'end'"),
        ({"stop": "output"}, "stop is FP32[N,1]"),
        ({"feedback": {"stateM": "state"}}, "feedback names the output 'stateM'"),
        ({"feedback": {"stateN": "memory"}}, "feedback names the input 'memory'"),
        ({"feedback": {"stateN": "state", "frames": "state"}}, "two outputs"),
        ({"feedback": {"output": "state"}}, "'output' is FP32[N,1]"),
        ({"feedback": {"done": "input"}, "zeros": [], "window": None}, "'done' is BOOL[N]"),
        ({"zeros": ["input"]}, "zeros names 'input'"),
        ({"zeros": ["memory"]}, "zeros names 'memory'"),
        ({"fixed": {"rate": 1}}, "fixed names the input 'rate'"),
        ({"fixed": {"sr": 0.5}}, "'sr' cannot be 0.5"),
        ({"fixed": {"sr": [1, 2]}}, "'sr' cannot be (1, 2)"),
        ({"fixed": {"sr": 2**70}}, "'sr' cannot be"),
        ({"fixed": {"input": 0}}, "'input' has a free axis"),
        ({"window": {"input": "audio", "length": 5}}, "window names the input 'audio'"),
        ({"window": {"input": "sr", "length": 5}, "fixed": {}}, "it has no axis 1"),
        ({"window": {"input": "state", "length": 5}}, "cannot be cut"),
        ({"window": {"input": "input", "length": 5, "axis": 2}}, "it has no axis 2"),
        ({"window": None, "feedback": {}, "zeros": []}, "every step would be the same"),
        ({"limit_input": "sr"}, "limit_input 'sr' is an input of the model"),
    ],
)
def test_a_rule_that_the_model_cannot_follow_is_named(changes: dict[str, object], words: str) -> None:
    error = refusal(steps.client_signature, with_rules(**changes))
    assert error.code == "invalid_steps"
    assert words in error.message


def test_zeros_need_a_known_shape_and_clients_something_to_send() -> None:
    two_free = msgspec.structs.replace(
        GRAPH, inputs=(GRAPH.inputs[0], TensorSpec("state", DType.FP32, (-1, -1, 128)), GRAPH.inputs[2])
    )
    assert "no known shape" in refusal(steps.client_signature, Steps(with_rules().rules, two_free)).message
    no_rows = msgspec.structs.replace(
        GRAPH, inputs=(TensorSpec("input", DType.FP32, (1, -1)), *GRAPH.inputs[1:])
    )
    assert "no known shape" in refusal(steps.client_signature, Steps(with_rules().rules, no_rows)).message
    alone = msgspec.structs.replace(GRAPH, inputs=GRAPH.inputs[1:])
    rules = with_rules(window=None).rules
    assert "no input left" in refusal(steps.client_signature, Steps(rules, alone)).message
    wide = msgspec.structs.replace(
        GRAPH, inputs=(TensorSpec("input", DType.FP32, (-1, 512)), *GRAPH.inputs[1:])
    )
    error = refusal(steps.client_signature, Steps(with_rules().rules, wide))
    assert "64 + 512 = 576" in error.message


def test_a_fixed_value_fills_its_input() -> None:
    assert constant(TensorSpec("a", DType.FP32, (2, 2)), 1).tolist() == [[1, 1], [1, 1]]
    assert constant(TensorSpec("a", DType.FP64, (1, 2)), (1, 2.5)).tolist() == [[1, 2.5]]
    flag = constant(TensorSpec("a", DType.BOOL, ()), True)
    assert (flag.dtype, flag.shape, bool(flag)) == (np.bool_, (), True)
    assert constant(TensorSpec("a", DType.UINT8, (1,)), 200).dtype == np.uint8
    assert refusal(constant, TensorSpec("a", DType.UINT8, (1,)), -1).code == "invalid_steps"


def test_manifests_without_steps_keep_their_bytes() -> None:
    manifest = Manifest("m", Task.OTHER, "model.onnx", GRAPH, Source("onnx"), ())
    encoded = oci.canonical(manifest)
    assert b"steps" not in encoded
    assert b"optional" not in encoded
    stepped = msgspec.structs.replace(manifest, format=steps.FORMAT, steps=with_rules(limit_input="most"))
    assert msgspec.json.decode(oci.canonical(stepped), type=Manifest) == stepped


def counter(path: Path) -> Path:
    """`total` FP32[N] is `x` + `state`, and is the next state."""
    graph = helper.make_graph(
        [
            helper.make_node("Add", ["x", "state"], ["total"]),
            helper.make_node("Identity", ["total"], ["next"]),
        ],
        "counter",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N"]) for name in ("x", "state")],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N"]) for name in ("total", "next")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save_model(model, str(path))
    return path


COUNT = StepRules(("total",), 4, {"next": "state"}, ("state",))


def test_packaging_keeps_the_rules_and_tries_the_sample(bundle_store: BundleStore, tmp_path: Path) -> None:
    tools = Tools(bundle_store, OnnxStepsRuntime())
    path = counter(tmp_path / "counter.onnx")
    made = package(Package(path, "count", sample=frames.table_from({"x": [1.0, 2.0]}), steps=COUNT), tools)
    assert made.manifest.format == "onnx-steps"
    opened = bundle_store.open(made.version)
    assert isinstance(opened.manifest.steps, Steps)
    assert opened.manifest.steps.rules == COUNT
    answer = tools.runtime.load(opened).predict({"x": np.array([1, 2], np.float32)})
    assert answer["total"].tolist() == [[1, 2, 3, 4], [2, 4, 6, 8]]
    longer = package(Package(path, "count", steps=msgspec.structs.replace(COUNT, max_steps=9)), tools)
    assert longer.version.digest != made.version.digest
    changed = next(c for c in difference(made.manifest, longer.manifest) if c.what == "steps")
    assert "at most 4 steps" in (changed.before or "")
    assert "at most 9 steps" in (changed.after or "")


def test_a_bundle_from_elsewhere_keeps_its_rules_or_is_refused(
    bundle_store: BundleStore, tmp_path: Path
) -> None:
    made = package(
        Package(counter(tmp_path / "counter.onnx"), "count", steps=COUNT),
        Tools(bundle_store, OnnxStepsRuntime()),
    )
    bundle = tmp_path / "copy"
    shutil.copytree(bundle_store.open(made.version).directory, bundle)
    assert imports.take(bundle, "taken", bundle_store).version.digest == made.version.digest
    manifest = bundle / oci.MANIFEST_FILE
    manifest.write_bytes(manifest.read_bytes().replace(b'"emit":["total"]', b'"emit":["secret"]'))
    assert refusal(imports.take, bundle, "strange", bundle_store).code == "invalid_steps"
    assert bundle_store.models() == ["count", "taken"]
    manifest.write_bytes(manifest.read_bytes().replace(b'"max_steps":4', b'"max_steps":-4'))
    assert refusal(imports.take, bundle, "strange", bundle_store).code == "manifest_invalid"


def test_a_golden_set_judges_answers_of_one_step(bundle_store: BundleStore, tmp_path: Path) -> None:
    tools = Tools(bundle_store, OnnxStepsRuntime())
    path = counter(tmp_path / "counter.onnx")
    golden = frames.table_from({"x": [1.0, 2.0], "truth": [1.0, 2.0]})
    many = Package(path, "count", golden=golden, target="truth", steps=COUNT)
    error = refusal(package, many, tools)
    assert error.code == "invalid_data"
    assert "in 4 steps" in error.message
    one = msgspec.structs.replace(many, steps=msgspec.structs.replace(COUNT, max_steps=1))
    assert package(one, tools).manifest.golden is not None
    steps.check_golden(with_rules().rules, columns=512)
    assert "in 2 steps" in refusal(steps.check_golden, with_rules().rules, 513).message


def test_only_an_onnx_file_has_steps(bundle_store: BundleStore) -> None:
    tools = Tools(bundle_store, OnnxStepsRuntime())
    assert refusal(package, Package(object(), "count", steps=COUNT), tools).code == "invalid_steps"
    assert bundle_store.models() == []


@pytest.mark.parametrize(
    ("after", "code"),
    [("2*past", "invalid_steps"), ("past + 1", "invalid_steps"), ("past", None), ("other", None)],
)
def test_a_state_that_grows_by_what_the_file_says_is_refused(
    tmp_path: Path, after: str, code: str | None
) -> None:
    tensor = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node("Identity", ["s"], ["s_next"]),
            helper.make_node("ReduceSum", ["s"], ["total"], keepdims=1),
        ],
        "grow",
        [tensor("s", TensorProto.FLOAT, ["rows", "past"])],
        [
            tensor("s_next", TensorProto.FLOAT, ["rows", after]),
            tensor("total", TensorProto.FLOAT, ["rows", 1]),
        ],
    )
    path = tmp_path / "grow.onnx"
    onnx.save_model(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path)
    )
    store = BundleStore(tmp_path / "models", tmp_path / "opened", VirtualClock())
    request = Package(path, "grow", steps=StepRules(("total",), 30, {"s_next": "s"}))
    tools = Tools(store, OnnxStepsRuntime())
    if code is None:
        assert package(request, tools).created
    else:
        with pytest.raises(UserError, match=r"'s_next' is '.*past.*' long where input 's'") as refused:
            package(request, tools)
        assert refused.value.code == code

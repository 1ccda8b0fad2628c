"""What a live summary holds of each kind of tensor, and that its memory does not grow."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from seaway.core import profiles, scripts
from seaway.core.answers import answer_spec
from seaway.core.live_columns import DRAWN, LARGEST_CENTROID
from seaway.core.live_numbers import LiveNumbers
from seaway.core.live_summaries import LiveSummary
from seaway.core.summaries import FIXED_POINT, Summary
from seaway.core.tensors import Array, DType, Meaning, Signature, TensorSpec


def text(*values: object) -> Array:
    found = np.empty((len(values), 1), dtype=object)
    found[:, 0] = values
    return found


def summary_of(inputs: dict[str, Array], *specs: TensorSpec, hidden: tuple[str, ...] = ()) -> Summary:
    live = LiveSummary(Signature(specs, ()), None, hidden)
    live.add([inputs], [{}], [len(next(iter(inputs.values())))])
    return live.summary()


def test_columns_have_the_names_of_the_profile() -> None:
    signature = Signature(
        (
            TensorSpec("x", DType.FP32, (-1, 2), columns=("age", "income")),
            TensorSpec("y", DType.FP64, (-1, 1), columns=("height",)),
            TensorSpec("z", DType.INT32, (-1, 3)),
            TensorSpec("w", DType.BOOL, (-1,)),
        ),
        (TensorSpec("p", DType.FP32, (-1, 2), Meaning.PROBABILITY),),
    )
    found = LiveSummary(signature, None).summary()
    assert list(found.inputs) == ["age", "income", "height", "z[0]", "z[1]", "z[2]", "w"]
    assert list(found.outputs) == ["p[0]", "p[1]"]


def test_numbers_labels_and_confidence_equal_the_profile_of_the_same_rows() -> None:
    draw = np.random.default_rng(3)
    x, label = draw.normal(size=(500, 2)).astype(np.float32), draw.integers(0, 3, 500)
    sure = draw.random((500, 3)).astype(np.float32)
    signature = Signature(
        (TensorSpec("x", DType.FP32, (-1, 2), columns=("a", "b")),),
        (
            TensorSpec("label", DType.INT64, (-1,), Meaning.LABEL),
            TensorSpec("sure", DType.FP32, (-1, 3), Meaning.PROBABILITY),
        ),
    )
    live = LiveSummary(signature, answer_spec(signature))
    for row in range(500):
        cut = slice(row, row + 1)
        live.add([{"x": x[cut]}], [{"label": label[cut], "sure": sure[cut]}], [1])
    found = live.summary()
    expected = profiles.profile(
        {"a": x[:, 0], "b": x[:, 1]}, {"label": label, "sure[1]": sure[:, 1]}, ["label"]
    )
    assert found.rows == expected.rows
    assert {name: column.numeric for name, column in found.inputs.items()} == expected.numeric
    assert found.outputs["label"].categories == expected.output_categorical["label"]
    assert found.outputs["sure[1]"].numeric == expected.output_numeric["sure[1]"]
    assert found.confidence == profiles.summarise_numbers(sure.max(axis=1))


@pytest.mark.parametrize(
    "labels",
    [
        np.array([1.0, 2.5, np.nan, 1.0]),
        np.array([-5, 3, 10**12, 3]),
        np.array([True, False, True]),
        np.array(["b", "a", None, "b"], dtype=object),
        np.arange(200),
    ],
    ids=["floats", "integers", "bools", "texts", "too many"],
)
def test_labels_are_categories_as_the_profile_counts_them(labels: Array) -> None:
    kind = {"f": DType.FP64, "i": DType.INT64, "b": DType.BOOL, "O": DType.BYTES}[labels.dtype.kind]
    live = LiveSummary(Signature((), (TensorSpec("label", kind, (-1,), Meaning.LABEL),)), None)
    live.add([{}], [{"label": labels}], [len(labels)])
    assert live.summary().outputs["label"].categories == profiles.summarise_categories(labels.tolist())


def test_a_model_without_a_batch_axis_has_one_row_a_request() -> None:
    live = LiveSummary(Signature((TensorSpec("x", DType.FP32, (3,)),), ()), None)
    live.add([{"x": np.arange(3, dtype=np.float32)}] * 2, [{}] * 2, [1, 1])
    assert [column.numeric.count for column in live.summary().inputs.values() if column.numeric] == [2, 2, 2]


def test_texts_have_length_script_and_categories() -> None:
    spec = TensorSpec("note", DType.BYTES, (-1, 1), nullable=True)
    found = summary_of({"note": text("yes", "", "да", "日本語", "42", None)}, spec).inputs["note"]
    assert found.categories is not None and found.texts is not None
    assert (found.categories.count, found.categories.missing, found.distinct_count()) == (6, 2, 4)
    assert found.texts.lengths == profiles.summarise_numbers(np.array([3, 2, 3, 2]))
    assert dict(found.texts.scripts.categories) == {"latin": 1, "cyrillic": 1, "cjk": 1, "none": 1}


@pytest.mark.parametrize(
    ("written", "script"),
    [
        ("hello", "latin"),
        ("Ünïcödé", "latin"),
        ("привет hi", "cyrillic"),
        ("ＡＢＣ", "latin"),
        ("مرحبا", "arabic"),
        ("नमस्ते", "devanagari"),
        ("123 !?", "none"),
        ("", "none"),
        ("🙂", "none"),
    ],
)
def test_scripts(written: str, script: str) -> None:
    assert scripts.script_of(written) == script


def test_a_long_text_is_no_category_and_is_not_kept() -> None:
    secret = "my card is 4111 1111 1111 1111, " * 5
    spec = TensorSpec("note", DType.BYTES, (-1, 1))
    found = summary_of({"note": text("a", secret)}, spec)
    assert found.inputs["note"].categories == profiles.CategoricalSummary(2, 0, (), 2, overflowed=True)
    assert b"4111" not in msgspec.msgpack.encode(found)


def test_w12_hidden_columns_keep_no_value() -> None:
    specs = (
        TensorSpec("x", DType.FP64, (-1, 2), columns=("age", "salary")),
        TensorSpec("name", DType.BYTES, (-1, 1)),
    )
    inputs = {"x": np.array([[30.0, 51_234.0], [40.0, 61_234.0]]), "name": text("Ann", "Bob")}
    found = summary_of(inputs, *specs, hidden=("salary", "name"))
    salary, name = found.inputs["salary"].numeric, found.inputs["name"]
    assert salary is not None and (salary.count, salary.low, salary.high) == (2, None, None)
    assert name.categories == profiles.CategoricalSummary(2, 0, (), 2, overflowed=True)
    assert name.distinct_count() == 2
    kept = msgspec.json.encode(found)
    assert not any(word in kept for word in (b"Ann", b"Bob", b"51234", b"61234"))
    age = found.inputs["age"].numeric
    assert age is not None and (age.low, age.high) == (30.0, 40.0)


def test_an_optional_input_that_was_left_out_is_missing() -> None:
    specs = (TensorSpec("x", DType.FP32, (-1,)), TensorSpec("y", DType.FP32, (-1,), optional=True))
    live = LiveSummary(Signature(specs, ()), None)
    ones = np.ones(2, dtype=np.float32)
    live.add([{"x": ones}, {"x": ones, "y": ones}], [{}, {}], [2, 2])
    numeric = live.summary().inputs["y"].numeric
    assert numeric is not None and (numeric.count, numeric.missing) == (4, 2)


def test_an_embedding_has_a_centroid() -> None:
    draw = np.random.default_rng(5)
    rows = draw.normal(size=(300, 384)).astype(np.float32)
    rows[7, 3], rows[8, 4] = np.nan, 1e9
    found = summary_of({"e": rows}, TensorSpec("e", DType.FP32, (-1, 384))).inputs["e"]
    assert found.pooled and found.numeric == profiles.summarise_numbers(rows.ravel())
    assert found.centroid is not None and (found.centroid.rows, found.centroid.clipped) == (299, 1)
    exact = np.delete(np.clip(rows, -(2**15), 2**15), 7, axis=0).astype(np.float64).mean(axis=0)
    assert np.abs(np.array(found.centroid.means()) - exact).max() <= 0.5 / FIXED_POINT + 1e-12


def test_of_an_image_a_fixed_number_of_values_is_looked_at() -> None:
    width = LARGEST_CENTROID + 1
    image = np.arange(2 * width, dtype=np.float32).reshape(2, width)
    found = summary_of({"i": image}, TensorSpec("i", DType.FP32, (-1, width))).inputs["i"]
    assert found.centroid is None and found.numeric is not None and found.numeric.count == 2 * DRAWN
    middle = profiles.quantile(found.numeric, 0.5)
    assert middle == pytest.approx(width, rel=0.2)  # uniform over both rows


def test_tensors_of_free_length_are_pooled() -> None:
    live = LiveSummary(Signature((TensorSpec("t", DType.INT64, (-1, -1)),), ()), None)
    live.add([{"t": np.ones((1, 3), np.int64)}, {"t": np.ones((2, 5), np.int64)}], [{}, {}], [1, 2])
    found = live.summary()
    numeric = found.inputs["t"].numeric
    assert found.rows == 3 and numeric is not None and numeric.count == 13


def test_names_that_two_tensors_share_are_both_kept() -> None:
    specs = tuple(TensorSpec(name, DType.FP32, (-1, 2), columns=("a", "b")) for name in ("x", "y"))
    inputs = {"x": np.zeros((1, 2), np.float32), "y": np.ones((1, 2), np.float32)}
    assert list(summary_of(inputs, *specs).inputs) == ["a", "b", "y.a", "y.b"]


def test_memory_of_a_feature_is_the_stated_one() -> None:
    draw = np.random.default_rng(6)
    live = LiveNumbers(30)
    for scale in (1e-9, 1.0, 1e12):
        live.add((draw.normal(size=(2000, 30)) * scale).astype(np.float32))
    assert live.size_bytes / 30 <= 18.5 * 1024
    live.add(np.exp(draw.uniform(-700, 700, size=(20_000, 30))) * draw.choice([-1.0, 1.0], (20_000, 30)))
    assert live.size_bytes / 30 <= 139 * 1024

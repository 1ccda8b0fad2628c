"""What a model's answer is, read from its Signature and outputs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seaway.core.answers import (
    INFINITE,
    MISSING,
    AnswerKind,
    AnswerSpec,
    answer_spec,
    count_answers,
    read_answers,
)
from seaway.core.tensors import DType, Meaning, Signature, TensorSpec

LABEL = TensorSpec("label", DType.INT64, (-1,), Meaning.LABEL)
WORDS = TensorSpec("label", DType.BYTES, (-1, 1), Meaning.LABEL)
SURE = TensorSpec("probabilities", DType.FP32, (-1, 3), Meaning.PROBABILITY)
VALUE = TensorSpec("value", DType.FP64, (-1, 1), Meaning.VALUE)
IMAGE = TensorSpec("image", DType.FP32, (-1, 3, 8, 8))
PLAIN = TensorSpec("y", DType.FP32, (-1,))
UNBATCHED = TensorSpec("y", DType.FP32, (3,))


def spec(*outputs: TensorSpec, classes: tuple[str | int, ...] = ()) -> AnswerSpec | None:
    return answer_spec(Signature((TensorSpec("x", DType.FP32, (-1,)),), outputs), classes)


@pytest.mark.parametrize(
    ("outputs", "kind", "name"),
    [
        ((SURE, LABEL), AnswerKind.CLASS, "label"),
        ((VALUE, LABEL), AnswerKind.CLASS, "label"),
        ((IMAGE, VALUE), AnswerKind.NUMBER, "value"),
        ((SURE,), AnswerKind.CLASS, "probabilities"),
        ((IMAGE, PLAIN), AnswerKind.NUMBER, "y"),
    ],
)
def test_which_output_is_the_answer(outputs: tuple[TensorSpec, ...], kind: AnswerKind, name: str) -> None:
    found = spec(*outputs)
    assert found is not None and (found.kind, found.output) == (kind, name)


@pytest.mark.parametrize("outputs", [(IMAGE,), (UNBATCHED,), ()])
def test_some_models_have_no_one_answer_a_row(outputs: tuple[TensorSpec, ...]) -> None:
    assert spec(*outputs) is None


def test_labels_are_classes_by_their_text_with_the_confidence_of_the_likeliest() -> None:
    found = spec(LABEL, SURE)
    assert found is not None
    outputs = {
        "label": np.array([1, 0, 1]),
        "probabilities": np.float32([[0.2, 0.5, 0.3], [1, 0, 0], [0, 0.9, 0.1]]),
    }
    answers, confidence = read_answers(found, outputs)
    assert answers.tolist() == ["1", "0", "1"]
    assert confidence == pytest.approx([0.5, 1.0, 0.9])
    assert count_answers(found, outputs) == ({"0": 1, "1": 2}, 0)


def test_words_and_floats_that_are_whole_are_classes_too() -> None:
    words = spec(WORDS)
    assert words is not None
    assert count_answers(words, {"label": np.array([["no"], ["yes"], ["no"]], object)}) == (
        {"no": 2, "yes": 1},
        0,
    )
    floats = spec(TensorSpec("label", DType.FP32, (-1,), Meaning.LABEL))
    assert floats is not None
    outputs = {"label": np.float32([1.0, 2.5, np.nan, np.inf])}
    assert read_answers(floats, outputs)[0].tolist() == ["1", "2.5", MISSING, INFINITE]
    assert count_answers(floats, outputs)[1] == 1


def test_probabilities_alone_name_their_likeliest_class_and_nan_is_none() -> None:
    found = spec(SURE, classes=("low", "mid", "high"))
    assert found is not None
    outputs = {"probabilities": np.float32([[0.1, 0.2, 0.7], [0.9, 0.05, 0.05], [np.nan, 0.5, 0.5]])}
    assert count_answers(found, outputs) == ({"high": 1, "low": 1, MISSING: 1}, 1)
    assert read_answers(found, outputs)[0].tolist() == ["high", "low", MISSING]
    unnamed = spec(SURE)
    assert unnamed is not None and read_answers(unnamed, outputs)[0].tolist()[:2] == ["2", "0"]


def test_numbers_are_counted_by_bin_and_what_is_no_number_apart() -> None:
    found = spec(VALUE)
    assert found is not None
    outputs = {"value": np.array([[1.0], [1.05], [-2.0], [0.0], [np.nan], [np.inf]])}
    counts, bad = count_answers(found, outputs)
    assert counts == {"+0": 2, "-8": 1, "0": 1, MISSING: 1, INFINITE: 1}
    assert bad == 2
    assert read_answers(found, outputs)[0].shape == (6,)


NUMBERS = st.one_of(
    st.floats(width=64),
    st.sampled_from(
        [2.0**-40, -(2.0**-40), 5e-324, 1.7e308, 0.0, -0.0, *(2.0 ** (i / 8) for i in range(17))]
    ),
)


@given(st.lists(NUMBERS, max_size=32), st.sampled_from([np.float64, np.float32]))
def test_few_answers_are_counted_as_many_are(values: list[float], dtype: type) -> None:
    """One by one, and by NumPy."""
    with np.errstate(over="ignore"):
        found = np.array(values).astype(dtype)
    many = np.concatenate([found] * 40) if values else found
    for one in (AnswerSpec(AnswerKind.NUMBER, "y"), AnswerSpec(AnswerKind.CLASS, "y")):
        counts, none = count_answers(one, {"y": found})
        assert ({key: 40 * count for key, count in counts.items()}, 40 * none) == count_answers(
            one, {"y": many}
        )

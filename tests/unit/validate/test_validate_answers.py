"""How labels, chances and values are read out of output tensors."""

from __future__ import annotations

import numpy as np
import pytest

from seaway.core.bundles import Manifest, Source, Task
from seaway.core.errors import UserError
from seaway.core.tensors import Array, DType, Meaning, Signature, TensorSpec
from seaway.validate import answers
from seaway.validate.answers import Labels, Values
from seaway.validate.metrics import ClassAnswers


def manifest(*outputs: TensorSpec, classes: tuple[str | int, ...] = ()) -> Manifest:
    inputs = (TensorSpec("x", DType.FP32, (-1, 2)),)
    return Manifest("m", Task.OTHER, "m.onnx", Signature(inputs, outputs), Source("onnx"), (), classes)


LABEL = TensorSpec("label", DType.INT64, (-1,), Meaning.LABEL)
CHANCE = TensorSpec("p", DType.FP32, (-1, 3), Meaning.PROBABILITY)
POSITIVE = TensorSpec("p", DType.FP32, (-1, 1), Meaning.PROBABILITY)


def text(*values: str | None) -> Array:
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column


def test_chances_alone_give_the_most_likely_class() -> None:
    found = answers.read(
        manifest(CHANCE, classes=("a", "b", "c")), {"p": np.array([[0.1, 0.7, 0.2], [0.5, 0.2, 0.3]])}
    )
    assert answers.texts(found) == ["b", "a"]


def test_a_single_chance_is_that_of_the_second_class() -> None:
    found = answers.read(manifest(POSITIVE, classes=("no", "yes")), {"p": np.array([[0.7], [0.2]])})
    assert isinstance(found, Labels) and found.scores is not None
    assert found.scores == pytest.approx(np.array([[0.3, 0.7], [0.8, 0.2]]))
    assert answers.texts(found) == ["yes", "no"]


@pytest.mark.parametrize(
    "truth", [np.array([0, 1]), np.array([0.0, 1.0]), np.array([False, True]), text("0", "1")], ids=str
)
def test_truth_is_compared_as_people_write_it(truth: Array) -> None:
    found = answers.read(manifest(LABEL, classes=(0, 1)), {"label": np.array([0, 0])})
    judged = answers.judge(found, truth)
    assert isinstance(judged, ClassAnswers)
    assert judged.truth.tolist() == [0, 1]


def test_booleans_match_classes_written_as_words() -> None:
    found = answers.read(manifest(POSITIVE, classes=("False", "True")), {"p": np.array([[0.7], [0.2]])})
    judged = answers.judge(found, np.array([True, False]))
    assert judged.truth.tolist() == [1, 0]


def test_a_class_that_only_the_truth_knows_has_no_chance() -> None:
    found = answers.read(
        manifest(CHANCE, classes=("a", "b", "c")), {"p": np.array([[1.0, 0, 0], [0, 1.0, 0]])}
    )
    judged = answers.judge(found, text("a", "z"))
    assert isinstance(judged, ClassAnswers) and judged.scores is not None
    assert judged.classes == ("a", "b", "c", "z")
    assert judged.scores[1].tolist() == [0, 1, 0, 0]
    assert judged.truth.tolist() == [0, 3]


@pytest.mark.parametrize("truth", [text("a", None), np.array([0.0, np.nan])])
def test_a_row_without_truth_is_named(truth: Array) -> None:
    for found in (Labels(("a", "b"), np.array([0, 1])), Values(np.array([0.0, 1.0]))):
        with pytest.raises(UserError) as raised:
            answers.judge(found, truth)
        assert raised.value.code == "invalid_data"


def test_versions_with_other_classes_are_put_on_the_same_ones() -> None:
    old = Labels(
        ("b", "a", "q"), np.array([0, 1, 2]), np.array([[0.6, 0.3, 0.1], [0.2, 0.8, 0], [0, 0, 1.0]])
    )
    new = Labels(("a", "b"), np.array([0, 0, 1]), np.array([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6]]))
    one, other = answers.in_common(old, new)
    assert isinstance(one, Labels) and isinstance(other, Labels)
    assert one.classes == other.classes == ("a", "b", "q")
    assert answers.texts(one) == answers.texts(old) and answers.texts(other) == answers.texts(new)
    assert one.scores is not None and other.scores is not None
    assert one.scores[0].tolist() == [0.3, 0.6, 0.1]
    assert other.scores[2].tolist() == [0.4, 0.6, 0]


def test_a_model_whose_outputs_mean_nothing_cannot_be_judged() -> None:
    plain = TensorSpec("t", DType.FP32, (-1, 4), Meaning.TENSOR)
    with pytest.raises(UserError) as raised:
        answers.read(manifest(plain), {"t": np.zeros((2, 4))})
    assert raised.value.code == "invalid_model"
    with pytest.raises(UserError, match="3 chances for 2 classes"):
        answers.read(manifest(CHANCE, classes=("a", "b")), {"p": np.zeros((2, 3))})

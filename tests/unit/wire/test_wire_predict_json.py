"""Rows by name and by order onto every form of Signature, and the predictions back."""

from __future__ import annotations

import json

import numpy as np
import pytest

from seaway.core.errors import UserError
from seaway.core.tensors import DType, Signature, TensorSpec
from seaway.wire import predict_json

MATRIX = Signature(
    (TensorSpec("x", DType.FP32, (-1, 2), columns=("a", "b"), nullable=True),),
    (TensorSpec("y", DType.FP64, (-1, 1)),),
)
MIXED = Signature(
    (TensorSpec("n", DType.INT64, (-1, 1)), TensorSpec("s", DType.BYTES, (-1,), nullable=True)),
    (TensorSpec("label", DType.INT64, (-1,)), TensorSpec("p", DType.FP32, (-1, 2))),
)
IMAGE = Signature((TensorSpec("image", DType.UINT8, (-1, 2, -1)),), (TensorSpec("y", DType.FP32, (-1, 3)),))
WIDE = Signature((TensorSpec("x", DType.FP32, (-1, 3)),), (TensorSpec("y", DType.FP32, (-1,)),))


def rows(body: object, signature: Signature) -> dict[str, list[object]]:
    found = predict_json.decode_rows(json.dumps(body).encode(), signature)
    for spec in signature.inputs:
        assert found[spec.name].dtype == spec.dtype.numpy
    return {name: array.tolist() for name, array in found.items()}


def test_the_columns_of_one_input() -> None:
    assert rows([{"b": 2, "a": 1}, [3, 4]], MATRIX) == {"x": [[1, 2], [3, 4]]}
    found = predict_json.decode_rows(b'{"instances":[{"a":1},{"a":null,"b":2}]}', MATRIX)["x"]
    np.testing.assert_array_equal(found, np.array([[1, np.nan], [np.nan, 2]], np.float32))


def test_one_input_per_feature() -> None:
    expected = {"n": [[1], [2]], "s": ["x", ""]}
    assert rows({"instances": [{"n": 1, "s": "x"}, {"n": 2}]}, MIXED) == expected
    assert rows([[1, "x"], [2, None]], MIXED) == expected
    with pytest.raises(UserError, match="row 1 lacks 'n'"):
        rows([{"n": 1}, {"s": "x"}], MIXED)


def test_nested_features() -> None:
    expected = {"image": [[[1, 2, 3], [4, 5, 6]]]}
    assert rows([[[1, 2, 3], [4, 5, 6]]], IMAGE) == expected
    assert rows([{"image": [[1, 2, 3], [4, 5, 6]]}], IMAGE) == expected
    for ragged in ([[[1, 2], [3]]], [[[1, 2], [3, 4]], [[1], [2]]], [[1, 2]], [7]):
        with pytest.raises(UserError) as caught:
            rows(ragged, IMAGE)
        assert caught.value.code == "wrong_shape"


def test_one_input_without_column_names() -> None:
    assert rows([[1, 2, 3]], WIDE) == rows([{"x": [1, 2, 3]}], WIDE) == {"x": [[1, 2, 3]]}
    with pytest.raises(UserError, match="row 0, 'x' has 2 elements"):
        rows([[1, 2]], WIDE)


def test_a_model_without_a_batch_axis_takes_no_rows() -> None:
    fixed = Signature((TensorSpec("x", DType.FP32, (3,)),), (TensorSpec("y", DType.FP32, (3,)),))
    with pytest.raises(UserError, match="takes no rows"):
        rows([[1, 2, 3]], fixed)


def test_predictions() -> None:
    one = predict_json.encode_predictions({"y": np.array([[0.5], [np.nan]])}, MATRIX)
    assert json.loads(one) == {"predictions": [0.5, None]}
    outputs = {"label": np.array([1, 0]), "p": np.array([[0.25, 0.75], [1, np.inf]], np.float32)}
    several = json.loads(predict_json.encode_predictions(outputs, MIXED))
    assert several == {"predictions": [{"label": 1, "p": [0.25, 0.75]}, {"label": 0, "p": [1, None]}]}
    with pytest.raises(UserError, match="row by row"):
        predict_json.encode_predictions({"label": np.array([1]), "p": outputs["p"]}, MIXED)


@pytest.mark.parametrize("signature", [MATRIX, MIXED, IMAGE, WIDE])
def test_tensors_become_rows_and_come_back(signature: Signature) -> None:
    random = np.random.default_rng(7)
    tensors = {}
    for spec in signature.inputs:
        shape = (3, *(4 if axis == -1 else axis for axis in spec.shape[1:]))
        values = random.integers(0, 100, shape)
        tensors[spec.name] = (
            values.astype(str).astype(object)
            if spec.dtype is DType.BYTES
            else values.astype(spec.dtype.numpy)
        )
    found = predict_json.rows_to_tensors(predict_json.tensors_to_rows(tensors, signature), signature)
    for name, array in tensors.items():
        np.testing.assert_array_equal(found[name], array)

"""Strict JSON: what is refused, by which code, and that no duplicate key slips through the quick count."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from seaway.core.errors import UserError
from seaway.core.tensors import DType, TensorSpec
from seaway.wire import json_values

ANY = msgspec.json.Decoder()


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":1,"a":2}',
        b'{"a":{"b":1,"b":2}}',
        b'[{"a":1},{"a":1,"b":":","a":2}]',
        b'{"\\u0061":1,"a":2}',
    ],
)
def test_r04_duplicate_keys_are_found_at_any_depth(body: bytes) -> None:
    keys = json_values.count_keys(ANY.decode(body))
    with pytest.raises(UserError) as caught:
        json_values.refuse_duplicate_keys(body, keys)
    assert caught.value.code == "duplicate_input"


@pytest.mark.parametrize(
    "body", [b'{"a":1,"b":{"a":2}}', b'{"a":"x:y:z"}', b"[1,2]", b'{"a":1' + b"0" * 5000 + b',"b":":"}']
)
def test_bodies_without_duplicates_pass(body: bytes) -> None:
    json_values.refuse_duplicate_keys(body, body.count(b'":'))


def place(at: int) -> str:
    return f"value {at}"


@pytest.mark.parametrize(
    ("dtype", "values", "code", "at"),
    [
        (DType.UINT8, [0, 256], "invalid_value", 1),
        (DType.UINT8, [-1], "invalid_value", 0),
        (DType.INT64, [0, 2**63], "invalid_value", 1),
        (DType.UINT64, [2**64], "invalid_value", 0),
        (DType.INT32, [1, 1.0], "wrong_dtype", 1),
        (DType.INT32, [True], "wrong_dtype", 0),
        (DType.BOOL, [True, 1], "wrong_dtype", 1),
        (DType.FP32, [1.0, True], "wrong_dtype", 1),
        (DType.FP32, ["1"], "wrong_dtype", 0),
        (DType.FP32, [0.0, 1e39], "invalid_value", 1),
        (DType.FP16, [65504.0, 70000.0], "invalid_value", 1),
        (DType.FP64, [0, 10**400], "invalid_value", 1),
        (DType.FP32, [0, None], "invalid_value", 1),
        (DType.BYTES, ["a", 1], "wrong_dtype", 1),
        (DType.BYTES, [None], "invalid_value", 0),
        (DType.FP32, [[1.0]], "wrong_dtype", 0),
        (DType.FP32, [{}], "wrong_dtype", 0),
    ],
)
def test_values_that_do_not_fit_are_named(dtype: DType, values: list[object], code: str, at: int) -> None:
    with pytest.raises(UserError) as caught:
        json_values.to_array(values, TensorSpec("x", dtype, (-1,)), place)
    assert caught.value.code == code
    assert f"value {at} " in caught.value.message
    assert dtype.value in caught.value.message + (caught.value.hint or "")


def test_null_is_missing_only_where_it_may_be() -> None:
    floats = json_values.to_array([1, None], TensorSpec("x", DType.FP32, (-1,), nullable=True), place)
    assert floats.dtype == np.float32
    assert np.isnan(floats[1])
    words = json_values.to_array(["a", None], TensorSpec("x", DType.BYTES, (-1,), nullable=True), place)
    assert words.tolist() == ["a", ""]
    with pytest.raises(UserError, match="null"):
        json_values.to_array([None], TensorSpec("x", DType.INT64, (-1,), nullable=True), place)


def test_the_largest_values_of_each_integer_fit() -> None:
    for dtype in (d for d in DType if d.is_integer):
        info = np.iinfo(dtype.numpy)
        found = json_values.to_array([int(info.min), int(info.max)], TensorSpec("x", dtype, (-1,)), place)
        assert found.dtype == dtype.numpy
        assert found.tolist() == [info.min, info.max]

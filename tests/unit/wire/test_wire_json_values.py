"""Strict JSON: what is refused, by which code, and that no duplicate key slips through the quick count."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from seaway.core.errors import UserError
from seaway.core.tensors import DType, Signature, TensorSpec
from seaway.wire import json_values, oip_json, predict_json

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


NESTED = [
    pytest.param(opening, closing, depth, id=f"{name}-{depth}")
    for name, opening, closing in (("arrays", b"[", b"]"), ("objects", b'{"a":', b"}"))
    for depth in (100, 400, 600, 900, 1500, 5000, 100_000)
]


@pytest.mark.parametrize(("opening", "closing", "depth"), NESTED)
def test_r02_keys_are_counted_at_every_depth_that_is_decoded(
    opening: bytes, closing: bytes, depth: int
) -> None:
    body = opening * depth + b"1" + closing * depth
    try:
        found = json_values.decode(body, ANY)
    except UserError as error:
        assert (error.code, depth >= 900) == ("invalid_json", True)
        return
    assert json_values.count_keys(found) == body.count(b":")


@pytest.mark.parametrize(("opening", "closing", "depth"), NESTED)
def test_r02_deep_parameters_and_rows_are_user_errors_or_fine(
    opening: bytes, closing: bytes, depth: int
) -> None:
    signature = Signature((TensorSpec("x", DType.FP32, (-1,)),), ())
    deep = opening * depth + b"1" + closing * depth
    fine = (
        b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":[1]}],"parameters":{"deep":%s}}' % deep
    )
    try:
        assert oip_json.decode_request(fine, signature).tensors["x"].tolist() == [1.0]
    except UserError as error:
        assert (error.code, depth >= 900) == ("invalid_json", True)
    for body in (b"[%s]" % deep, b'{"instances":[%s]}' % deep, b'{"instances":[[1],%s]}' % deep):
        with pytest.raises(UserError):
            predict_json.decode_rows(body, signature)

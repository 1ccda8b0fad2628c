"""The values of a slice column as texts."""

from __future__ import annotations

import numpy as np
import pytest

from seaway.core.tensors import Array, DType, Signature, TensorSpec
from seaway.monitor.provenance.slice_columns import column_texts

SIGNATURE = Signature(
    (
        TensorSpec("x", DType.FP32, (-1, 2), columns=("age", "rate")),
        TensorSpec("city", DType.BYTES, (-1, 1)),
        TensorSpec("flag", DType.BOOL, (-1,)),
        TensorSpec("image", DType.FP32, (-1, 4)),
    ),
    (),
)


def tensors(rows: int, **given: Array) -> dict[str, Array]:
    x = np.array([[30.0, 0.1], [np.nan, 1e20], [-2.0, np.inf]], np.float32)
    return {
        "x": x[:rows],
        "city": np.array([["Bern"], [""], ["Rome"]], object)[:rows],
        "flag": np.array([True, False, True])[:rows],
        "image": np.zeros((rows, 4), np.float32),
        **given,
    }


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ("age", ["30", "", "-2", "30"]),
        ("rate", ["0.1", "1e+20", "inf", "0.1"]),
        ("city", ["Bern", "", "Rome", "Bern"]),
        ("flag", ["True", "False", "True", "True"]),
    ],
)
def test_each_row_has_the_text_of_its_value(column: str, expected: list[str]) -> None:
    found = column_texts(SIGNATURE, column, [tensors(3), tensors(1)])
    assert found is not None
    kinds, places = found
    assert [kinds[place] for place in places] == expected
    assert len(set(kinds)) == len(kinds)


def test_what_is_no_column_has_none() -> None:
    assert column_texts(SIGNATURE, "image", [tensors(2)]) is None
    assert column_texts(SIGNATURE, "nothing", [tensors(2)]) is None
    assert column_texts(SIGNATURE, "age", []) is None
    without = tensors(1)
    del without["flag"]
    assert column_texts(SIGNATURE, "flag", [tensors(1), without]) is None

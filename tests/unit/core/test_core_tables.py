"""Tables, and how their columns become a Signature's tensors."""

from __future__ import annotations

import numpy as np
import pytest

from seaway.core import tables
from seaway.core.errors import UserError
from seaway.core.tables import Table
from seaway.core.tensors import DType, Signature, TensorSpec


def _words(*values: str | None) -> np.ndarray:
    made = np.empty(len(values), dtype=object)
    made[:] = values
    return made


NAMED = Signature((TensorSpec("X", DType.FP32, (-1, 2), columns=("a", "b")),), ())
UNNAMED = Signature((TensorSpec("X", DType.FP32, (-1, 2)),), ())
SEPARATE = Signature(
    (
        TensorSpec("age", DType.FP32, (-1, 1), nullable=True),
        TensorSpec("city", DType.BYTES, (-1, 1), nullable=True),
        TensorSpec("n", DType.INT64, (-1,)),
    ),
    (),
)


def test_columns_map_by_name_onto_one_input_whatever_their_order() -> None:
    table = Table({"b": np.array([3.0, 4.0]), "truth": np.array([0, 1]), "a": np.array([1.0, 2.0])})
    (tensor,) = tables.table_to_tensors(table, NAMED).values()
    assert tensor.dtype == np.float32
    assert tensor.tolist() == [[1.0, 3.0], [2.0, 4.0]]


@pytest.mark.parametrize("signature", [NAMED, UNNAMED])
def test_without_names_columns_map_in_order_if_there_are_exactly_as_many(signature: Signature) -> None:
    table = Table({"p": np.array([1.0]), "q": np.array([2.0])})
    assert tables.table_to_tensors(table, signature)["X"].tolist() == [[1.0, 2.0]]
    with pytest.raises(UserError) as caught:
        tables.table_to_tensors(Table({"p": np.array([1.0])}), signature)
    assert caught.value.code == "wrong_shape"


def test_a_partly_known_table_lacks_columns() -> None:
    with pytest.raises(UserError) as caught:
        tables.table_to_tensors(Table({"a": np.array([1.0]), "q": np.array([2.0])}), NAMED)
    assert caught.value.code == "missing_input" and "'b'" in caught.value.message


def test_one_input_per_column_with_missing_values() -> None:
    table = Table({"city": _words("Ulm", None), "age": np.array([np.nan, 3.5]), "n": np.array([1, 2])})
    found = tables.table_to_tensors(table, SEPARATE)
    assert found["age"].shape == (2, 1) and np.isnan(found["age"][0, 0]) and found["age"][1, 0] == 3.5
    assert found["city"].tolist() == [["Ulm"], [""]]
    assert found["n"].tolist() == [1, 2] and found["n"].dtype == np.int64


@pytest.mark.parametrize(
    ("dtype", "column", "row"),
    [
        (DType.FP32, np.array([1.0, 1e39]), 1),
        (DType.INT64, np.array([0.5, 1.0]), 0),
        (DType.UINT8, np.array([255, 256]), 1),
        (DType.FP32, _words("one", "two"), 0),
        (DType.INT64, np.array([np.nan, 1.0]), 0),
        (DType.BYTES, _words("a", None), 1),
    ],
)
def test_values_that_do_not_fit_are_named_by_row(dtype: DType, column: np.ndarray, row: int) -> None:
    with pytest.raises(UserError) as caught:
        tables.column_to_array(TensorSpec("x", dtype, (-1, 1)), column, "x")
    assert caught.value.code == "invalid_value" and f"row {row}" in caught.value.message


def test_rows_are_plain_values() -> None:
    table = Table({"a": np.array([1.5, np.nan]), "b": _words("x", None), "c": np.array([1, 2])})
    assert [table.row(i) for i in range(2)] == [{"a": 1.5, "b": "x", "c": 1}, {"a": None, "b": None, "c": 2}]


def test_columns_of_unequal_length_are_refused() -> None:
    with pytest.raises(UserError, match="differ in length"):
        Table({"a": np.array([1.0]), "b": np.array([1.0, 2.0])})

"""What was captured of a request becomes the tensors that it was: through a spool and a segment, for every datatype and shape."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from capture_requests import BASE_S, Ended, block, place, sink
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from seaway.adapters.records.duckdb import DuckdbRecords
from seaway.adapters.records.parquet import ParquetSegments
from seaway.core.captures import Cell
from seaway.core.tensors import Array, DType, Signature, TensorSpec
from seaway.monitor.capture import rows as capture_rows
from seaway.monitor.capture import segments
from seaway.monitor.capture.restored import INPUT, Restoring
from seaway.testing.clock import VirtualClock

_SHAPES = st.sampled_from([(-1,), (-1, 1), (-1, 3), (-1, 2, 2), (2,), (2, 2)])


@st.composite
def tensor(draw: st.DrawFn, name: str, rows: int) -> tuple[TensorSpec, Array]:
    dtype = draw(st.sampled_from(list(DType)))
    shape = draw(_SHAPES)
    named = len(shape) == 2 and shape[0] == -1 and draw(st.booleans())
    columns = tuple(f"{name}{place}" for place in range(shape[1])) if named else ()
    spec = TensorSpec(name, dtype, shape, columns=columns)
    real = tuple(rows if axis == -1 else axis for axis in shape)
    if dtype is DType.BYTES:
        count = int(np.prod(real))
        texts = draw(st.lists(st.text("abcé ,\n\"'", max_size=5), min_size=count, max_size=count))
        return spec, np.array([*texts, None], dtype=object)[:-1].reshape(real)
    if dtype.is_float:
        numbers = st.floats(width=16, allow_nan=False, allow_infinity=False)
        return spec, draw(arrays.arrays(dtype.numpy, real, elements=numbers))
    if dtype is DType.UINT64:  # kept as a double
        return spec, draw(arrays.arrays(dtype.numpy, real, elements=st.integers(0, 2**53)))
    return spec, draw(arrays.arrays(dtype.numpy, real))


@st.composite
def tensors(draw: st.DrawFn) -> tuple[int, list[tuple[TensorSpec, Array]]]:
    rows = draw(st.integers(1, 4))
    return rows, [draw(tensor(name, rows)) for name in ("a", "b")[: draw(st.integers(1, 2))]]


@settings(max_examples=40, deadline=None)
@given(tensors())
def test_tensors_come_back(given_tensors: tuple[int, list[tuple[TensorSpec, Array]]]) -> None:
    rows, found = given_tensors
    signature = Signature(tuple(spec for spec, _ in found), ())
    sent = {spec.name: array for spec, array in found}
    with tempfile.TemporaryDirectory() as name:
        taken = sink(Path(name), VirtualClock(BASE_S))
        taken.take(block([Ended(1, rows=rows, tensors=sent, outputs={})], signature=signature))
        taken.close()
        segments.convert(Path(name), BASE_S + 10, ParquetSegments(), {}, every=True)
        paths = [str(path) for path in place(Path(name)).glob("segment-*")]
        query = DuckdbRecords(paths, capture_rows.rows_of((), lambda _: True), 0.0)
        answer = query.ask("SELECT * FROM records ORDER BY row", None)
        query.close()
    cells = {column: [row[place] for row in answer.rows] for place, column in enumerate(answer.columns)}
    restoring = Restoring(INPUT, signature.inputs, cells.keys())
    assert restoring.missing == ()
    back = restoring.tensors(cells, rows)  # type: ignore[arg-type]
    assert back is not None and back.keys() == sent.keys()
    for key, array in sent.items():
        assert back[key].dtype == array.dtype and back[key].shape == array.shape
        assert back[key].tolist() == array.tolist()


def test_another_version_may_group_the_columns_otherwise() -> None:
    cells = {"input.area": [1.0, 2.0], "input.rooms": [3.0, None]}
    apart = (TensorSpec("area", DType.FP32, (-1, 1)), TensorSpec("rooms", DType.FP64, (-1,)))
    together = (TensorSpec("x", DType.FP32, (-1, 2), columns=("rooms", "area"), nullable=True),)
    found = Restoring(INPUT, apart, cells.keys()).tensors(cells, 2)
    assert found is not None and found["area"].shape == (2, 1) and np.isnan(found["rooms"][1])
    both = Restoring(INPUT, together, cells.keys()).tensors(cells, 2)
    assert both is not None and both["x"][0].tolist() == [3.0, 1.0]


def test_what_is_not_there_is_named_or_left_out() -> None:
    cells = {"input.area": [None, None]}
    wanted = (
        TensorSpec("area", DType.FP32, (-1,)),
        TensorSpec("x", DType.FP32, (-1, 2), columns=("rooms", "area")),
        TensorSpec("hint", DType.BYTES, (-1,), optional=True),
    )
    found = Restoring(INPUT, wanted, cells.keys())
    assert found.missing == ("rooms",)
    assert found.tensors(cells, 2) is None
    assert (
        Restoring(INPUT, (TensorSpec("area", DType.INT64, (-1,)),), cells.keys()).tensors(
            {"input.area": [1, None]}, 2
        )
        is None
    )
    optional = TensorSpec("area", DType.FP32, (-1,), optional=True)
    assert Restoring(INPUT, (optional,), cells.keys()).tensors(cells, 2) == {}


@pytest.mark.parametrize(
    ("dtype", "cell"),
    [(DType.INT64, 1.5), (DType.FP32, "1.5"), (DType.BYTES, 1.5), (DType.INT32, "1"), (DType.INT8, None)],
)
def test_a_value_of_another_kind_is_not_bent_into_shape(dtype: DType, cell: Cell) -> None:
    cells = {"input.a": [cell, 1 if dtype.is_integer else cell]}
    assert Restoring(INPUT, (TensorSpec("a", dtype, (-1,)),), cells.keys()).tensors(cells, 2) is None

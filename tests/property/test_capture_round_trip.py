"""Whatever tensors a request holds, what is captured of it can be converted, and reads back as it was."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.parquet
from capture_requests import BASE_S, Ended, block, place, sink
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from seaway.adapters.records.parquet import ParquetSegments
from seaway.core.tensors import Array, DType, Signature, TensorSpec
from seaway.monitor.capture import segments
from seaway.testing.clock import VirtualClock

_ROWS = st.integers(0, 3)
_NUMERIC = [dtype for dtype in DType if dtype is not DType.BYTES]


@st.composite
def column(draw: st.DrawFn) -> tuple[TensorSpec, Array]:
    """A spec with one value a row, and its values."""
    dtype = draw(st.sampled_from(list(DType)))
    rows = draw(_ROWS)
    spec = TensorSpec("c", dtype, (-1,))
    if dtype is DType.BYTES:
        texts = draw(st.lists(st.text(st.characters()), min_size=rows, max_size=rows))
        return spec, np.array([*texts, None], dtype=object)[:-1]
    return spec, draw(arrays.arrays(dtype.numpy, (rows,)))


def captured(spec: TensorSpec, array: Array) -> list[object]:
    """What the column holds after its way through a spool and a segment."""
    with tempfile.TemporaryDirectory() as name:
        taken = sink(Path(name), VirtualClock(BASE_S))
        request = Ended(1, rows=len(array) if array.ndim else 1, tensors={"c": array}, outputs={})
        taken.take(block([request, Ended(2, tensors={}, outputs={})], signature=Signature((spec,), ())))
        taken.close()
        done = segments.convert(Path(name), BASE_S + 10, ParquetSegments(), {}, every=True)
        assert (done.requests, done.torn) == (2, 0)
        table = pyarrow.parquet.read_table(next(place(Path(name)).glob("segment-*")))
        return list(table.column("input.c").to_pylist())


@settings(max_examples=60, deadline=None)
@given(column())
def test_one_value_a_row_comes_back(given_column: tuple[TensorSpec, Array]) -> None:
    spec, array = given_column
    found = captured(spec, array)
    assert len(found) == max(len(array), 1) + 1 and found[-1] is None
    for value, back in zip(array.tolist(), found, strict=False):
        if isinstance(value, float) and math.isnan(value):
            assert isinstance(back, float) and math.isnan(back)
        elif isinstance(value, str):
            assert back == value.encode("utf-8", "replace").decode()
        elif spec.dtype is DType.UINT64:
            assert back == float(value)
        else:
            assert back == value


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(list(DType)),
    st.sampled_from([(-1,), (-1, 2), (-1, -1, 2), (3,), ()]),
    arrays.arrays(
        st.sampled_from([d.numpy for d in _NUMERIC]),
        arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
    ),
)
def test_tensors_that_do_not_fit_break_nothing(dtype: DType, shape: tuple[int, ...], array: Array) -> None:
    assert captured(TensorSpec("c", dtype, shape), array)[-1] is None

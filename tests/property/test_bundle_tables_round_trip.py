"""What a bundle keeps as JSON lines comes back bit for bit."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from seaway.bundle import datafiles, frames
from seaway.core.tables import Table

FLOATS = st.floats(allow_infinity=False, allow_nan=True)
TEXTS = st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"])))


@st.composite
def tables(draw: st.DrawFn) -> Table:
    rows = draw(st.integers(1, 8))
    size = {"min_size": rows, "max_size": rows}
    return Table(
        {
            "f": np.array(draw(st.lists(FLOATS, **size)), dtype=np.float64),
            "i": np.array(draw(st.lists(st.integers(-(2**63), 2**63 - 1), **size)), dtype=np.int64),
            "b": np.array(draw(st.lists(st.booleans(), **size)), dtype=np.bool_),
            "s": frames.strings(["x", *draw(st.lists(TEXTS, **size))[1:]]),
        }
    )


@given(tables())
def test_json_lines_round_trip(table: Table) -> None:
    encoded = datafiles.write_jsonl(table)
    again = datafiles.read_jsonl(encoded, "x")
    assert datafiles.write_jsonl(again) == encoded
    for name, column in table.columns.items():
        if column.dtype == object:
            assert again.columns[name].tolist() == column.tolist()
        else:
            np.testing.assert_array_equal(again.columns[name], column)
            assert again.columns[name].dtype == column.dtype

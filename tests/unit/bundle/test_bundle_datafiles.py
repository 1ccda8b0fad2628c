"""Data files become Tables with the types a person expects, and errors name the line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

from seaway.adapters.tables.parquet import ParquetReader
from seaway.bundle import datafiles, frames
from seaway.core.errors import UserError
from seaway.core.tables import Table, table_to_tensors
from seaway.core.tensors import DType, Signature, TensorSpec


def test_csv_columns_get_their_types(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('i,f,g,b,s,e\n1,1.5,,true,x,\n-2,2,1e3,False,"a,b",\n3,nan,4,TRUE,,\n', "utf-8")
    table = datafiles.read_table(path)
    assert table.names == ("i", "f", "g", "b", "s", "e")
    assert [c.dtype.name for c in table.columns.values()] == [
        "int64",
        "float64",
        "float64",
        "bool",
        "object",
        "float64",
    ]
    assert table.row(0) == {"i": 1, "f": 1.5, "g": None, "b": True, "s": "x", "e": None}
    assert table.row(2) == {"i": 3, "f": None, "g": 4.0, "b": True, "s": None, "e": None}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"a,b\n", "no rows"),
        (b"a,b\n1,2\n3\n", "line 3: 1 cells, and the header has 2"),
        (b"a,b\n1,2,3\n", "line 2: 3 cells"),
        (b"a,a\n1,2\n", r"names \['a'\] twice"),
        (b"a,,c\n1,2,3\n", "column 2 has no name"),
        (b"a\n1\n\xff\n", "line 3: byte 0xff is not UTF-8"),
        (b'a,b\n"1,2\n', "line"),
        (b'{"a": 1}\n{"a": }\n', "line 2"),
        (b'{"a": 1}\n\n{"a": "x"}\n', "column 'a'"),
        (b'{"a": [1]}\n', "line 1"),
        (b'{"a": NaN}\n', "line 1"),
        (b"{}\n", "no columns"),
    ],
)
def test_bad_files_say_where(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(data)
    with pytest.raises(UserError, match=message) as caught:
        datafiles.read_table(path)
    assert caught.value.code == "invalid_data"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        datafiles.read_table(tmp_path / "none.csv")
    assert caught.value.code == "file_not_found"


def test_json_lines_keep_their_types(tmp_path: Path) -> None:
    table = datafiles.parse_table(b'{"i": 1, "f": 0.1, "s": "x"}\n{"i": 2, "f": null, "b": 1}\n', "x")
    assert table.columns["i"].dtype == np.int64
    assert np.isnan(table.columns["f"][1])
    assert table.columns["s"].tolist() == ["x", None]
    assert np.isnan(table.columns["b"][0])


def test_infinite_numbers_cannot_be_kept() -> None:
    with pytest.raises(UserError, match="row 1: an infinite number"):
        datafiles.write_jsonl(Table({"a": np.array([1.0, np.inf])}))


def test_parquet_reads_like_csv(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    found = pa.table({"i": [1, 2], "g": [1, None], "s": ["x", None], "b": [True, False], "f": [0.5, 1.5]})
    pyarrow.parquet.write_table(found, path)
    table = datafiles.read_table(path, [ParquetReader()])
    assert table.row(0) == {"i": 1, "g": 1.0, "s": "x", "b": True, "f": 0.5}
    assert table.row(1) == {"i": 2, "g": None, "s": None, "b": False, "f": 1.5}
    path.write_bytes(b"PAR1 and nothing more")
    with pytest.raises(UserError) as caught:
        datafiles.read_table(path, [ParquetReader()])
    assert caught.value.code == "invalid_data"


def test_tables_from_what_a_session_holds() -> None:
    frame = pd.DataFrame(
        {"a": [1, 2], "s": pd.Series(["x", None], dtype=object), "c": pd.Categorical(["u", "v"])}
    )
    frame["n"] = pd.array([1, None], dtype="Int64")
    table = frames.table_from(frame)
    assert table.row(0) == {"a": 1, "s": "x", "c": "u", "n": 1.0}
    assert table.row(1) == {"a": 2, "s": None, "c": "v", "n": None}
    assert frames.table_from(np.eye(2)).names == ("x0", "x1")
    assert frames.table_from([{"a": 1}, {"a": 2, "b": "x"}]).row(0) == {"a": 1, "b": None}
    assert frames.table_from({"a": [1.0, 2.0]}).rows == 2
    for odd in (np.zeros((2, 2, 2)), pd.DataFrame({"d": pd.to_datetime(["2020-01-01"])}), [{"a": object()}]):
        with pytest.raises(UserError) as caught:
            frames.table_from(odd)
        assert caught.value.code == "invalid_data"


BOTH = Signature(
    (TensorSpec("index", DType.INT64, (-1,)), TensorSpec("name", DType.BYTES, (-1,))),
    (TensorSpec("word", DType.BYTES, (-1,)),),
)


def test_a_leading_zero_makes_digits_text() -> None:
    table = datafiles.parse_table(b"zip,half,zero,share\n01234,007.5,0,0.5\n98765,1.5,-0,-0.25\n", "x")
    assert table.columns["zip"].tolist() == ["01234", "98765"]
    assert table.columns["half"].tolist() == ["007.5", "1.5"]
    assert [table.columns[name].dtype.name for name in ("zero", "share")] == ["int64", "float64"]


@pytest.mark.parametrize("cell", ["1234", "01234", "true", "1.50", "1e3", "NaN", " x"])
def test_a_cell_for_a_string_input_is_text_as_it_stands(cell: str) -> None:
    file = datafiles.DataFile(f"name,index\n{cell},1\n{cell},2\n".encode(), "rows.csv")
    tensors = table_to_tensors(file.table(BOTH), BOTH)
    assert tensors["name"].tolist() == [cell, cell]
    assert tensors["index"].tolist() == [1, 2]


def test_columns_that_map_in_order_onto_strings_are_text_and_the_target_is_not() -> None:
    wide = Signature((TensorSpec("x", DType.BYTES, (-1, 2)),), (TensorSpec("y", DType.FP32, (-1, 1)),))
    table = datafiles.DataFile(b"a,b,truth\n1,true,3\n", "rows.csv").table(wide, besides="truth")
    assert table.row(0) == {"a": "1", "b": "true", "truth": 3}

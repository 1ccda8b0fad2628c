"""`seaway feedback import` and `seaway quality`: files in, tables out; on a home without a server."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from seaway.cli import feedback as verbs
from seaway.cli import main
from seaway.core.errors import UserError
from seaway.core.quality import (
    Calibration,
    ClassQuality,
    ClassScore,
    FeedbackState,
    GroupQuality,
    KpiQuality,
    NumberQuality,
    Quality,
)
from seaway.wiring import feedback_files

CSV = "request_id,row,outcome,at,kpi.eur,slice.plan\na,0,1,2026-11-22T09:00:00Z,2.50,paid\nb,1,007,,,\n"


def rows(path: Path) -> list[dict[str, object]]:
    lines = [line for part in feedback_files.parts(path) for line in part.body.split(b"\n")]
    return [msgspec.json.decode(line) for line in lines]


def test_csv_columns_become_rows(tmp_path: Path) -> None:
    path = tmp_path / "outcomes.csv"
    path.write_text("\ufeff" + CSV, "utf-8")
    assert rows(path) == [
        {
            "request_id": "a",
            "row": 0,
            "outcome": 1,
            "at": "2026-11-22T09:00:00Z",
            "kpi": {"eur": 2.5},
            "slices": {"plan": "paid"},
        },
        {"request_id": "b", "row": 1, "outcome": "007"},
    ]


def test_a_large_file_is_sent_in_parts_that_say_where_they_begin(tmp_path: Path) -> None:
    path = tmp_path / "outcomes.jsonl"
    path.write_bytes(b'{"request_id":"a","outcome":1}\n\n' * 25_000)
    found = list(feedback_files.parts(path))
    assert [part.body.count(b"\n") + 1 for part in found] == [10_000, 10_000, 5_000]
    assert [part.first for part in found] == [1, 20_001, 40_001]


@pytest.mark.parametrize(
    ("name", "text", "code"),
    [
        ("a.csv", "request_id,label\na,1\n", "invalid_data"),
        ("a.csv", "outcome\n1\n", "invalid_data"),
        ("a.csv", "request_id,outcome\na\n", "invalid_data"),
        ("a.csv", "", "invalid_data"),
        ("a.csv", 'request_id,outcome\n"a,1\n', "invalid_data"),
        ("a.jsonl", '[{"request_id":"a"}]', "invalid_data"),
    ],
)
def test_a_file_that_is_no_feedback(tmp_path: Path, name: str, text: str, code: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(UserError) as raised:
        list(feedback_files.parts(path))
    assert raised.value.code == code


def test_a_csv_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"request_id,outcome\n\xff,1\n")
    with pytest.raises(UserError, match="UTF-8"):
        list(feedback_files.parts(path))


def test_import_without_a_server_and_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "outcomes.csv"
    path.write_text(CSV)
    words = ["feedback", "import", str(path), "--home", str(tmp_path / "home")]
    assert main.main([*words, "--json"]) == 0
    first = json.loads(capsys.readouterr().out)
    assert first == {"rows": 2, "accepted": 3, "duplicates": 0, "conflicting": 0, "pending": 3, "unusable": 0}
    assert main.main(words) == 0
    shown = capsys.readouterr().out
    assert "2 rows, 3 facts" in shown
    assert "duplicates" in shown


def test_a_bad_row_says_where_it_is_and_what_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "outcomes.jsonl"
    path.write_bytes(b'{"request_id":"a","outcome":1}\n' * 10_002 + b'{"request_id":"a","outcome":[]}\n')
    assert main.main(["feedback", "import", str(path), "--home", str(tmp_path / "home"), "--json"]) == 2
    error = json.loads(capsys.readouterr().err)
    assert error["code"] == "invalid_request"
    assert "begins with row 10001: row 3:" in error["error"]
    assert "10000 rows before it are kept" in error["hint"]


def test_quality_of_an_endpoint_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["quality", "prices", "--home", str(tmp_path / "home")]) == 2
    assert "endpoint_not_found" in capsys.readouterr().err


def quality(*groups: GroupQuality, by: str = "revision") -> Quality:
    return Quality(
        "prices", "2026-11-15T09:00:00Z", "2026-11-22T09:00:00Z", by, groups, FeedbackState(3, 2, 1, 4)
    )


CLASSES = ClassQuality(
    n=1_000_000,
    correct=912_345,
    accuracy=0.912345,
    precision=0.9,
    recall=0.89,
    f1=0.895,
    classes=(ClassScore("yes", 600_000, 610_000, 560_000, 0.918, 0.9333, 0.9256),),
    confusion=(("yes", "yes", 560_000),),
    calibration=Calibration(1_000_000, 0.0123, 0.0789, ()),
)
NUMBERS = NumberQuality(
    1_000_000, 12.3456789, 23.4567891, -0.123456789, 9.87654321, 45.6789123, 99.0, 123456.789
)


@pytest.mark.parametrize("by", ["revision", "window", "region"])
def test_the_tables_fit_in_100_columns(
    by: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    at = "2026-11-22T09:00:00Z" if by == "window" else None
    kpis = (KpiQuality("revenue", 100, 1234.5, 12.345),)
    groups = (
        GroupQuality(
            *(12, 1_000_000, at, "north" if by == "region" else None, 2_000_000, CLASSES, None, kpis),
            answered_labelled=1_000_000,
        ),
        GroupQuality(13, 1_000_000, at, "north" if by == "region" else None, None, None, NUMBERS),
    )
    verbs._print_quality(quality(*groups, by=by))
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 100
    for text in ("0.9123", "50.0%", "23.4568", "revenue", "3 pending and 2 unmatched", "4 conflicting"):
        assert text in shown


def test_without_outcomes_it_says_how_to_send_them(capsys: pytest.CaptureFixture[str]) -> None:
    verbs._print_quality(quality())
    assert "seaway feedback import FILE" in capsys.readouterr().out


def test_classes_that_no_answer_was_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    """Those that another revision answered are not."""
    scores = (
        (ClassScore("yes", 5, 9, 4, 0, 0, 0), ClassScore("banana", 2, 0, 0, 0, 0, 0), ClassScore("rare", 1, 0, 0, 0, 0, 0)),
        (ClassScore("rare", 1, 1, 1, 1, 1, 1), ClassScore("[b]", 1, 0, 0, 0, 0, 0)),
    )  # fmt: skip
    groups = [
        GroupQuality(n, 8, classes=msgspec.structs.replace(CLASSES, classes=found))
        for n, found in enumerate(scores)
    ]
    verbs._print_quality(quality(*groups))
    told = capsys.readouterr()
    shown = " ".join((told.out + told.err).split())
    assert "3 outcomes name what none of the labelled answers of this selection was: banana, [b]" in shown
    assert "share is - where answered rows are not counted" in shown


def test_what_is_asked_for_in_vain_is_noted(capsys: pytest.CaptureFixture[str]) -> None:
    verbs._print_quality(msgspec.structs.replace(quality(), notes=("no outcome was told of revision 9",)))
    told = capsys.readouterr()
    assert "no outcome was told of revision 9" in told.out + told.err

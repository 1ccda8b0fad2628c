"""`seaway records` on a home without a server, and the process that converts."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from capture_requests import BASE_S, Ended, block, place, sink, written

from seaway import settings
from seaway.adapters.records.parquet import ParquetSegments
from seaway.cli import main as cli
from seaway.core.deployments import Backend, Deployment, DeploymentState, Phase, RecordSection, Revision
from seaway.core.errors import PermanentError
from seaway.core.ports import Change
from seaway.monitor.capture import segments
from seaway.testing.clock import VirtualClock
from seaway.wiring import capture_keeping, control_parts
from seaway.wiring.home import Home


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Two segments' worth of requests, some of them of anne."""
    taken = sink(tmp_path / "records", VirtualClock(BASE_S))
    taken.take(block([Ended(i, subject="anne" if i % 2 else "bob") for i in range(5)]))
    taken.close()
    segments.convert(tmp_path / "records", BASE_S + 10, ParquetSegments(), {}, every=True)
    taken.take(block([Ended(5, subject="anne")]))
    taken.close()
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], home: Path, *words: str) -> tuple[int, str, str]:
    code = cli.main(["records", *words, "--home", str(home)])
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def test_the_newest_come_first_and_fit_the_terminal(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, home, "prices", "--limit", "2")
    assert code == 0 and "more than 2 rows" in err
    lines = out.splitlines()
    assert "request-5" in lines[1] and "request-4" in lines[2] and len(lines) == 3
    assert "label=1 probabilities=[0.5,0.5]" in lines[1]
    assert max(map(len, lines)) <= 120


def test_sql_and_json(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sql = "SELECT subject, count(*) AS n, min(received_at) AS first FROM records GROUP BY subject ORDER BY subject"
    code, out, _ = run(capsys, home, "prices", "--sql", sql, "--json")
    assert code == 0
    assert json.loads(out) == {
        "columns": ["subject", "n", "first"],
        "rows": [["anne", 3, "2023-11-14T22:13:21.000Z"], ["bob", 3, "2023-11-14T22:13:20.000Z"]],
        "more": False,
        "damaged": [],
        "torn": 0,
        "unended": 0,
    }
    _, out, _ = run(capsys, home, "prices", "--since", "2023-11-14T22:13:24Z", "--json")
    assert [row[0] for row in json.loads(out)["rows"]] == ["request-5", "request-4"]


def test_f10_a_damaged_segment_is_a_warning(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    segment = next(place(home / "records").glob("segment-*"))
    segment.write_bytes(segment.read_bytes()[:-1])
    code, out, err = run(capsys, home, "prices", "--sql", "SELECT count(*) AS n FROM records")
    assert code == 0 and out.split() == ["n", "1"]
    assert segment.name in err.replace("\n", "")


def test_export_and_erasure(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, home, "prices", "--export", str(home / "all.csv"))[0] == 0
    assert len((home / "all.csv").read_text().splitlines()) == 7
    code, _, err = run(capsys, home, "prices", "--erase", "anne")
    assert code == 2 and "--yes" in err
    assert b"anne" in written(home / "records")
    code, out, _ = run(capsys, home, "--erase", "anne", "--yes", "--json")
    assert code == 0
    assert json.loads(out)["requests"] == 3 and json.loads(out)["pending"] == 0
    assert b"anne" not in written(home / "records")
    code, out, _ = run(capsys, home, "prices", "--sql", "SELECT DISTINCT subject AS s FROM records")
    assert out.split() == ["s", "bob"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("nothing",), 2, "nothing was captured"),
        (("../prices",), 2, "is not a name"),
        ((), 2, "which endpoint"),
        (("prices", "--limit", "0"), 2, "below 1"),
        (("prices", "--since", "yesterday"), 2, "is no time"),
        (("prices", "--sql", "DROP VIEW records"), 2, "may only read"),
        (("prices", "--erase", "anne", "--sql", "SELECT 1"), 2, "no other question"),
        (("prices", "--erase", " ", "--yes"), 2, "empty"),
    ],
)
def test_what_is_refused(
    home: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], code: int, said: str
) -> None:
    found = run(capsys, home, *words)
    assert found[0] == code and said in found[2].replace("\n", " ")


@pytest.mark.parametrize(
    ("capture", "said", "hint"),
    [
        ("0%", "its capture is off", "record: {capture: 10%}"),
        ("5%", "it keeps 5% of its requests", "two seconds"),
    ],
)
def test_an_endpoint_of_which_nothing_was_captured_is_not_unknown(
    home: Path, capsys: pytest.CaptureFixture[str], capture: str, said: str, hint: str
) -> None:
    spec = Deployment(1, "costs", Backend(bundle="costs:v1"), record=RecordSection(capture=capture))
    revision = Revision("costs", 1, "sha256:" + "a" * 64, "costs:v1", spec, "2026-11-22T09:00:00Z", "ada")
    state = DeploymentState("costs", 1, Phase.LIVE, desired=1, live=1, last=1, proven=(1,))
    store = control_parts.open_store(Home(settings.load(home)))
    store.apply(Change((), state, revision))
    store.close()
    code, _, err = run(capsys, home, "costs", "--json")
    error = json.loads(err)
    assert (code, error["code"]) == (2, "nothing_captured")
    assert said in error["error"] and hint in error["hint"]
    code, _, err = run(capsys, home, "houses", "--json")
    assert (code, json.loads(err)["code"]) == (2, "endpoint_not_found")


@pytest.mark.parametrize("library", ["pyarrow", "duckdb"])
def test_without_the_extra_it_says_what_to_install(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    code, _, err = run(capsys, home, "prices", "--json")
    assert code == 2
    assert json.loads(err)["code"] == "missing_extra" and "seaway[records]" in json.loads(err)["hint"]


@pytest.mark.slow
def test_the_chore_of_a_server_converts_and_lets_go(home: Path) -> None:
    records, retain_s = home / "records", {"prices": 1e9}
    run_chore = capture_keeping.chore(records, lambda: retain_s)
    run_chore(BASE_S + 10)  # nothing is due
    assert len(list(place(records).glob("spool-*"))) == 1
    run_chore(BASE_S + 3600)
    assert not list(place(records).glob("spool-*"))
    assert len(list(place(records).glob("segment-*"))) == 2
    retain_s["prices"] = 60.0
    run_chore(BASE_S + 3600)
    assert not list(place(records).glob("segment-*"))
    with pytest.raises(PermanentError, match="could not be rewritten: Is a directory"):
        (place(records) / "lock").unlink()
        (place(records) / "lock").mkdir()
        capture_keeping.convert(records, retain_s)

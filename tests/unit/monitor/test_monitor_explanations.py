"""Explaining a request, as the use case and on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import provenance_fakes as fakes
import pytest

from seaway.cli import main as cli
from seaway.core.errors import UserError
from seaway.core.provenance import AnsweredBy, Outcome
from seaway.monitor.provenance import explanations
from seaway.monitor.provenance.sink import ProvenanceSink
from seaway.monitor.sinks import RecordPaths
from seaway.testing.clock import VirtualClock


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home whose worker answered `r/1` twice, and `r-2`, half of all requests drawn."""
    sink = ProvenanceSink(RecordPaths(str(tmp_path / "records"), 1, 4321), VirtualClock())
    of = fakes.subject(fakes.CLASSIFIER, slices=("city",))
    sink.take(fakes.block([fakes.labels(b"r/1", *["up"] * 12)], of, rate=0.5))
    sink.take(fakes.block([fakes.number(b"r/1", 1.5, ended_s=11.0), fakes.number(b"r-2", 2.5)], rate=0.5))
    sink.close()
    return tmp_path


def test_outcomes_are_asked_for_by_revision_and_id(home: Path) -> None:
    asked: list[tuple[AnsweredBy, str]] = []

    def outcomes(by: AnsweredBy, request_id: str) -> tuple[Outcome, ...]:
        asked.append((by, request_id))
        return (Outcome(0, "down", 5.0),)

    (found,) = explanations.explain(home / "records", "r-2", outcomes).requests
    assert found.outcomes == (Outcome(0, "down", 5.0),)
    assert asked == [(found.by, "r-2")]
    assert explanations.explain(home / "records", "r-2").requests[0].outcomes == ()


def test_a_request_that_is_not_kept_is_refused_with_since_when_and_at_what_rate(home: Path) -> None:
    with pytest.raises(UserError) as refused:
        explanations.explain(home / "records", "r-3")
    assert refused.value.code == "record_not_found"
    assert refused.value.hint is not None
    assert "since 2023-11-14T22:13:30Z, 50.00% (and every one that failed)" in refused.value.hint
    with pytest.raises(UserError) as refused:
        explanations.explain(home / "nothing", "r-3")
    assert refused.value.hint is not None and "no request was recorded yet" in refused.value.hint


@pytest.mark.parametrize("strange", ["", "two words", "a\nb", "ü", "x" * 129, "\ud800"])
def test_what_no_request_can_have_as_its_id_is_refused(home: Path, strange: str) -> None:
    with pytest.raises(UserError) as refused:
        explanations.explain(home / "records", strange)
    assert refused.value.code == "invalid_request"


def test_the_command_line_explains(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["explain", "r/1", "--home", str(home)]) == 0
    shown = capsys.readouterr()
    words = " ".join(shown.out.split())
    for told in (
        "endpoint prices, revision 3 (prices:v3)",
        "answered 200 over predict, to ada",
        "worker slot 1, process 4321",
        "took 250 ms: queue 62.5 ms, run 125 ms, the rest 62.5 ms",
        "batch 12 of 4 rows",
        "cost 31.2 ms of processor time",
        "recorded 50.00% of the requests",
        "outcome not known",
        "row answer confidence city 0 up 0.75 Bern",
        "and 2 more rows",
    ):
        assert told in words
    assert max(map(len, shown.out.splitlines())) <= 100
    assert "2 requests had this id" in shown.err


def test_the_command_line_prints_one_document(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["explain", "r-2", "--json", "--home", str(home)]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["requests"][0]["by"]["endpoint"] == "prices"
    assert (document["kept"]["kept"], document["kept"]["seen"]) == (3, 6)
    assert cli.main(["explain", "r-3", "--json", "--home", str(home)]) == 2
    assert json.loads(capsys.readouterr().err)["code"] == "record_not_found"

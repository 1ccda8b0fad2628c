"""Facts of feedback: kept once, joined with what was answered, forgotten and erased; on a real SQLite file."""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from outcome_lookups import Lookup, Made, answered

from seaway.core.errors import PermanentError, TemporaryError
from seaway.core.feedback import Fact, FeedbackAnswer
from seaway.core.provenance import AnsweredBy, AnsweredRow
from seaway.core.quality import FeedbackState
from seaway.monitor.feedback import outcomes as outcomes_module
from seaway.monitor.feedback import reading as outcomes_read
from seaway.monitor.feedback import schema as outcomes_schema
from seaway.monitor.feedback.outcomes import OutcomeRules, Outcomes

NOW_S = 1_800_000_100.0


def fact(
    request_id: str,
    value: str,
    name: str = "",
    row: int = 0,
    id: str | None = None,
    slices: str | None = None,
) -> Fact:
    return Fact(request_id, row, name, value, id, None, slices)


@pytest.fixture
def lookup() -> Lookup:
    return Lookup()


@pytest.fixture
def outcomes(tmp_path: Path, lookup: Lookup) -> Iterator[Outcomes]:
    made = Outcomes(tmp_path, lookup, OutcomeRules(horizon_s=60, retain_s=1000))
    yield made
    made.close()


def stored(records: Path) -> list[tuple[object, ...]]:
    with contextlib.closing(sqlite3.connect(outcomes_schema.path_of(records))) as connection:
        return connection.execute(
            "SELECT request_id, row, name, state, answer, truth, confidence, slices FROM facts ORDER BY seq"
        ).fetchall()


def test_a_fact_is_joined_where_its_prediction_is_known(
    tmp_path: Path, lookup: Lookup, outcomes: Outcomes
) -> None:
    lookup.made["a"] = answered("yes", "no", confidence=0.75)
    (answer,) = outcomes.add([[fact("a", "no", row=1), fact("b", "no")]], NOW_S)
    assert answer == FeedbackAnswer(accepted=2, pending=1)
    assert stored(tmp_path) == [
        ("a", 1, "", 1, "no", "no", 0.75, None),
        ("b", 0, "", 0, None, None, None, None),
    ]


def test_each_request_of_a_group_gets_its_own_answer(outcomes: Outcomes) -> None:
    first = [fact("a", "1"), fact("b", "1")]
    answers = outcomes.add([first, first, [fact("a", "2")], []], NOW_S)
    assert answers == [
        FeedbackAnswer(accepted=2, pending=2),
        FeedbackAnswer(duplicates=2),
        FeedbackAnswer(conflicting=1),
        FeedbackAnswer(),
    ]


def test_the_first_of_two_that_contradict_each_other_counts(
    tmp_path: Path, lookup: Lookup, outcomes: Outcomes
) -> None:
    lookup.made["a"] = answered("1")
    outcomes.add([[fact("a", "1")]], NOW_S)
    for _ in range(2):  # the same contradiction again is no second one
        assert outcomes.add([[fact("a", "0")]], NOW_S) == [FeedbackAnswer(conflicting=1)]
    assert [one[5] for one in stored(tmp_path)] == ["1"]
    assert outcomes_read.state(tmp_path, "prices") == FeedbackState(conflicting=1)


def test_a_senders_id_names_one_report(tmp_path: Path, outcomes: Outcomes) -> None:
    assert outcomes.add([[fact("a", "1", id="x")]], NOW_S)[0].accepted == 1
    assert outcomes.add([[fact("a", "1", id="x")]], NOW_S) == [FeedbackAnswer(duplicates=1)]
    assert outcomes.add([[fact("b", "1", id="x")]], NOW_S) == [FeedbackAnswer(conflicting=1)]
    assert [one[0] for one in stored(tmp_path)] == ["a"]


def test_feedback_that_comes_first_waits_for_its_prediction(
    tmp_path: Path, lookup: Lookup, outcomes: Outcomes
) -> None:
    outcomes.add([[fact("a", "3"), fact("b", "3")]], NOW_S)
    assert outcomes.retry(NOW_S + 0.5) == 0  # not due yet
    lookup.made["a"] = answered(3.5)
    assert outcomes.retry(NOW_S + 2) == 2
    assert [one[3:6] for one in stored(tmp_path)] == [(1, 3.5, 3.0), (0, None, None)]
    assert outcomes.retry(NOW_S + 3) == 0  # the other is due after as long as it has waited
    assert outcomes.retry(NOW_S + 61) == 1
    assert outcomes.retry(NOW_S + 1000) == 0
    assert outcomes_read.state(tmp_path, "prices") == FeedbackState(unmatched=1)


def test_an_outcome_that_no_answer_can_be_compared_with_is_unusable(
    tmp_path: Path, lookup: Lookup, outcomes: Outcomes
) -> None:
    lookup.made |= {"number": answered(1.0), "nan": answered(float("nan")), "failed": Made(())}
    facts = [fact("number", "red"), fact("nan", "1"), fact("failed", "1"), fact("number", "1", row=7)]
    outcomes.add([facts], NOW_S)
    assert [one[3] for one in stored(tmp_path)] == [outcomes_schema.UNUSABLE] * 4
    assert outcomes_read.state(tmp_path, "prices").unusable == 4


def test_a_kpi_needs_no_answer(tmp_path: Path, lookup: Lookup, outcomes: Outcomes) -> None:
    lookup.made["failed"] = Made(())
    outcomes.add([[fact("failed", "2.5", "revenue")]], NOW_S)
    assert stored(tmp_path) == [("failed", 0, "revenue", 1, None, 2.5, None, None)]


def test_slices_come_from_the_prediction_and_the_feedback(
    tmp_path: Path, lookup: Lookup, outcomes: Outcomes
) -> None:
    by = AnsweredBy("prices", 1, "sha256:" + "a" * 64, slices=("region", "plan"))
    lookup.made["a"] = Made((AnsweredRow("1", None, ("eu", "free")),), by=by)
    outcomes.add([[fact("a", "1", slices='{"age":"old","plan":"paid"}')]], NOW_S)
    assert stored(tmp_path)[0][7] == '{"age":"old","plan":"paid","region":"eu"}'


def test_old_facts_are_forgotten(tmp_path: Path, outcomes: Outcomes) -> None:
    outcomes.add([[fact("old", "1", id="x"), fact("old", "2")]], NOW_S)
    outcomes.add([[fact("new", "1")]], NOW_S + 900)
    assert outcomes.forget(NOW_S + 1500) == 1
    assert [one[0] for one in stored(tmp_path)] == ["new"]
    assert outcomes.add([[fact("new2", "1", id="x")]], NOW_S + 1500)[0].accepted == 1


def test_erased_requests_leave_no_trace_on_disk(tmp_path: Path, outcomes: Outcomes) -> None:
    outcomes.add([[fact("secret-id", "1", id="secret-report"), fact("secret-id", "2")]], NOW_S)
    outcomes.add([[fact("kept", "1")]], NOW_S)
    assert outcomes.erase(["secret-id", "never-seen"]) == 1
    assert outcomes.erase(["secret-id"]) == 0
    outcomes.close()
    assert [one[0] for one in stored(tmp_path)] == ["kept"]
    found = b"".join(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())
    assert b"secret" not in found


def test_f10_a_full_disk_takes_nothing_and_the_next_try_works(tmp_path: Path, lookup: Lookup) -> None:
    small = Outcomes(tmp_path, lookup, OutcomeRules(most_bytes=40 * 4096))
    many = [fact(f"request-{index}", "1") for index in range(5000)]
    with pytest.raises(PermanentError) as raised:
        small.add([[fact("a", "1")], many], NOW_S)
    assert raised.value.code == "disk_full"
    assert small.add([[fact("a", "1")]], NOW_S) == [FeedbackAnswer(accepted=1, pending=1)]
    small.close()
    assert [one[0] for one in stored(tmp_path)] == ["a"]


def test_a_damaged_file_is_named_and_left_alone(tmp_path: Path, outcomes: Outcomes) -> None:
    path = outcomes_schema.path_of(tmp_path)
    path.parent.mkdir()
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(PermanentError) as raised:
        outcomes.add([[fact("a", "1")]], NOW_S)
    assert raised.value.code == "store_unavailable"
    assert path.read_bytes() == b"no database" * 1000


def test_a_newer_file_is_not_touched(tmp_path: Path, outcomes: Outcomes) -> None:
    path = outcomes_schema.path_of(tmp_path)
    path.parent.mkdir()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(PermanentError) as raised:
        outcomes.add([[fact("a", "1")]], NOW_S)
    assert raised.value.code == "store_too_new"


def test_a_directory_that_cannot_be_written_is_a_temporary_fault(tmp_path: Path, lookup: Lookup) -> None:
    (tmp_path / "records").write_bytes(b"")
    with pytest.raises(TemporaryError) as raised:
        Outcomes(tmp_path / "records", lookup, OutcomeRules()).add([[fact("a", "1")]], NOW_S)
    assert raised.value.code == "store_unavailable"


def test_only_the_owner_can_read_the_outcomes(tmp_path: Path, outcomes: Outcomes) -> None:
    outcomes.add([[fact("a", "1")]], NOW_S)
    path = outcomes_schema.path_of(tmp_path)
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_explain_finds_the_outcomes_of_a_request(tmp_path: Path, lookup: Lookup, outcomes: Outcomes) -> None:
    by = AnsweredBy("prices", 1, "sha256:" + "a" * 64)
    assert outcomes_read.outcomes_of(tmp_path, by, "a") == ()
    lookup.made["a"] = answered(1.0, 2.0)
    outcomes.add([[fact("a", "2", row=1), fact("a", "7"), fact("a", "9", "revenue")]], NOW_S)
    found = outcomes_read.outcomes_of(tmp_path, by, "a")
    assert [(one.row, one.outcome, one.at_s) for one in found] == [(0, 7.0, NOW_S), (1, 2.0, NOW_S)]
    other = AnsweredBy("other", 1, "sha256:" + "a" * 64)
    assert outcomes_read.outcomes_of(tmp_path, other, "a") == ()


def test_nothing_is_made_before_feedback_comes(tmp_path: Path, outcomes: Outcomes) -> None:
    assert (outcomes.retry(NOW_S), outcomes.forget(NOW_S)) == (0, 0)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_was_taken_away_is_made_anew(tmp_path: Path, outcomes: Outcomes) -> None:
    outcomes.add([[fact("a", "1")]], NOW_S)
    outcomes_schema.path_of(tmp_path).unlink()
    outcomes.add([[fact("b", "1")]], NOW_S)
    assert [one[0] for one in stored(tmp_path)] == ["b"]


def test_a_fact_that_waits_is_looked_for_again_though_the_clock_was_set_back(
    tmp_path: Path, lookup: Lookup, outcomes: Outcomes
) -> None:
    outcomes.add([[fact("a", "1"), fact("gone", "1")]], NOW_S)
    lookup.made["a"] = answered("1")
    assert outcomes.retry(NOW_S - 86_400) == 2
    assert outcomes_read.state(tmp_path, "prices") == FeedbackState(unmatched=1)


@pytest.mark.parametrize("query", [outcomes_module._DUE, outcomes_read._IN_STATE, outcomes_read._UNUSABLE])
def test_what_is_asked_again_and_again_reads_no_whole_table(
    query: str, tmp_path: Path, outcomes: Outcomes
) -> None:
    outcomes.add([[fact("a", "1")]], NOW_S)
    with contextlib.closing(sqlite3.connect(outcomes_schema.path_of(tmp_path))) as connection:
        plan = connection.execute(f"EXPLAIN QUERY PLAN {query}", [0] * len(set(re.findall(r"\?\d*", query))))
        steps = [step for _, _, _, step in plan]
    assert any("INDEX facts_unjoined" in step for step in steps)
    assert not [step for step in steps if step.startswith("SCAN facts")]


def test_what_can_never_count_is_told_at_once(lookup: Lookup, outcomes: Outcomes) -> None:
    lookup.made["a"] = answered("yes", "no")
    lookup.made["n"] = answered(1.5)
    beyond, no_number, good = fact("a", "no", row=2), fact("n", "banana"), fact("a", "no")
    (answer,) = outcomes.add([[beyond, no_number, good]], NOW_S)
    assert answer == FeedbackAnswer(accepted=3, unusable=2)
    (again,) = outcomes.add([[beyond, no_number, good]], NOW_S)
    assert again == FeedbackAnswer(duplicates=3)

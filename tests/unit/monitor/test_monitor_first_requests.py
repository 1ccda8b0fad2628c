"""First requests of users: the filter's rate of false positives, its file, and what becomes of old ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from engine_fakes import SIGNATURE
from recorder_fakes import Ended

from seaway.core.records import RecordRules
from seaway.core.user_keys import UserKey
from seaway.monitor.recording import first_requests
from seaway.monitor.recording.first_requests import FirstRequests
from seaway.monitor.sinks import Subject


def subject(scope: int = 1, endpoint: str = "e") -> Subject:
    rules = RecordRules(judged=True, unit=UserKey(header="x-user"), scope=scope)
    return Subject(endpoint, 1, "sha256:1", "m:v1", SIGNATURE, None, rules)


def requests(first: int, last: int) -> list[Ended]:
    return [Ended(headers={"x-user": b"user-%d" % number}) for number in range(first, last)]


def test_false_positives_are_one_percent_where_it_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a hundredth of its size: the rate depends on bits per user alone."""
    users = first_requests.USERS // 100
    monkeypatch.setattr(first_requests, "BITS", first_requests.BITS // 100)
    firsts = FirstRequests(tmp_path)
    taken = len(firsts.of(subject(), requests(0, users)))
    assert users * 0.995 < taken <= users  # the mean over the filling is far below the rate at its end
    assert firsts.of(subject(), requests(0, users)) == []  # nobody is counted twice
    fresh = users // 10
    counted = len(firsts.of(subject(), requests(users, users + fresh)))
    assert 0.005 < 1 - counted / fresh < 0.02  # asked when it holds what it was made for, and a tenth more


def test_a_new_rollout_begins_anew_and_removes_the_file_of_the_old_one(tmp_path: Path) -> None:
    firsts, behind = FirstRequests(tmp_path), FirstRequests(tmp_path)
    assert len(firsts.of(subject(3), requests(0, 5))) == 5
    assert len(behind.of(subject(3), requests(0, 6))) == 1  # another worker, the same file
    assert len(firsts.of(subject(10), requests(0, 5))) == 5
    assert [path.name for path in (tmp_path / "e" / "rollouts").iterdir()] == ["10.bloom"]
    assert (
        len(behind.of(subject(3), requests(0, 7))) == 1
    )  # its table is older: it goes on with what it has open
    assert len(FirstRequests(tmp_path).of(subject(3), requests(0, 7))) == 7
    assert "10.bloom" in {path.name for path in (tmp_path / "e" / "rollouts").iterdir()}
    assert len(behind.of(subject(10), requests(0, 6))) == 1


def test_what_many_endpoints_map_is_bounded_and_what_was_let_go_is_known_from_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first_requests, "_MOST_OPEN", 2)
    firsts = FirstRequests(tmp_path)
    for name in "abc":
        assert len(firsts.of(subject(1, name), requests(0, 3))) == 3
    assert len(firsts._filters) == 2
    assert [len(firsts.of(subject(1, name), requests(0, 4))) for name in "abc"] == [1, 1, 1]

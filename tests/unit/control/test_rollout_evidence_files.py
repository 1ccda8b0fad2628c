"""What is kept of rollouts on disk: whole files, torn lines, what is removed when."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from seaway.control.rollouts import evidence_files as files
from seaway.control.rollouts.evidence_files import Stored
from seaway.core.checks import Verdict
from seaway.core.rollouts import judging
from seaway.core.rollouts.judgement import Judgement
from seaway.core.rollouts.spec import Rollout

NOW_S = 1_800_000_000.0


def stored(candidate: int = 2) -> Stored:
    spec = Rollout(steps=("5%", "100%"), checks=("errors", "predictions"))
    return Stored(NOW_S, judging.begin(spec, candidate, 1, NOW_S, (), False), was_isolated=True)


def look(through_s: int) -> Judgement:
    return Judgement(0, through_s, 1, Verdict.INCONCLUSIVE)


def test_evidence_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert files.load(tmp_path, "prices", 2) is None
    files.save(tmp_path, "prices", stored())
    assert files.load(tmp_path, "prices", 2) == stored()
    assert files.load(tmp_path, "prices", 3) is None


def test_evidence_that_cannot_be_read_begins_anew_and_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files.save(tmp_path, "prices", stored())
    path = tmp_path / "prices" / "2.evidence.json"
    path.write_bytes(path.read_bytes()[:-9])
    assert files.load(tmp_path, "prices", 2) is None
    assert "begins anew" in caplog.text


@pytest.mark.parametrize("odds", [None, [1.1, 2.0]], ids=["not named", "others"])
def test_evidence_of_other_bets_begins_anew_and_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, odds: list[float] | None
) -> None:
    """As a Seaway before left it: its logarithms cannot go on in bets that are more, or others."""
    files.save(tmp_path, "prices", stored())
    path = tmp_path / "prices" / "2.evidence.json"
    found = msgspec.json.decode(path.read_bytes())
    del found["odds"]
    path.write_bytes(msgspec.json.encode(found if odds is None else {**found, "odds": odds}))
    assert files.load(tmp_path, "prices", 2) is None
    assert "other bets, its evidence begins anew" in caplog.text


def test_the_newest_judgement_is_the_one_published_last(tmp_path: Path) -> None:
    assert files.latest(tmp_path, "prices", 2) is None
    for through_s in (5, 6):
        files.publish(tmp_path, "prices", 2, look(through_s))
    assert files.latest(tmp_path, "prices", 2) == look(6)


def test_looks_come_in_order_without_the_damaged_ones(tmp_path: Path) -> None:
    assert files.looks(tmp_path, "prices", 2) == ()
    for through_s in (5, 6, 7):
        files.append(tmp_path, "prices", 2, look(through_s))
    path = tmp_path / "prices" / "2.looks.jsonl"
    path.write_bytes(path.read_bytes()[:-5])
    assert files.looks(tmp_path, "prices", 2) == (look(5), look(6))
    files.forget_after(tmp_path, "prices", 2, 5)
    files.append(tmp_path, "prices", 2, look(6))
    assert files.looks(tmp_path, "prices", 2) == (look(5), look(6))
    files.forget_after(tmp_path, "prices", 9, 5)


def test_the_last_twenty_are_kept_and_a_deleted_endpoints_for_a_month(tmp_path: Path) -> None:
    for candidate in range(1, 24):
        files.save(tmp_path, "prices", stored(candidate))
        files.append(tmp_path, "prices", candidate, look(1))
    files.save(tmp_path, "gone", stored())
    for path in tmp_path.glob("*/*"):
        os.utime(path, (NOW_S, NOW_S))
    files.sweep(tmp_path, {"prices"}, NOW_S + 86_400)
    kept = {int(path.name.split(".")[0]) for path in (tmp_path / "prices").iterdir()}
    assert kept == set(range(4, 24))
    assert (tmp_path / "gone").exists()
    files.sweep(tmp_path, {"prices"}, NOW_S + 31 * 86_400)
    assert not (tmp_path / "gone").exists()
    assert len(list((tmp_path / "prices").iterdir())) == 40
    files.sweep(tmp_path / "nowhere", set(), NOW_S)

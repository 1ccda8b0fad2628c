"""Spools to segments and back to rows: nothing twice, nothing lost, old ones go, erased subjects leave every file."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from capture_requests import ALL, BASE_S, Ended, block, place, sink, written

from seaway.adapters.records.duckdb import DuckdbRecords
from seaway.adapters.records.parquet import ParquetSegments
from seaway.bundle import blobs
from seaway.core.captures import QueryAnswer
from seaway.core.errors import UserError
from seaway.core.records import RecordRules
from seaway.monitor.capture import erasures as capture_erasures
from seaway.monitor.capture import gone, segments
from seaway.testing.clock import VirtualClock

FORM = ParquetSegments()
IDS = "SELECT request_id FROM records ORDER BY received_at, row"
NONE: Mapping[str, float] = {}


def ask(root: Path, sql: str = IDS, since_s: float = 0.0) -> QueryAnswer:
    with segments.view(root, "prices", since_s) as view:
        query = DuckdbRecords([str(segment.path) for segment in view.segments], view.rows, since_s)
        try:
            return query.ask(sql, None)
        finally:
            query.close()


def ids(root: Path, since_s: float = 0.0) -> list[object]:
    return [row[0] for row in ask(root, since_s=since_s).rows]


def fill(root: Path, *numbers: int, subject: str | None = None, rules: RecordRules = ALL) -> None:
    """One closed spool of these requests."""
    taken = sink(root, VirtualClock(BASE_S + numbers[0]))
    taken.take(block([Ended(i, subject=subject) for i in numbers], rules))
    taken.close()


def named(*numbers: int) -> list[object]:
    return [f"request-{i}" for i in numbers]


def test_open_spools_closed_ones_and_segments_are_read_alike(tmp_path: Path) -> None:
    fill(tmp_path, 1, 2)
    done = segments.convert(tmp_path, BASE_S + 10, FORM, NONE, every=True)
    assert (done.segments, done.requests) == (1, 2)
    fill(tmp_path, 3)
    taken = sink(tmp_path, VirtualClock(BASE_S))
    taken.take(block([Ended(4)]))
    assert ids(tmp_path) == named(1, 2, 3, 4)
    assert ids(tmp_path, BASE_S + 3) == named(3, 4)
    again = segments.convert(tmp_path, BASE_S + 10, FORM, NONE, every=True)
    assert again.requests == 1, "the open spool stays its worker's"
    assert ids(tmp_path) == named(1, 2, 3, 4)
    sql = 'SELECT sum("input.age"), max(received_at)::TEXT, any_value("output.probabilities") FROM records'
    assert ask(tmp_path, sql).rows == ((10.0, "2023-11-14 22:13:24", "[0.5,0.5]"),)


def test_conversion_waits_until_it_is_worth_a_segment(tmp_path: Path) -> None:
    fill(tmp_path, 1)
    assert not segments.due(tmp_path, BASE_S + 60, NONE)
    assert segments.convert(tmp_path, BASE_S + 60, FORM, NONE).segments == 0
    later_s = BASE_S + segments.DUE_S + 2
    assert segments.due(tmp_path, later_s, NONE)
    assert segments.convert(tmp_path, later_s, FORM, NONE).segments == 1
    assert not segments.due(tmp_path, later_s, NONE)


class Stopped(BaseException):
    """The process is gone: nothing runs after it."""


@contextlib.contextmanager
def stopping_at(step: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process that is killed before its disk operation number `step`; there must be as many."""
    left = step

    def wrapped(real: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **named: object) -> object:
            nonlocal left
            left -= 1
            if left < 0:
                raise Stopped
            return real(*arguments, **named)

        return call

    with monkeypatch.context() as patched, pytest.raises(Stopped):
        for owner, name in ((blobs, "sync"), (Path, "replace"), (Path, "unlink")):
            patched.setattr(owner, name, wrapped(getattr(owner, name)))
        for name in ("write", "without"):
            patched.setattr(FORM, name, wrapped(getattr(FORM, name)))
        yield


@pytest.mark.parametrize("stop", range(12))
def test_a_conversion_that_stops_anywhere_loses_and_doubles_nothing(
    tmp_path: Path, stop: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, 1, 2)
    fill(tmp_path, 3)
    with stopping_at(stop, monkeypatch):
        segments.convert(tmp_path, BASE_S + 10, FORM, NONE, every=True)
    assert ids(tmp_path) == named(1, 2, 3)
    segments.convert(tmp_path, BASE_S + 10, FORM, NONE, every=True)
    assert ids(tmp_path) == named(1, 2, 3)
    kinds = sorted(path.name.partition("-")[0] for path in place(tmp_path).iterdir())
    assert kinds == ["lock", "segment", "state.json"]


@pytest.mark.parametrize("stop", range(29))
def test_an_erasure_that_stops_anywhere_is_carried_out_by_the_next_conversion(
    tmp_path: Path, stop: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, 1, subject="ada lovelace")
    fill(tmp_path, 2)
    segments.convert(tmp_path, BASE_S + 10, FORM, NONE, every=True)
    fill(tmp_path, 3, subject="ada lovelace")
    segments.convert(tmp_path, BASE_S + 10, FORM, NONE, every=True)
    fill(tmp_path, 4, subject="ada lovelace")
    fill(tmp_path, 5)
    with stopping_at(stop, monkeypatch):
        segments.erase(tmp_path, None, "ada lovelace", BASE_S + 10, FORM)
    listed = bool(capture_erasures.read(place(tmp_path)))
    now = ids(tmp_path)
    assert set(named(2, 5)) <= set(now) <= set(named(1, 2, 3, 4, 5)) and len(now) == len(set(now))
    assert listed or now == named(1, 2, 3, 4, 5)
    if not listed:  # it was not even begun
        segments.erase(tmp_path, None, "ada lovelace", BASE_S + 10, FORM)
    segments.convert(tmp_path, BASE_S + 11, FORM, NONE)
    assert ids(tmp_path) == named(2, 5)
    assert b"ada lovelace" not in written(tmp_path)


def test_a_spool_that_was_never_named_goes_once_its_worker_has(tmp_path: Path) -> None:
    fill(tmp_path, 1)
    for name, at_s in ((".new-spool-a", BASE_S), (".new-spool-b", BASE_S + 90)):
        left = place(tmp_path) / name
        left.touch()
        os.utime(left, (at_s, at_s))
    segments.convert(tmp_path, BASE_S + 100, FORM, NONE)
    assert [path.name for path in place(tmp_path).glob(".new-*")] == [".new-spool-b"]


def test_old_segments_go_and_old_requests_never_get_into_one(tmp_path: Path) -> None:
    fill(tmp_path, 100)
    segments.convert(tmp_path, BASE_S + 200, FORM, NONE, every=True)
    fill(tmp_path, 500, 900)
    assert segments.due(tmp_path, BASE_S + 1000, {"prices": 300.0})
    done = segments.convert(tmp_path, BASE_S + 1000, FORM, {"prices": 300.0}, every=True)
    assert (done.expired, done.requests) == (1, 1)
    assert ids(tmp_path) == named(900)


def test_retention_is_what_the_last_spool_said_where_nobody_says_it(tmp_path: Path) -> None:
    fill(tmp_path, 1, rules=RecordRules(capture_percent=100.0, retain_s=50.0))
    segments.convert(tmp_path, BASE_S + 10, FORM, NONE, every=True)
    assert segments.convert(tmp_path, BASE_S + 40, FORM, NONE).expired == 0
    assert segments.convert(tmp_path, BASE_S + 60, FORM, NONE).expired == 1
    assert ids(tmp_path) == []


def test_segments_have_a_limit_in_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in (1, 2, 3):
        fill(tmp_path, number)
        segments.convert(tmp_path, BASE_S + 10, FORM, NONE, every=True)
    size = next(place(tmp_path).glob("segment-*")).stat().st_size
    monkeypatch.setattr(segments, "KEPT_BYTES", int(size * 2.5))
    assert segments.convert(tmp_path, BASE_S + 10, FORM, NONE).expired == 1
    assert ids(tmp_path) == named(2, 3)


def test_f10_a_damaged_segment_is_left_out_and_named(tmp_path: Path) -> None:
    fill(tmp_path, 1)
    segments.convert(tmp_path, BASE_S + 10, FORM, NONE, every=True)
    damaged = next(place(tmp_path).glob("segment-*"))
    data = bytearray(damaged.read_bytes())
    data[len(data) // 3] ^= 0xFF
    damaged.write_bytes(data)
    fill(tmp_path, 2)
    with segments.view(tmp_path, "prices", 0.0) as view:
        assert view.damaged == (damaged.name,)
    assert ids(tmp_path) == named(2)
    done = segments.erase(tmp_path, "prices", "ada", BASE_S + 10, FORM)
    assert done.damaged == (damaged.name,), "it may hold the subject, and nobody can tell"
    assert ids(tmp_path) == named(2)


def test_f10_a_full_disk_leaves_the_spools_as_they_are(tmp_path: Path) -> None:
    fill(tmp_path, *range(500))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            segments.convert(tmp_path, BASE_S + 1000, FORM, NONE, every=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert not list(place(tmp_path).glob(".part-*"))
    assert ids(tmp_path) == named(*range(500))
    assert segments.convert(tmp_path, BASE_S + 1000, FORM, NONE, every=True).requests == 500
    assert ids(tmp_path) == named(*range(500))


def test_an_erased_subject_is_in_no_file_and_all_else_stays(tmp_path: Path) -> None:
    fill(tmp_path, 1, 2, subject="ada lovelace")
    fill(tmp_path, 3, subject="bob")
    segments.convert(tmp_path, BASE_S + 10, FORM, NONE, every=True)
    fill(tmp_path, 4, subject="ada lovelace")
    segments.convert(tmp_path, BASE_S + 10, FORM, NONE, every=True)
    fill(tmp_path, 5, subject="ada lovelace")
    fill(tmp_path, 6)
    assert b"ada lovelace" in written(tmp_path)
    done = segments.erase(tmp_path, None, "ada lovelace", BASE_S + 10, FORM)
    assert (done.erased_rows, sorted(done.erased_ids)) == (4, sorted(named(1, 2, 4, 5)))
    assert b"ada lovelace" not in written(tmp_path)
    assert sorted(gone.read(place(tmp_path))) == sorted(named(1, 2, 4, 5)), "whose other records are to go"
    gone.forget(place(tmp_path), done.erased_ids)
    assert b"request-4" not in written(tmp_path)
    assert ids(tmp_path) == named(3, 6)
    assert segments.erase(tmp_path, None, "ada lovelace", BASE_S + 10, FORM).erased_rows == 0


def test_erasure_works_while_a_worker_writes(tmp_path: Path) -> None:
    clock = VirtualClock(BASE_S)
    taken = sink(tmp_path, clock)
    taken.take(block([Ended(1, subject="ada"), Ended(2, subject="bob")]))
    clock.advance(10)
    done = segments.erase(tmp_path, "prices", "ada", clock.now_s(), FORM)
    assert done.pending == 1 and ids(tmp_path) == named(2), "readers leave it out at once"
    taken.take(block([Ended(3, subject="ada")]))  # still into the old spool
    clock.advance(1)
    taken.tick(clock.now_s())
    taken.take(block([Ended(4, subject="ada"), Ended(12, subject="ada"), Ended(5, subject="bob")]))
    done = segments.convert(tmp_path, clock.now_s() + 1, FORM, NONE)
    assert done.pending == 0 and sorted(done.erased_ids) == named(1, 3)
    assert ids(tmp_path) == named(2, 5, 12), "what came after the erasure is a new record"
    taken.close()
    assert segments.due(tmp_path, clock.now_s() + 2, NONE), "soon, for those that came late"
    done = segments.convert(tmp_path, clock.now_s() + 2, FORM, NONE)
    assert done.erased_ids == ("request-4",), (
        "it ended after its subject was erased; its id leads to its other records"
    )
    gone.forget(place(tmp_path), ["request-3", "request-4"])
    assert gone.read(place(tmp_path)) == ("request-1",)
    assert b"request-4" not in written(tmp_path)
    assert ids(tmp_path) == named(2, 5, 12)
    segments.convert(tmp_path, clock.now_s() + 4000, FORM, NONE)
    assert capture_erasures.read(place(tmp_path)) == (), "the list ends"


def test_erasure_finds_subjects_that_are_kept_as_pseudonyms(tmp_path: Path) -> None:
    rules = RecordRules(capture_percent=100.0, subject="x-user-id", redact=("header:x-user-id",))
    fill(tmp_path, 1, subject="ada", rules=rules)
    fill(tmp_path, 2, subject="bob", rules=rules)
    segments.convert(tmp_path, BASE_S + 10, FORM, NONE, every=True)
    assert segments.erase(tmp_path, "prices", "ada", BASE_S + 10, FORM).erased_ids == ("request-1",)
    assert ids(tmp_path) == named(2)


def test_an_interrupted_erasure_is_carried_out_by_the_next_conversion(tmp_path: Path) -> None:
    fill(tmp_path, 1, subject="ada")
    fill(tmp_path, 2)
    segments.convert(tmp_path, BASE_S + 10, FORM, NONE, every=True)
    capture_erasures.write(place(tmp_path), [capture_erasures.erasure("ada", BASE_S + 10)])
    assert segments.due(tmp_path, BASE_S + 11, NONE)
    assert segments.convert(tmp_path, BASE_S + 11, FORM, NONE).erased_ids == ("request-1",)
    assert ids(tmp_path) == named(2)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_text('/etc/hostname')",
        "SELECT * FROM glob('/etc/*')",
        "COPY records TO '{root}/out.csv'",
        "ATTACH '{root}/other.db'",
        "INSTALL httpfs",
        "SET memory_limit = '100GB'",
        "SET enable_external_access = true",
        "SELECT 1; SELECT 2",
        "CREATE TABLE t AS SELECT 1",
        "DELETE FROM waiting",
        "SELECT * FROM FORM",
        "SELECT nothing FROM records",
        "",
    ],
)
def test_a_query_reads_captured_requests_and_nothing_else(tmp_path: Path, sql: str) -> None:
    fill(tmp_path, 1)
    segments.convert(tmp_path, BASE_S + 10, FORM, NONE, every=True)
    with pytest.raises(UserError) as raised:
        ask(tmp_path, sql.format(root=tmp_path))
    assert raised.value.code == "invalid_query"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["capture.key", "prices"]


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_export_writes_what_a_query_finds(tmp_path: Path, ending: str) -> None:
    fill(tmp_path, 1, 2)
    out = tmp_path / f"out.{ending}"
    with segments.view(tmp_path, "prices", 0.0) as view:
        query = DuckdbRecords([], view.rows, 0.0)
        assert query.export(IDS, str(out)) == 2
        with pytest.raises(UserError, match="neither"):
            query.export(IDS, str(tmp_path / "out.txt"))
        query.close()
    assert out.read_bytes()[:4] == {"csv": b'"req', "parquet": b"PAR1"}[ending]

"""Provenance: what is kept of a request, how it is found again, and what bounds, restarts and damage do to it."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import provenance_fakes as fakes
import pytest

from seaway.core.provenance import OVERFLOW, AnsweredBy, AnsweredRow, Explanation, Kept
from seaway.core.records import SAMPLED, Chosen
from seaway.monitor.provenance import files as provenance_files
from seaway.monitor.provenance import layout as provenance_format
from seaway.monitor.provenance.sink import ProvenanceSink
from seaway.monitor.sinks import RecordPaths
from seaway.testing.clock import VirtualClock

TRACE = b"00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"
SMALL = 16 * 64 * 200  # sixteen segments of 64 requests and 128 rows


def sink(
    root: Path, slot: int = 0, pid: int = 7, clock: VirtualClock | None = None, **bounds: float
) -> ProvenanceSink:
    return ProvenanceSink(RecordPaths(str(root), slot, pid), clock or VirtualClock(), **bounds)  # type: ignore[arg-type]


def segments(root: Path) -> list[Path]:
    return sorted((root / "_requests").glob("ring-*.bin"))


def test_a_request_is_explained_with_all_that_is_known_of_it(tmp_path: Path) -> None:
    kept = sink(tmp_path, slot=2)
    kept.take(fakes.block([fakes.number(b"r-1", 1.5, 2.5, traceparent=TRACE)], seen=4, rate=0.25))
    assert provenance_files.find(tmp_path, b"r-1") == [
        Explanation(
            request_id="r-1",
            trace_id="0123456789abcdef0123456789abcdef",
            at_s=fakes.BASE_S + 10.25,
            by=AnsweredBy("prices", 3, f"sha256:{3:064x}", "prices:v3"),
            door="predict",
            slot=2,
            pid=7,
            code="200",
            caller="ada",
            rows=2,
            batch_rows=4,
            queue_s=0.0625,
            run_s=0.125,
            cpu_s=0.03125,
            took_s=0.25,
            rate=0.25,
            chosen=Chosen.ONLY,
            rows_kept=2,
            answers=(AnsweredRow(1.5), AnsweredRow(2.5)),
        )
    ]
    assert provenance_files.find(tmp_path, b"r-2") == []


def test_why_a_request_got_its_revision_and_whether_it_is_a_unit_is_kept(tmp_path: Path) -> None:
    requests = [fakes.number(b"r-%d" % n, 1.0, chosen=chosen) for n, chosen in enumerate(Chosen)]
    units = [request.chosen in SAMPLED for request in requests]
    block = msgspec.structs.replace(fakes.block(requests), units=units)
    sink(tmp_path).take(block)
    found = [provenance_files.find(tmp_path, request.request_id)[0].chosen for request in requests]
    assert found == list(Chosen)
    kept = [one.requests(0, len(requests))["unit"].tolist() for one in provenance_files.open_all(tmp_path)]
    assert kept == [units]


def test_segments_that_were_written_before_it_was_kept_are_read(tmp_path: Path) -> None:
    """The bytes were spare and zero, and the check word covers them as they are."""
    kept = sink(tmp_path)
    kept.take(fakes.block([fakes.number(b"r-1", 1.5)]))
    kept.close()
    (path,) = segments(tmp_path)
    data = bytearray(path.read_bytes())
    (at,) = (
        provenance_format.requests_at(one.requests_capacity) for one in provenance_files.open_all(tmp_path)
    )
    record = np.frombuffer(data, provenance_format.REQUEST, 1, at).copy()
    record["chosen"] = record["unit"] = 0
    record["check"] = provenance_format.check_words(record)
    data[at : at + len(record.tobytes())] = record.tobytes()
    path.write_bytes(data)
    (found,) = provenance_files.find(tmp_path, b"r-1")
    assert (found.chosen, found.answers) == (None, (AnsweredRow(1.5),))
    assert provenance_format.REQUEST.itemsize == 128


def test_classes_confidences_and_slices_are_kept_for_each_row(tmp_path: Path) -> None:
    of = fakes.subject(fakes.CLASSIFIER, slices=("city", "age", "nowhere"))
    sink(tmp_path).take(
        fakes.block(
            [fakes.labels(b"a", "up", "down", cities=["Bern", ""], age=40.5), fakes.labels(b"b", "up")], of
        )
    )
    (found,) = provenance_files.find(tmp_path, b"a")
    assert found.by.slices == ("city", "age", "nowhere")
    assert found.answers == (
        AnsweredRow("up", 0.75, ("Bern", "40.5", "")),
        AnsweredRow("down", 0.75, ("", "40.5", "")),
    )
    (other,) = provenance_files.find(tmp_path, b"b")
    assert other.answers == (AnsweredRow("up", 0.75, ("Bern", "30", "")),)


def test_a_failed_request_is_kept_without_answers(tmp_path: Path) -> None:
    failed = fakes.Ended(b"bad", code="deadline_exceeded", batch_rows=0)
    sink(tmp_path).take(fakes.block([fakes.number(b"good", 1.0), failed]))
    (found,) = provenance_files.find(tmp_path, b"bad")
    assert (found.code, found.rows_kept, found.answers) == ("deadline_exceeded", 0, ())
    assert provenance_files.find(tmp_path, b"good")[0].answers == (AnsweredRow(1.0),)


def test_only_the_first_rows_are_shown_of_many(tmp_path: Path) -> None:
    sink(tmp_path).take(fakes.block([fakes.number(b"r", *range(1000))]))
    (found,) = provenance_files.find(tmp_path, b"r")
    assert (found.rows, found.rows_kept, len(found.answers)) == (1000, 1000, 10)


def test_a_request_of_more_rows_than_a_segment_keeps_those_that_fit(tmp_path: Path) -> None:
    kept = sink(tmp_path, space_bytes=SMALL)
    kept.take(
        fakes.block([fakes.number(b"a", 1.0), fakes.number(b"b", *range(500)), fakes.number(b"c", 3.0)])
    )
    (found,) = provenance_files.find(tmp_path, b"b", rows=500)
    assert (found.rows, found.rows_kept) == (500, 128)
    assert [row.answer for row in found.answers] == [float(n) for n in range(128)]
    assert provenance_files.find(tmp_path, b"c")[0].answers == (AnsweredRow(3.0),)


def test_ids_beyond_48_bytes_are_told_apart(tmp_path: Path) -> None:
    long = [b"x" * 127 + end for end in (b"1", b"2")]
    sink(tmp_path).take(fakes.block([fakes.number(long[0], 1.0), fakes.number(long[1], 2.0)]))
    for request_id, answer in zip(long, (1.0, 2.0), strict=True):
        (found,) = provenance_files.find(tmp_path, request_id)
        assert found.request_id == request_id.decode()
        assert found.answers == (AnsweredRow(answer),)
    joined = provenance_files.lookup(tmp_path, [long[1], b"x" * 48])
    assert joined.by.tolist() == [0, -1]
    assert joined.numbers[joined.first[0]] == 2.0


def test_a_retry_under_the_same_id_gives_both_and_the_answered_one_is_joined(tmp_path: Path) -> None:
    kept = sink(tmp_path)
    kept.take(fakes.block([fakes.number(b"r", 1.0, ended_s=11.0), fakes.number(b"r", 2.0, ended_s=12.0)]))
    kept.take(fakes.block([fakes.Ended(b"r", code="internal", ended_s=13.0)]))
    assert [one.code for one in provenance_files.find(tmp_path, b"r")] == ["internal", "200", "200"]
    joined = provenance_files.lookup(tmp_path, [b"r"])
    assert joined.row(int(joined.first[0])).answer == 2.0
    assert joined.at_s[0] == fakes.BASE_S + 12.0


def test_many_ids_are_joined_over_workers_endpoints_and_revisions(tmp_path: Path) -> None:
    classifier = fakes.subject(fakes.CLASSIFIER, endpoint="fraud", revision=9, slices=("city",))
    for slot in range(3):
        kept = sink(tmp_path, slot=slot, space_bytes=SMALL)
        for part in range(4):
            ids = [b"%d-%d-%d" % (slot, part, n) for n in range(50)]
            kept.take(fakes.block([fakes.number(one, float(n), -1.0) for n, one in enumerate(ids)], rate=0.5))
        kept.take(
            fakes.block([fakes.labels(b"c-%d" % slot, "yes", "no", cities=["Bern", "Rome"])], classifier)
        )
    asked = [b"1-2-17", b"nobody", b"c-2", b"1-2-17", b"0-3-49"]
    joined = provenance_files.lookup(tmp_path, asked)
    assert (joined.by >= 0).tolist() == [True, False, True, True, True]
    assert joined.rows.tolist() == [2, 0, 2, 2, 2]
    assert joined.rate.tolist()[0] == 0.5
    assert math.isnan(joined.at_s[1])
    assert joined.first[0] == joined.first[3]
    assert [joined.row(int(place)).answer for place in (joined.first[0], joined.first[4])] == [17.0, 49.0]
    rows = [joined.row(int(joined.first[2]) + n) for n in range(2)]
    assert rows == [
        AnsweredRow("yes", 0.75, ("Bern", "", "", "")),
        AnsweredRow("no", 0.75, ("Rome", "", "", "")),
    ]
    assert joined.subjects[joined.by[2]] == AnsweredBy("fraud", 9, f"sha256:{9:064x}", "fraud:v9", ("city",))
    assert len(joined.numbers) == len(joined.classes) == len(joined.confidences) == len(joined.slices)


@pytest.mark.parametrize("ids", [[], [b"a"], [b"a", b"b"]])
def test_joining_where_nothing_is_kept_finds_nothing(tmp_path: Path, ids: list[bytes]) -> None:
    joined = provenance_files.lookup(tmp_path, ids)
    assert joined.by.tolist() == [-1] * len(ids)
    assert joined.rows.tolist() == [0] * len(ids)
    assert provenance_files.find(tmp_path, b"a") == []
    assert provenance_files.kept(tmp_path) == Kept(None, 0, 0, 0, 0)


def test_the_space_of_a_slot_is_bounded_and_what_is_left_is_the_newest_without_gaps(tmp_path: Path) -> None:
    for pid in (7, 8, 9):  # workers that follow one another in the slot
        kept = sink(tmp_path, pid=pid, space_bytes=SMALL)
        for n in range(60):
            at_s = pid * 1000.0 + n
            kept.take(
                fakes.block([fakes.number(b"%d-%d-%d" % (pid, n, i), 1.0, ended_s=at_s) for i in range(32)])
            )
        kept.close()
    state = provenance_files.kept(tmp_path)
    assert state.space_bytes <= SMALL
    assert state.complete_since_s is not None
    asked = [(pid, n) for pid in (7, 8, 9) for n in range(60)]
    joined = provenance_files.lookup(
        tmp_path, [b"%d-%d-%d" % (pid, n, i) for pid, n in asked for i in range(32)]
    )
    here = (joined.by >= 0).reshape(-1, 32)
    complete = [fakes.BASE_S + pid * 1000.0 + n > state.complete_since_s for pid, n in asked]
    assert here[np.array(complete)].all()
    assert 12 < complete.count(True) < len(asked)
    names = {path.stem for path in (tmp_path / "_requests").iterdir()}
    assert names == {path.stem for path in segments(tmp_path)}


def test_records_are_complete_since_the_last_that_any_slot_had_to_remove(tmp_path: Path) -> None:
    quiet = sink(tmp_path, slot=1, space_bytes=SMALL)
    quiet.take(fakes.block([fakes.number(b"quiet", 1.0, ended_s=5.0)]))
    assert provenance_files.kept(tmp_path).complete_since_s == fakes.BASE_S + 5.0
    for pid in (1, 2):  # the second worker of the slot has room, and still knows what the first one removed
        busy = sink(tmp_path, pid=pid, space_bytes=SMALL if pid == 1 else 2 * SMALL)
        for n in range(40 if pid == 1 else 1):
            ids = [b"%d-%d-%d" % (pid, n, i) for i in range(64)]
            busy.take(fakes.block([fakes.number(one, 1.0, ended_s=100.0 * pid + n) for one in ids]))
        busy.close()
    since_s = provenance_files.kept(tmp_path).complete_since_s
    removed = [n for n in range(40) if not provenance_files.find(tmp_path, b"1-%d-0" % n)]
    assert since_s == fakes.BASE_S + 100.0 + max(removed)


def test_a_worker_with_the_process_id_of_an_earlier_one_overwrites_nothing(tmp_path: Path) -> None:
    for n in range(2):  # as in a container, where process ids come again
        kept = sink(tmp_path, pid=1)
        kept.take(fakes.block([fakes.number(b"r-%d" % n, float(n))]))
        kept.close()
    assert len(segments(tmp_path)) == 2
    assert [len(provenance_files.find(tmp_path, b"r-%d" % n)) for n in range(2)] == [1, 1]


def test_what_is_past_its_time_is_removed_from_the_disk_also_that_of_ended_workers(tmp_path: Path) -> None:
    day_s = 86_400.0
    clock = VirtualClock()
    gone = sink(tmp_path, slot=5)
    gone.take(fakes.block([fakes.number(b"old", 1.0)]))
    gone.close()
    kept = sink(tmp_path, clock=clock, retain_s=8 * day_s)
    kept.take(fakes.block([fakes.number(b"older", 1.0)]))
    for day in range(1, 10):
        clock.advance(day_s)
        kept.tick(fakes.BASE_S + 11.0 + day * day_s)
        kept.take(fakes.block([fakes.number(b"day-%d" % day, 1.0, ended_s=10.0 + day * day_s)]))
    left = [b"old", b"older", *(b"day-%d" % d for d in range(1, 10))]
    found = [one for one in left if provenance_files.find(tmp_path, one)]
    assert found == [b"day-%d" % d for d in range(2, 10)]


def test_names_are_bounded_and_the_rest_share_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    requests = [fakes.number(b"r-%d" % n, 1.0, caller=f"c{n}") for n in range(10_001)]
    requests.append(fakes.number(b"long", 1.0, caller="x" * 129))
    sink(tmp_path).take(fakes.block(requests))
    callers = [provenance_files.find(tmp_path, one)[0].caller for one in (b"r-9999", b"r-10000", b"long")]
    assert callers == ["c9999", OVERFLOW, OVERFLOW]


def test_the_rate_of_all_is_told_from_what_was_drawn_and_what_failed(tmp_path: Path) -> None:
    kept = sink(tmp_path)
    requests = [fakes.number(b"r-%d" % n, 1.0) for n in range(10)]
    kept.take(fakes.block([*requests, fakes.Ended(b"f", code="internal")], seen=41, rate=0.25))
    state = provenance_files.kept(tmp_path)
    assert (state.seen, state.kept) == (41, 11)
    assert state.rate == 11 / 41


@pytest.mark.parametrize("size", [0, 10, 87, 4096, 5000, 13_000, 40_000])
def test_f10_a_segment_cut_short_is_left_out_or_read_as_far_as_it_goes(tmp_path: Path, size: int) -> None:
    kept = sink(tmp_path)
    kept.take(fakes.block([fakes.number(b"r-%d" % n, float(n)) for n in range(50)]))
    kept.close()
    other = sink(tmp_path, slot=1)
    other.take(fakes.block([fakes.number(b"other", 7.0)]))
    os.truncate(segments(tmp_path)[0], size)
    ids = [b"r-%d" % n for n in range(50)]
    for n, one in enumerate(ids):
        for found in provenance_files.find(tmp_path, one):
            assert found.answers in ((), (AnsweredRow(float(n)),))
    joined = provenance_files.lookup(tmp_path, [*ids, b"other"])
    assert joined.numbers[joined.first[-1]] == 7.0
    assert provenance_files.kept(tmp_path).damaged == (1 if size < 88 else 0)


@pytest.mark.parametrize("cut", [0, 8, 4_000, 10_000])
def test_requests_that_lie_far_apart_are_found_as_they_are_among_all(tmp_path: Path, cut: int) -> None:
    """They are read one by one then, also where the file ends before the last of them."""
    kept = sink(tmp_path)
    ids = [b"r-%d" % n for n in range(1000)]
    kept.take(fakes.block([fakes.number(one, float(n), -float(n)) for n, one in enumerate(ids)]))
    kept.close()
    (path,) = segments(tmp_path)
    os.truncate(path, path.stat().st_size - cut)
    every = provenance_files.lookup(tmp_path, ids)
    for few in ([0, 999], [3, 500, 880], [999]):
        found = provenance_files.lookup(tmp_path, [ids[n] for n in few])
        for place, n in enumerate(few):
            assert found.rows[place] == every.rows[n], n
            assert found.at_s[place] == every.at_s[n]
            rows = [found.row(int(found.first[place]) + k).answer for k in range(int(found.rows[place]))]
            assert rows in ([], [float(n), -float(n)])
    assert bool(every.rows[999] == 2) is (cut == 0)


_FULL_DISK = """
import resource, sys
sys.path[:0] = sys.argv[2:]
import provenance_fakes as fakes
from seaway.monitor.provenance.sink import ProvenanceSink
from seaway.monitor.sinks import RecordPaths
from seaway.testing.clock import VirtualClock
kept = ProvenanceSink(RecordPaths(sys.argv[1], 0, 1), VirtualClock(), space_bytes=16 * 64 * 200)
failed = []
for n in range(60):
    limit = resource.RLIM_INFINITY if n >= 40 else (6000 + n * 100 if n >= 10 else resource.RLIM_INFINITY)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        kept.take(fakes.block([fakes.number(b"r-%d" % n, float(n))]))
    except OSError:
        failed.append(n)
print(*failed)
"""


def test_f10_on_a_full_disk_the_sink_refuses_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    here = str(Path(__file__).parent)
    command = [sys.executable, "-c", _FULL_DISK, str(tmp_path), here]
    out = subprocess.run(command, capture_output=True, text=True, check=True)
    failed = {int(word) for word in out.stdout.split()}
    assert failed == set(range(10, 40))  # the answers' area is beyond every one of the limits
    for n in range(60):
        found = provenance_files.find(tmp_path, b"r-%d" % n)
        assert [one.answers for one in found] == ([] if n in failed else [(AnsweredRow(float(n)),)])


def test_a_directory_that_cannot_be_made_is_an_error_each_time(tmp_path: Path) -> None:
    (tmp_path / "_requests").write_text("in the way")
    kept = sink(tmp_path)
    for _ in range(2):
        with pytest.raises(OSError):
            kept.take(fakes.block([fakes.number(b"r", 1.0)]))
    assert provenance_files.find(tmp_path, b"r") == []
    (tmp_path / "_requests").unlink()
    kept.take(fakes.block([fakes.number(b"r", 1.0)]))
    assert len(provenance_files.find(tmp_path, b"r")) == 1


def test_w12_of_a_request_only_its_answers_and_the_chosen_slices_are_written(tmp_path: Path) -> None:
    secret = "jane.doe@example.org"
    requests = [fakes.labels(b"r-1", "up", cities=[secret]), fakes.Ended(b"r-2", traceparent=secret.encode())]
    kept = sink(tmp_path)
    kept.take(fakes.block(requests, fakes.subject(fakes.CLASSIFIER, slices=("age",))))
    kept.close()
    files = list((tmp_path / "_requests").iterdir())
    assert len(files) == 2
    assert all(secret.encode() not in path.read_bytes() for path in files)
    assert all(path.stat().st_mode & 0o077 == 0 for path in [*files, tmp_path / "_requests"])


def test_explanations_go_over_the_wire_and_back(tmp_path: Path) -> None:
    sink(tmp_path).take(fakes.block([fakes.number(b"r", 1.5)]))
    (found,) = provenance_files.find(tmp_path, b"r")
    assert msgspec.json.decode(msgspec.json.encode(found), type=Explanation) == found


def test_records_have_their_stated_size() -> None:
    sizes = [kind.itemsize for kind in (provenance_format.REQUEST, provenance_format.ANSWER)]
    assert sizes == [128, 32]

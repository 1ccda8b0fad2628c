"""The sink of summaries: windows of a minute, written as they grow, read over all workers."""

from __future__ import annotations

import random
import stat
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest

from seaway.core import summaries
from seaway.core.answers import answer_spec
from seaway.core.profiles import summarise_numbers
from seaway.core.records import RecordRules
from seaway.core.tensors import Array, DType, Meaning, Signature, TensorSpec
from seaway.monitor.sinks import Block, RecordPaths, Subject
from seaway.monitor.summaries import compaction, windows
from seaway.monitor.summaries.sink import FLUSH_S, SummarySink, make
from seaway.testing.answered import Ended
from seaway.testing.clock import VirtualClock

DIGEST = "sha256:" + "ab" * 32
START_S = 1_800_000_000  # begins a minute, an hour
SIGNATURE = Signature(
    (TensorSpec("x", DType.FP32, (-1, 2), columns=("age", "income")),),
    (TensorSpec("p", DType.FP32, (-1, 2), Meaning.PROBABILITY),),
)


def subject(revision: int = 1, redact: tuple[str, ...] = (), signature: Signature = SIGNATURE) -> Subject:
    rules = RecordRules(redact=redact)
    return Subject("prices", revision, DIGEST, "prices:v3", signature, answer_spec(signature), rules)


def ended(value: float, at_s: float, code: str = "200") -> Ended:
    inputs: dict[str, Array] = {"x": np.array([[value, -value]], np.float32)}
    outputs: dict[str, Array] | None = {"p": np.array([[0.25, 0.75]], np.float32)}
    answer = outputs if code == "200" else None
    return Ended(tensors=inputs, outputs=answer, code=code, ended_s=at_s - START_S)


def block(requests: Sequence[Ended], seen: int | None = None, rate: float = 1.0, **of: object) -> Block:
    count = len(requests) if seen is None else seen
    return Block(subject(**of), requests, count, count, rate, float(START_S))  # type: ignore[arg-type]


def sink(root: Path, clock: VirtualClock, pid: int = 7) -> SummarySink:
    return make(RecordPaths(str(root), 0, pid), clock)


def names(root: Path, revision: int = 1) -> list[str]:
    return [file.name for file in windows.files(windows.directory(root, "prices", revision, DIGEST))]


def read(root: Path, revision: int | None = 1, since_s: float = 0, until_s: float = 2e9) -> windows.Reading:
    found = windows.read(root, "prices", revision, since_s, until_s)
    assert found is not None
    return found


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(START_S)


def test_it_writes_every_few_seconds_and_when_the_minute_is_over(tmp_path: Path, clock: VirtualClock) -> None:
    one = sink(tmp_path, clock)
    one.take(block([ended(1, START_S + 1)]))
    one.tick(START_S + 1)
    assert read(tmp_path).window.summary.rows == 1
    one.take(block([ended(2, START_S + 2)]))
    one.tick(START_S + 2)
    assert read(tmp_path).window.summary.rows == 1, "not due yet"
    one.tick(START_S + 1 + FLUSH_S)
    assert read(tmp_path).window.summary.rows == 2
    one.take(block([ended(3, START_S + 59)]))
    one.tick(START_S + 60)
    one.take(block([ended(4, START_S + 60)]))
    one.tick(START_S + 65)
    found = read(tmp_path)
    assert (found.window.start_s, found.end_s, found.files) == (START_S, START_S + 120, 2)
    assert names(tmp_path) == [f"minute-{START_S}-0-7-0.sum", f"minute-{START_S + 60}-0-7-0.sum"]
    age = found.window.summary.inputs["age"].numeric
    assert age == summarise_numbers(np.array([1.0, 2, 3, 4], np.float32))
    confidence = found.window.summary.confidence
    assert confidence is not None and (confidence.count, confidence.low, confidence.high) == (4, 0.75, 0.75)
    assert read(tmp_path, since_s=START_S + 60).window.summary.rows == 1


def test_what_was_seen_taken_and_at_which_rate(tmp_path: Path, clock: VirtualClock) -> None:
    one = sink(tmp_path, clock)
    one.take(block([ended(1, START_S), ended(2, START_S, "overloaded")], seen=10, rate=0.5))
    one.take(block([], seen=30, rate=0.1))
    one.take(block([ended(3, START_S)], seen=10))
    one.close()
    one.close()
    found = read(tmp_path)
    window = found.window
    assert (window.seen, window.seen_rows, window.taken, window.summary.rows) == (50, 50, 2, 2)
    assert (window.lowest_rate, found.rate) == (0.1, 0.04)


def test_a_stream_counts_by_its_inputs(tmp_path: Path, clock: VirtualClock) -> None:
    one = sink(tmp_path, clock)
    streamed = ended(1, START_S)
    streamed.outputs = None
    one.take(block([streamed]))
    one.close()
    summary = read(tmp_path).window.summary
    age, sure = summary.inputs["age"].numeric, summary.outputs["p[0]"].numeric
    assert age is not None and sure is not None and (age.count, sure.count) == (1, 0)


def test_many_requests_equal_their_rows_in_one_block(tmp_path: Path, clock: VirtualClock) -> None:
    values = np.random.default_rng(1).normal(size=70_000).astype(np.float32)
    one = sink(tmp_path, clock)
    for start in range(0, len(values), 1024):
        one.take(block([ended(float(value), START_S + 1) for value in values[start : start + 1024]]))
    one.close()
    summary = read(tmp_path).window.summary
    assert summary.inputs["age"].numeric == summarise_numbers(values)
    assert summary.inputs["income"].numeric == summarise_numbers(-values)


def test_workers_are_merged_and_a_worker_with_the_same_process_id_overwrites_nothing(
    tmp_path: Path, clock: VirtualClock
) -> None:
    for pid in (7, 8, 7):
        one = sink(tmp_path, clock, pid)
        one.take(block([ended(1, START_S)]))
        one.close()
    assert names(tmp_path) == [f"minute-{START_S}-0-{tail}.sum" for tail in ("7-0", "7-1", "8-0")]
    assert read(tmp_path).window.seen == 3


def test_each_revision_and_digest_has_windows_of_its_own(tmp_path: Path, clock: VirtualClock) -> None:
    one = sink(tmp_path, clock)
    one.take(block([ended(1, START_S)], revision=1))
    one.take(block([ended(1, START_S)] * 2, revision=2))
    one.tick(START_S)
    assert read(tmp_path, 1).window.seen == 1
    assert read(tmp_path, None).window.seen == 2, "the newest"
    other = msgspec.structs.replace(subject(2), digest="sha256:" + "cd" * 32)
    one.take(msgspec.structs.replace(block([ended(1, START_S + 60)]), subject=other))
    one.tick(START_S + 60)
    assert read(tmp_path, 2).window.seen == 1, "the digest that answered last"
    assert windows.read(tmp_path, "prices", 3, 0, 2e9) is None
    assert windows.read(tmp_path, "nobody", None, 0, 2e9) is None


def test_a_clock_that_is_set_back_begins_a_new_window(tmp_path: Path, clock: VirtualClock) -> None:
    one = sink(tmp_path, clock)
    one.take(block([ended(1, START_S + 86_400)]))
    one.take(block([ended(1, START_S)]))
    one.take(block([ended(1, START_S - 1)]))
    one.tick(START_S)
    assert read(tmp_path, until_s=START_S + 60).window.seen == 2
    assert read(tmp_path).window.seen == 3


def test_a_window_that_stood_still_for_hours_is_not_written_over_what_was_merged(
    tmp_path: Path, clock: VirtualClock
) -> None:
    one = sink(tmp_path, clock)
    one.take(block([ended(1, START_S)]))
    one.tick(START_S)
    one.take(block([ended(1, START_S)]))
    later = START_S + 4 * 3600
    assert compaction.compact(tmp_path, later).written == 1
    one.tick(later)
    assert read(tmp_path).window.seen == 1


def test_minutes_that_nobody_merges_are_removed(tmp_path: Path, clock: VirtualClock) -> None:
    one = sink(tmp_path, clock)
    one.take(block([ended(1, START_S)]))
    one.tick(START_S)
    later = START_S + compaction.UNMERGED_KEPT_S + 60
    one.tick(later)
    one.take(block([ended(1, later)]))
    one.tick(later)
    one.tick(later + 60)
    assert names(tmp_path) == [f"minute-{later}-0-7-0.sum"]


def test_f10_a_disk_that_refuses_costs_one_window_and_raises_an_os_error(
    tmp_path: Path, clock: VirtualClock
) -> None:
    one = sink(tmp_path, clock)
    (tmp_path / "prices").write_bytes(b"in the way")
    one.take(block([ended(1, START_S)]))
    with pytest.raises(OSError, match="prices"):
        one.tick(START_S + 60)
    (tmp_path / "prices").unlink()
    one.take(block([ended(1, START_S + 61)]))
    one.tick(START_S + 61)
    assert read(tmp_path).window.seen == 1


def test_f10_torn_and_altered_files_are_left_out_and_named(tmp_path: Path, clock: VirtualClock) -> None:
    chance = random.Random(4)
    for pid in range(20):
        one = sink(tmp_path, clock, pid)
        one.take(block([ended(1, START_S)]))
        one.close()
    where = windows.directory(tmp_path, "prices", 1, DIGEST)
    hurt = set()
    for path in sorted(where.iterdir())[::2]:
        data = bytearray(path.read_bytes())
        if chance.random() < 0.5:
            data = data[: chance.randrange(len(data))]
        else:
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        path.write_bytes(data)
        hurt.add(path.name)
    found = read(tmp_path)
    assert (found.window.seen, set(found.damaged)) == (10, hurt)
    done = compaction.compact(tmp_path, START_S + 5 * 3600)
    assert {Path(path).name for path in done.damaged} == hurt
    again = read(tmp_path)
    assert (again.window.seen, again.files, set(again.damaged)) == (10, 1, hurt)
    compaction.compact(tmp_path, START_S + 60 + compaction.HOURS_KEPT_S)
    assert read(tmp_path).damaged == (), "damaged minutes are not kept for ever"


def test_a_summary_of_another_version_is_left_out(tmp_path: Path, clock: VirtualClock) -> None:
    one = sink(tmp_path, clock)
    one.take(block([ended(1, START_S)]))
    one.close()
    path = windows.directory(tmp_path, "prices", 1, DIGEST) / names(tmp_path)[0]
    window = windows.load(path)
    other = msgspec.structs.replace(window.summary, summary_version=summaries.SUMMARY_VERSION + 1)
    windows.write(path, msgspec.structs.replace(window, summary=other), durable=False)
    with pytest.raises(windows.Damaged, match="version"):
        windows.load(path)


@pytest.mark.parametrize("rule", ["name", "input.name", "text:email"])
def test_w12_redacted_values_are_in_no_file(rule: str, tmp_path: Path, clock: VirtualClock) -> None:
    signature = Signature(
        (TensorSpec("name", DType.BYTES, (-1,)), TensorSpec("city", DType.BYTES, (-1,))), SIGNATURE.outputs
    )
    found = ended(1, START_S)
    found.tensors = {
        "name": np.array(["ada@lovelace.example"], object),
        "city": np.array(["London"], object),
    }
    one = sink(tmp_path, clock)
    one.take(block([found], redact=(rule, "header:x-user"), signature=signature))
    one.close()
    kept = msgspec.json.encode(read(tmp_path).window)
    assert b"London" in kept and b"lovelace" not in kept


def test_only_the_owner_can_read(tmp_path: Path, clock: VirtualClock) -> None:
    root = tmp_path / "records"
    one = sink(root, clock)
    one.take(block([ended(1, START_S)]))
    one.close()
    where = windows.directory(root, "prices", 1, DIGEST)
    assert {stat.S_IMODE(path.stat().st_mode) for path in (root, *root.rglob("*")) if path.is_dir()} == {
        0o700
    }
    assert {stat.S_IMODE(path.stat().st_mode) for path in where.iterdir()} == {0o600}

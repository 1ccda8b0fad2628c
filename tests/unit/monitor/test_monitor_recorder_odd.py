"""The recorder and what it is not told by the book: odd answers, swapped models, clocks that jump, queues that fill."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from engine_fakes import FakeClock
from recorder_fakes import Ended, MemorySink, handle, recorder, tell

from seaway.core.answers import AnswerKind, AnswerSpec
from seaway.core.errors import TemporaryError
from seaway.core.ledger import Counts, merge_counts
from seaway.engine.answers import Answers
from seaway.engine.batches import Batch
from seaway.engine.jobs import Unscreened
from seaway.monitor.recording import keeping, seconds
from seaway.monitor.recording.recorder import Recorder
from seaway.monitor.recording.tally import Tally


def counts_of(root: Path) -> Counts:
    found = seconds.read(root, "e", 0, 100_000)
    return merge_counts(second.counts for page in found for second in page.seconds)


def play(one: Recorder, scene: Callable[[], None]) -> None:
    async def scenario() -> None:
        one.begin()
        scene()
        await one.settled()

    asyncio.run(scenario())
    one.close()


ODD = {
    "no rows": np.empty((0,), np.float32),
    "no axis": np.float32(1.0).reshape(()),
    "two columns": np.ones((3, 2), np.float32),
    "text": np.array(["a", "b"], object),
    "mixed": np.array(["a", None, 3.0], object),
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_answers_that_are_not_what_the_signature_says_end_nothing(tmp_path: Path, odd: np.ndarray) -> None:
    clock, said = FakeClock(), list[str]()
    one = recorder(tmp_path, clock, said=said)

    def scene() -> None:
        revision = handle(clock)
        tell(one, revision, Ended({"y": np.ones(2, np.float32)}, ended_s=clock.at_s, rows=2))
        rows = len(odd) if odd.ndim else 1
        tell(one, revision, Ended({"y": odd}, ended_s=clock.at_s, rows=rows))
        clock.at_s += 1.5
        one._roll()
        tell(one, revision, Ended({"y": np.ones(2, np.float32)}, ended_s=clock.at_s, rows=2))

    play(one, scene)
    counts = counts_of(tmp_path)
    assert counts.finished == 3
    assert sum(count for _, count in counts.answers) + counts.unread == counts.rows >= 4
    assert len(said) <= 1


def test_a_class_that_is_a_long_text_is_cut_and_never_breaks_the_ledger() -> None:
    tally = Tally()
    tally.answered(3, 0, {"x" * 5000: 1, "\ud800": 1, "é": 1}, 0)
    assert msgspec.json.encode(tally.counts())
    assert dict(tally.counts().answers) == {"x" * 100: 1, "?": 1, "é": 1}


def test_answers_of_a_predictor_that_was_replaced_are_counted(tmp_path: Path) -> None:
    clock = FakeClock()
    one = recorder(tmp_path, clock)

    def scene() -> None:
        before, after = handle(clock), handle(clock)  # one leaves while the same revision is loaded again
        tell(one, before, Ended({"y": np.ones(1, np.float32)}, ended_s=clock.at_s))
        clock.at_s += 1.5
        for revision in (after, before, after):
            tell(one, revision, Ended({"y": np.ones(1, np.float32)}, ended_s=clock.at_s))

    play(one, scene)
    counts = counts_of(tmp_path)
    assert (counts.finished, counts.rows) == (4, 4)


def test_a_failed_request_is_never_bad_twice() -> None:
    """Its deadline passed while it ran, and then the model answered NaN."""
    answers = Answers(Unscreened(), AnswerSpec(AnswerKind.NUMBER, "y"))
    jobs = [Ended(), Ended(), Ended()]
    jobs[0].error = TemporaryError("deadline_exceeded", "late")
    jobs[1].cancel()
    batch = Batch(list(jobs), 3)
    values = np.full(3, np.nan, np.float32)
    batch.outputs = {"y": values}
    batch.results = [{"y": values[place : place + 1]} for place in range(3)]
    answers.settle(batch)
    found, rows, unread, invalid = answers.given.take()
    assert (len(found), rows, unread, invalid) == (1, 1, 0, 1)
    assert jobs[2].outputs is not None


def test_a_sample_says_how_many_it_was_drawn_from_also_where_blocks_gave_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, sink = FakeClock(), MemorySink("sample")
    one = recorder(tmp_path, clock, [sink])
    monkeypatch.setattr(one._budget, "adjust", lambda *_: None)  # the rate is the test's
    monkeypatch.setattr(keeping, "MOST_BLOCKS", 1000)

    def scene() -> None:
        revision = handle(clock)
        for _ in range(1000):
            one._budget.rate = 0.02
            clock.at_s += 0.5
            tell(one, revision, Ended({"y": np.ones(2, np.float32)}, ended_s=clock.at_s, rows=2))
        one._budget.rate = 1.0
        for _ in range(4):
            clock.at_s += 1.0
            tell(one, revision, Ended({"y": np.ones(2, np.float32)}, ended_s=clock.at_s, rows=2))

    play(one, scene)
    drawn = sum(len(block.requests) for block in sink.blocks)
    assert drawn < 500
    assert sum(block.seen for block in sink.blocks) == 1004
    assert sum(block.seen_rows for block in sink.blocks) == 2008


class JumpingClock(FakeClock):
    """Its wall clock may be set apart from its steady one."""

    ahead_s = 0.0

    def now_s(self) -> float:
        return self.at_s + self.ahead_s


@pytest.mark.parametrize("jump_s", [-300.0, -1.2, -0.4, 0.7, 300.0])
def test_a_clock_that_jumps_loses_and_doubles_nothing(tmp_path: Path, jump_s: float) -> None:
    clock = JumpingClock()
    one = recorder(tmp_path, clock)

    def scene() -> None:
        revision = handle(clock)
        for number in range(400):
            clock.at_s += 0.05
            if number == 200:
                clock.ahead_s = jump_s
            tell(one, revision, Ended({"y": np.ones(1, np.float32)}, ended_s=clock.at_s))

    play(one, scene)
    (page,) = seconds.read(tmp_path, "e", 0, 100_000)
    assert sum(s.counts.finished for s in page.seconds) == 400
    assert [s.at_s for s in page.seconds] == sorted({s.at_s for s in page.seconds})
    live = [json.loads(one)["seconds"] for one in one.pages(0, "e")]
    told = [second[0] for page in live for second in page]
    if jump_s > -3:  # a step back of minutes brings seconds again; a small one none
        assert told == sorted(set(told))
    assert all(s.counts.finished <= 60 for s in page.seconds)


def test_a_loop_that_stood_still_counts_what_ended_meanwhile_where_it_goes_on(tmp_path: Path) -> None:
    clock = FakeClock()
    one = recorder(tmp_path, clock)

    def scene() -> None:
        revision = handle(clock)
        tell(one, revision, Ended({"y": np.ones(1, np.float32)}, ended_s=clock.at_s))
        clock.at_s += 3.4
        for ended_s in (1000.5, 1001.2, 1003.0, 1003.4):  # as gRPC's threads noted it
            tell(one, revision, Ended({"y": np.ones(1, np.float32)}, ended_s=ended_s))

    play(one, scene)
    (page,) = seconds.read(tmp_path, "e", 0, 100_000)
    assert {s.at_s: s.counts.finished for s in page.seconds} == {1000: 2, 1003: 3}


def test_f10_what_cannot_be_kept_is_named_until_it_can(tmp_path: Path) -> None:
    clock = FakeClock()
    (tmp_path / "e").write_text("a file where a folder should be")
    one = recorder(tmp_path, clock)

    async def scenario() -> None:
        one.begin()
        tell(one, handle(clock), Ended({"y": np.ones(1, np.float32)}, ended_s=clock.at_s))
        clock.at_s += 1.5
        await one.settled()
        async with asyncio.timeout(60):
            while not one.faults:
                clock.at_s += 1.5
                await asyncio.sleep(0.02)
            assert one.faults[0].startswith("seconds: ")
            (tmp_path / "e").unlink()
            while one.faults:
                clock.at_s += 1.5
                await asyncio.sleep(0.02)

    asyncio.run(scenario())
    one.close()
    assert counts_of(tmp_path).finished == 1  # it waited, and was written once

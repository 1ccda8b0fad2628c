"""The recorder: exact counts whatever happens, sinks that may fail or stand still, a ledger that adds up."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from engine_fakes import FakeClock
from recorder_fakes import Ended, MemorySink, handle, recorder, tell

from seaway.core import ledger
from seaway.core.ledger import Page
from seaway.core.records import RecordRules
from seaway.core.user_keys import UserKey
from seaway.monitor.recording import keeping, seconds
from seaway.monitor.recording.recorder import BLOCK_HELD, DRAWN_WHOLE, Recorder
from seaway.monitor.sinks import Block


def outputs(*values: float) -> dict[str, np.ndarray]:
    return {"y": np.array(values, np.float32)}


def _held_by(gate: threading.Event) -> None:
    assert gate.wait(60)


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(60):
            await scenario()

    asyncio.run(limited())


def counted(one: Recorder) -> dict[str, float]:
    """Answers by code."""
    total = next(family for family in one.families({}) if family.name == "seaway_requests_total")
    return {sample.labels["code"]: sample.value for sample in total.samples}


def sink_counts(one: Recorder, outcome: str) -> dict[str, float]:
    family = next(f for f in one.families({}) if f.name == "seaway_recorder_requests_total")
    return {s.labels["sink"]: s.value for s in family.samples if s.labels["outcome"] == outcome}


def pages(root: Path) -> tuple[Page, ...]:
    return seconds.read(root, "e", 0, 10_000)


def test_all_is_counted_exactly_by_code_and_in_the_second_in_which_it_ended(tmp_path: Path) -> None:
    clock = FakeClock()
    sink = MemorySink("all")
    one = recorder(tmp_path, clock, [sink])

    async def scenario() -> None:
        one.begin()
        revision = handle(clock)
        for number in range(2500):
            code = ("200", "200", "200", "execution_failed", "wrong_shape")[number % 5]
            found = outputs(float(number)) if code == "200" else None
            tell(one, revision, Ended(found, code, ended_s=clock.at_s), 10)
        one.unrouted("oip", "", "endpoint_not_found", 0.001)
        clock.at_s += 1.25  # a second later: what ends now belongs to the next one
        await one.settled()
        tell(one, revision, Ended(outputs(1.0), ended_s=clock.at_s, took_s=0.5), 10)
        clock.at_s += 1.0
        await one.settled()

    run(scenario)
    assert counted(one) == {
        "200": 1501,
        "execution_failed": 500,
        "wrong_shape": 500,
        "endpoint_not_found": 1,
    }
    one.close()
    assert sink.closed and sink.requests == 2501
    assert [len(block.requests) for block in sink.blocks] == [BLOCK_HELD, BLOCK_HELD, 452, 1]
    (page,) = pages(tmp_path)
    first, second = page.seconds
    assert (first.at_s, second.at_s) == (1000, 1001)
    counts = first.counts
    assert (counts.finished, counts.failed, counts.rejected, counts.rows) == (2500, 500, 500, 1500)
    assert counts.bad == 500
    assert sum(count for _, count in counts.answers) == 1500
    assert sum(count for _, count in counts.latency) == 1500  # not those that failed at once
    assert ledger.latency_quantile_s(second.counts.latency, 0.5) == near(0.5)


def near(value: float) -> object:

    return pytest.approx(value, rel=0.022)


def test_a_sink_that_stands_still_costs_neither_requests_nor_counts(tmp_path: Path) -> None:
    """F10: a slow disk."""
    clock, gate = FakeClock(), threading.Event()
    stuck = MemorySink("all", "stuck", lambda: _held_by(gate))
    one = recorder(tmp_path, clock, [stuck])
    blocks = keeping.MOST_BLOCKS + 40

    async def scenario() -> None:
        one.begin()
        revision = handle(clock)
        for _ in range(blocks * BLOCK_HELD):
            tell(one, revision, Ended(outputs(1.0), ended_s=clock.at_s), 10)
        await one.settled()

    run(scenario)
    assert counted(one) == {"200": blocks * BLOCK_HELD}
    dropped = sink_counts(one, "dropped")["stuck"]
    assert dropped >= 39 * BLOCK_HELD
    gate.set()
    one.close()
    assert sink_counts(one, "kept")["stuck"] + sink_counts(one, "dropped")["stuck"] == blocks * BLOCK_HELD
    (page,) = pages(tmp_path)
    assert sum(s.counts.finished for s in page.seconds) == blocks * BLOCK_HELD


def test_large_bodies_that_wait_for_a_sink_are_bounded(tmp_path: Path) -> None:
    clock, gate = FakeClock(), threading.Event()
    stuck = MemorySink("all", "stuck", lambda: _held_by(gate))
    one = recorder(tmp_path, clock, [stuck])
    size = 2 * 1024 * 1024

    async def scenario() -> None:
        one.begin()
        revision = handle(clock)
        for _ in range(200):
            tell(one, revision, Ended(outputs(1.0), ended_s=clock.at_s), size)
        await one.settled()

    run(scenario)
    held = 200 - sink_counts(one, "dropped")["stuck"]
    assert held * size <= keeping.MOST_BYTES + 2 * 4 * 1024 * 1024
    gate.set()
    one.close()


def test_a_sink_that_fails_is_said_once_and_the_others_go_on(tmp_path: Path) -> None:
    """F10: a full disk."""
    clock, said = FakeClock(), list[str]()

    def full() -> None:
        raise OSError(28, "No space left on device")

    broken, whole = MemorySink("all", "broken", full), MemorySink("all", "whole")
    one = recorder(tmp_path, clock, [broken, whole], said=said)

    async def scenario() -> None:
        one.begin()
        revision = handle(clock)
        for _ in range(3 * BLOCK_HELD):
            tell(one, revision, Ended(outputs(1.0), ended_s=clock.at_s), 10)

    run(scenario)
    one.close()
    assert sink_counts(one, "dropped")["broken"] == 3 * BLOCK_HELD
    assert sink_counts(one, "kept")["whole"] == whole.requests == 3 * BLOCK_HELD
    assert len(said) == 1 and "No space left" in said[0]


def test_a_sink_counts_as_kept_what_it_says(tmp_path: Path) -> None:
    class Half(MemorySink):
        def take(self, block: Block) -> int:
            super().take(block)
            return len(block.requests) // 2

    clock, half = FakeClock(), Half("all", "half")
    one = recorder(tmp_path, clock, [half])

    async def scenario() -> None:
        one.begin()
        revision = handle(clock)
        for _ in range(BLOCK_HELD):
            tell(one, revision, Ended(outputs(1.0), ended_s=clock.at_s), 10)

    run(scenario)
    one.close()
    assert half.requests == BLOCK_HELD
    assert sink_counts(one, "kept")["half"] == BLOCK_HELD // 2


def test_seconds_that_cannot_be_written_are_counted_as_dropped(tmp_path: Path) -> None:
    clock, said = FakeClock(), list[str]()
    (tmp_path / "e").write_text("a file where a folder should be")
    one = recorder(tmp_path, clock, said=said)

    async def scenario() -> None:
        one.begin()
        tell(one, handle(clock), Ended(outputs(1.0), ended_s=clock.at_s), 10)

    run(scenario)
    one.close()
    assert sink_counts(one, "dropped")["seconds"] == 1
    assert counted(one) == {"200": 1}
    assert len(said) == 1


def test_only_the_first_request_of_each_user_is_a_unit(tmp_path: Path) -> None:
    clock = FakeClock()
    rules = RecordRules(judged=True, unit=UserKey(header="x-user-id"), scope=3)

    def session(users: list[bytes | None]) -> tuple[Page, ...]:
        one = recorder(tmp_path, clock, rules=rules)

        async def scenario() -> None:
            one.begin()
            revision = handle(clock)
            for user in users:
                headers = {} if user is None else {"x-user-id": user}
                tell(one, revision, Ended(outputs(2.0), ended_s=clock.at_s, headers=headers), 1)

        run(scenario)
        one.close()
        clock.at_s += 2
        return pages(tmp_path)

    (page,) = session([b"a", b"b", b"a", None, b"c"])
    (second,) = page.seconds
    assert second.counts.finished == 5
    assert second.units is not None and (second.units.finished, second.units.rows) == (3, 3)
    (page,) = session([b"c", b"d"])  # another worker of the same home, later: it knows c
    assert page.seconds[1].units is not None and page.seconds[1].units.finished == 1


def test_answers_that_are_none_are_invalid_and_bad(tmp_path: Path) -> None:
    clock = FakeClock()
    one = recorder(tmp_path, clock)

    async def scenario() -> None:
        one.begin()
        revision = handle(clock)
        for values in ((1.0, 2.0), (float("nan"), 1.0), (float("nan"), float("inf"))):
            tell(one, revision, Ended(outputs(*values), ended_s=clock.at_s, rows=2), 10)

    run(scenario)
    one.close()
    (page,) = pages(tmp_path)
    counts = page.seconds[0].counts
    assert (counts.finished, counts.invalid, counts.bad, counts.rows) == (3, 2, 2, 6)
    assert dict(counts.answers)["nan"] == 2 and dict(counts.answers)["inf"] == 1


def test_there_are_never_more_bad_requests_than_requests(tmp_path: Path) -> None:
    """A batch is counted when it was run, which may be a second before its requests have ended."""
    clock = FakeClock()
    one = recorder(tmp_path, clock)

    async def scenario() -> None:
        one.begin()
        revision = handle(clock)
        tell(one, revision, Ended(outputs(float("nan")), ended_s=clock.at_s), 1)
        late = Ended(outputs(float("nan")), ended_s=clock.at_s)
        assert late.outputs is not None
        revision.predictor.given.add(late.outputs, (late,))
        clock.at_s += 1
        tell(one, revision, Ended(outputs(1.0), ended_s=clock.at_s), 1)
        late.ended_s = clock.at_s
        one.answered(revision, late, "predict")

    run(scenario)
    one.close()
    (page,) = pages(tmp_path)
    assert [(s.counts.finished, s.counts.bad) for s in page.seconds] == [(1, 1), (2, 1)]


def test_answers_for_which_nobody_waits_any_more_are_no_debt_of_later_requests(tmp_path: Path) -> None:
    """A request whose deadline passed while its batch ran ends late; what the batch said then is carried one second at most."""
    clock = FakeClock()
    one = recorder(tmp_path, clock)

    async def scenario() -> None:
        one.begin()
        revision = handle(clock)
        for _ in range(5):
            tell(one, revision, Ended(outputs(float("nan")), "deadline_exceeded", ended_s=clock.at_s), 1)
            clock.at_s += 1
        for _ in range(5):
            tell(one, revision, Ended(outputs(1.0), ended_s=clock.at_s), 1)

    run(scenario)
    one.close()
    (page,) = pages(tmp_path)
    assert [(s.counts.finished, s.counts.bad) for s in page.seconds] == [(1, 1)] * 5 + [(5, 0)]


def test_the_live_pages_are_those_on_disk(tmp_path: Path) -> None:

    clock = FakeClock()
    one = recorder(tmp_path, clock)

    async def scenario() -> None:
        one.begin()
        revision = handle(clock)
        for _ in range(5):
            tell(one, revision, Ended(outputs(3.0), ended_s=clock.at_s), 1)
            clock.at_s += 1
        clock.at_s += 1
        await one.settled()

    run(scenario)
    one.close()
    (live,) = [msgspec.json.decode(page, type=Page) for page in one.pages(0, "e")]
    assert (live,) == pages(tmp_path)
    assert [second.at_s for second in live.seconds] == [1000, 1001, 1002, 1003, 1004]
    assert [len(msgspec.json.decode(page, type=Page).seconds) for page in one.pages(1002, None)] == [2]
    assert one.pages(0, "other") == []


def test_a_burst_is_drawn_less_and_less_and_each_block_has_one_rate(tmp_path: Path) -> None:
    """Before the budget knows what sinks cost, what is held of a burst is bounded."""
    clock = FakeClock()
    sink = MemorySink()
    one = recorder(tmp_path, clock, [sink])
    requests = 200_000

    async def scenario() -> None:
        one.begin()
        revision = handle(clock)
        for _ in range(requests):
            tell(one, revision, Ended(outputs(1.0), ended_s=clock.at_s), 10)
        await one.settled()

    run(scenario)
    one.close()
    assert counted(one) == {"200": requests}
    assert sink.requests + sink_counts(one, "dropped")["memory"] < 8 * DRAWN_WHOLE
    blocks = sink.blocks
    rates = [block.rate for block in blocks]
    assert rates == sorted(rates, reverse=True) and rates[0] == 1.0 and rates[-1] < 0.1
    if not sink_counts(one, "dropped")["memory"]:
        assert sum(block.seen for block in blocks) == requests
    for rate in set(rates):
        drawn = sum(len(block.requests) for block in blocks if block.rate == rate)
        seen = sum(block.seen for block in blocks if block.rate == rate)
        assert abs(drawn - rate * seen) <= 6 * (rate * (1 - rate) * seen) ** 0.5 + 1

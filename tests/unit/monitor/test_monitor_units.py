"""The units of a rollout's verdicts: exactly the requests that the split sent, or the first of each user among them."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from engine_fakes import FakeClock, FakeRuntime, revision, sources
from recorder_fakes import Ended, MemorySink, handle, recorder, tell

from seaway.core import ledger
from seaway.core.agreement import Agreed
from seaway.core.answers import AnswerKind, AnswerSpec, count_answers
from seaway.core.ledger import Counts, Page, PairCounts, Second, SliceCounts
from seaway.core.records import SAMPLED, Chosen, RecordRules
from seaway.core.traffic import Limits
from seaway.core.user_keys import UserKey
from seaway.engine.handle import Handle
from seaway.engine.pool import Pool
from seaway.monitor.recording import seconds
from seaway.monitor.recording.recorder import BLOCK_HELD, DRAWN_WHOLE, Recorder
from seaway.monitor.recording.tally import Tally

JUDGED = RecordRules(judged=True, scope=2)
BY_USER = RecordRules(judged=True, unit=UserKey(header="x-user-id"), scope=2)


def outputs(*values: float) -> dict[str, np.ndarray]:
    return {"y": np.array(values, np.float32)}


def run(one: Recorder, scenario: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(60):
            one.begin()
            await scenario()

    asyncio.run(limited())
    one.close()


def pages(root: Path) -> tuple[Page, ...]:
    return seconds.read(root, "e", 0, 10_000)


def total(page: Page, which: str) -> Counts:
    return ledger.merge_counts(getattr(second, which) for second in page.seconds)


def test_units_are_all_requests_but_those_that_the_split_did_not_send(tmp_path: Path) -> None:
    """Against a plain count, over seconds and blocks: requests, codes, latencies, rows, answers and invalid ones."""
    clock, rng = FakeClock(), random.Random(5)
    one = recorder(tmp_path, clock, [MemorySink()], JUDGED)
    wanted = Tally()
    numbers = [1.0, 5.0, 300.0, float("nan")]

    async def scenario() -> None:
        arm = handle(clock)
        for place in range(3 * BLOCK_HELD):
            chosen = rng.choice([*Chosen, *[Chosen.SPLIT] * 5])
            code = rng.choice(["200"] * 8 + ["execution_failed", "deadline_exceeded", "wrong_shape"])
            found = [rng.choice(numbers) for _ in range(rng.randint(1, 3))] if code == "200" else None
            took_s = rng.choice([0.001, 0.02, 0.5])
            made = None if found is None else outputs(*found)
            rows = 1 if found is None else len(found)
            request = Ended(made, code, took_s, clock.at_s, rows=rows, chosen=chosen)
            tell(one, arm, request)
            if chosen in SAMPLED:
                wanted.ended(code, [took_s])
                if made is not None:
                    answers = Counter(_answer(value) for value in found or ())
                    wanted.answered(rows, 0, answers, int(answers["nan"] > 0))
            if place % 500 == 499:
                clock.at_s += 1.0
                await asyncio.sleep(0)

    run(one, scenario)
    (page,) = pages(tmp_path)
    assert len(page.seconds) > 5
    units = total(page, "units")
    expected = wanted.counts()
    assert msgspec.structs.replace(units, cost=(), confidence=()) == expected
    assert total(page, "counts").finished == 3 * BLOCK_HELD > units.finished > 0
    for second in page.seconds:
        assert second.units is not None and second.units.finished <= second.counts.finished


def _answer(value: float) -> str:
    ((name, _),) = count_answers(AnswerSpec(AnswerKind.NUMBER, "y"), outputs(value))[0].items()
    return name


def test_what_was_answered_in_one_second_and_left_in_the_next_is_taken_away_there() -> None:
    """A batch is counted when it was answered, its requests when their answers have left."""
    early, late, later = Tally(), Tally(), Tally()
    apart = Tally()
    early.answered(3, 0, {"a": 2, "b": 1}, 0)
    assert early.without(apart).rows == 3
    late.ended("200", [0.1])
    apart.ended("200", [0.1])
    apart.answered(1, 0, {"a": 1}, 0)
    left = late.without(apart)
    assert (left.finished, left.rows, left.answers, left.latency) == (0, 0, (), ())
    assert not apart.empty and apart.answers["a"] == 1
    later.answered(2, 0, {"a": 2}, 0)
    left = later.without(apart)
    assert (left.rows, left.answers) == (1, (("a", 1),)) and apart.empty


def test_where_not_all_answers_were_looked_at_none_is_a_units() -> None:
    """Under pressure: to take all of some from a part of all would leave answers that nobody gave."""
    many, apart = Tally(), Tally()
    many.answered(100, 60, {"a": 20, "b": 20}, 0)
    apart.answered(50, 0, {"a": 50}, 0)
    left = many.without(apart)
    assert (left.rows, left.unread, left.answers) == (50, 50, ())
    assert apart.empty
    alone = Tally()
    alone.answered(100, 60, {"a": 20, "b": 20}, 0)
    assert alone.without(Tally()).answers == (("a", 20), ("b", 20))


def test_what_is_invalid_is_the_same_apart_and_in_all(tmp_path: Path) -> None:
    """An infinite likelihood too, of classes that are told by them."""
    clock = FakeClock()
    one = recorder(tmp_path, clock, [MemorySink()], JUDGED)
    spec = AnswerSpec(AnswerKind.CLASS, "y", argmax=True, confidence="y")

    async def scenario() -> None:
        arm = handle(clock)
        one._open(arm).subject = msgspec.structs.replace(one._open(arm).subject, answer=spec)
        found = {"y": np.array([[np.inf, 0.0]], np.float32)}
        tell(one, arm, Ended(found, ended_s=clock.at_s, chosen=Chosen.NAMED))
        found = {"y": np.array([[0.5, 0.5]], np.float32)}
        tell(one, arm, Ended(found, ended_s=clock.at_s, chosen=Chosen.SPLIT))

    run(one, scenario)
    (page,) = pages(tmp_path)
    assert (total(page, "counts").invalid, total(page, "units").invalid) == (1, 0)
    assert total(page, "units").answers == (("0", 1),)


def test_answers_beyond_the_classes_that_are_kept_are_taken_from_the_rest() -> None:
    many, apart = Tally(), Tally()
    many.answered(150, 0, {f"c{n}": 1 for n in range(150)}, 0)
    apart.answered(2, 0, {"c3": 1, "c149": 1}, 0)
    left = dict(many.without(apart).answers)
    assert (left.get("c3"), left["…"]) == (None, 49) and apart.empty


def test_a_named_request_does_not_use_up_its_user(tmp_path: Path) -> None:
    clock = FakeClock()
    one = recorder(tmp_path, clock, [MemorySink()], BY_USER)

    async def scenario() -> None:
        arm = handle(clock)
        for user, chosen in (
            (b"ada", Chosen.NAMED),
            (b"ada", Chosen.SPLIT),
            (b"ada", Chosen.SPLIT),
            (b"bob", Chosen.FLAG),
            (b"eve", Chosen.FALLBACK),
            (None, Chosen.SPLIT),
        ):
            headers = {} if user is None else {"x-user-id": user}
            tell(one, arm, Ended(outputs(1.0), ended_s=clock.at_s, headers=headers, chosen=chosen))

    run(one, scenario)
    (page,) = pages(tmp_path)
    assert (total(page, "counts").finished, total(page, "units").finished) == (6, 1)


def test_one_user_is_one_unit_over_both_arms(tmp_path: Path) -> None:
    """Who moved to the candidate as its share grew was a unit of the stable one already; and a request that the candidate
    failed and the stable one answered is one unit: the candidate's failure."""
    clock = FakeClock()
    one = recorder(tmp_path, clock, [MemorySink()], BY_USER)

    async def scenario() -> None:
        stable, candidate = handle(clock), handle(clock, 2)
        tell(one, stable, Ended(outputs(1.0), ended_s=clock.at_s, headers=key(b"ada"), chosen=Chosen.SPLIT))
        tell(
            one, candidate, Ended(outputs(1.0), ended_s=clock.at_s, headers=key(b"ada"), chosen=Chosen.SPLIT)
        )
        failed = Ended(None, "engine_crashed", ended_s=clock.at_s, headers=key(b"bob"), chosen=Chosen.SPLIT)
        tell(one, candidate, failed)
        instead = Ended(outputs(1.0), ended_s=clock.at_s, headers=key(b"bob"), chosen=Chosen.FALLBACK)
        tell(one, stable, instead)

    run(one, scenario)
    first, second = pages(tmp_path)
    assert (total(first, "units").finished, total(first, "units").failed) == (1, 0)
    assert (total(second, "units").finished, total(second, "units").failed) == (1, 1)
    assert (total(first, "counts").finished, total(second, "counts").finished) == (2, 2)


def key(user: bytes) -> dict[str, bytes]:
    return {"x-user-id": user}


def test_the_slice_is_counted_exactly_and_is_a_part_of_the_units(tmp_path: Path) -> None:
    """Against a plain count, over seconds and blocks: the first request of each user in it, and the bad ones of these."""
    clock, rng = FakeClock(), random.Random(7)
    one = recorder(tmp_path, clock, [MemorySink()], BY_USER)
    known: set[bytes] = set()
    finished, bad, units = Counter[int](), Counter[int](), Counter[int]()

    async def scenario() -> None:
        arm = handle(clock)
        for place in range(5 * BLOCK_HELD):
            chosen = rng.choice([Chosen.SLICE, Chosen.SPLIT, Chosen.NAMED])
            user = b"%s-%d" % (chosen.value.encode(), rng.randrange(1000))
            code = rng.choice(["200"] * 6 + ["execution_failed", "overloaded", "wrong_shape", "cancelled"])
            value = rng.choice([1.0, float("nan")])
            made = outputs(value) if code == "200" else None
            tell(one, arm, Ended(made, code, 0.001, clock.at_s, headers=key(user), chosen=chosen))
            if chosen in SAMPLED and user not in known:
                known.add(user)
                units[int(clock.at_s)] += 1
                if chosen is Chosen.SLICE:
                    finished[int(clock.at_s)] += 1
                    harmed = code in ("execution_failed", "overloaded")
                    bad[int(clock.at_s)] += harmed or (made is not None and value != value)
            if place % 1500 == 1499:  # more than one block
                clock.at_s += 1.0
                await asyncio.sleep(0)

    run(one, scenario)
    (page,) = pages(tmp_path)
    told = [second.slice for second in page.seconds]
    assert [0 if one is None else one.finished for one in told] == [finished[at] for at in sorted(units)]
    assert [0 if one is None else one.bad for one in told] == [bad[at] for at in sorted(units)]
    assert [second.units.finished for second in page.seconds if second.units] == list(units.values())
    assert len(told) > 3 and 0 < sum(bad.values()) < sum(finished.values()) < sum(units.values())


def test_a_second_in_which_the_share_changed_has_no_slice_either(tmp_path: Path) -> None:
    clock = FakeClock()
    rules = [BY_USER]
    one = recorder(tmp_path, clock, [MemorySink()], BY_USER)
    one._rules = lambda _: rules[0]

    async def scenario() -> None:
        arm = handle(clock)
        tell(one, arm, Ended(outputs(1.0), ended_s=clock.at_s, headers=key(b"a"), chosen=Chosen.SLICE))
        rules[0] = msgspec.structs.replace(BY_USER, scope=3)
        one.rules_changed()
        tell(one, arm, Ended(outputs(1.0), ended_s=clock.at_s, headers=key(b"b"), chosen=Chosen.SLICE))
        clock.at_s += 1.0
        tell(one, arm, Ended(outputs(1.0), ended_s=clock.at_s, headers=key(b"c"), chosen=Chosen.SLICE))

    run(one, scenario)
    (page,) = pages(tmp_path)
    assert [(second.units is None, second.slice) for second in page.seconds] == [
        (True, None),
        (False, SliceCounts(1, 0)),
    ]


def test_where_users_are_not_told_apart_no_slice_is_counted(tmp_path: Path) -> None:
    clock = FakeClock()
    one = recorder(tmp_path, clock, [MemorySink()], JUDGED)

    async def scenario() -> None:
        arm = handle(clock)
        tell(one, arm, Ended(outputs(1.0), ended_s=clock.at_s, chosen=Chosen.SLICE))
        tell(one, arm, Ended(outputs(1.0), ended_s=clock.at_s, chosen=Chosen.SPLIT))

    run(one, scenario)
    (page,) = pages(tmp_path)
    assert [(second.units or Counts()).finished for second in page.seconds] == [2]
    assert [second.slice for second in page.seconds] == [None]


def test_seconds_that_an_older_version_wrote_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "e" / "seconds"
    folder.mkdir(parents=True)
    counts = msgspec.json.encode(Counts(finished=3)).decode()
    lines = (f'[1,"sha256:1",[5,{counts}]]', f'[1,"sha256:1",[6,{counts},{counts},null]]')
    (folder / "19700101T00-w.jsonl").write_text("\n".join(lines))
    (page,) = pages(tmp_path)
    assert page.seconds == (
        Second(5, Counts(finished=3)),
        Second(6, Counts(finished=3), Counts(finished=3)),
    )


def test_units_are_told_to_the_sinks(tmp_path: Path) -> None:
    clock = FakeClock()
    sink = MemorySink()
    one = recorder(tmp_path, clock, [sink], BY_USER)

    async def scenario() -> None:
        arm = handle(clock)
        for user, chosen in (
            (b"a", Chosen.SPLIT),
            (b"a", Chosen.SPLIT),
            (b"b", Chosen.NAMED),
            (b"b", Chosen.SPLIT),
        ):
            tell(one, arm, Ended(outputs(1.0), ended_s=clock.at_s, headers=key(user), chosen=chosen))

    run(one, scenario)
    assert [unit for block in sink.blocks for unit in block.units] == [True, False, False, True]


def test_failures_that_were_not_drawn_are_told_as_no_units(tmp_path: Path) -> None:
    """They would stand for one each among drawn ones that stand for many."""
    clock = FakeClock()
    sink = MemorySink("sample and failures")
    one = recorder(tmp_path, clock, [sink], JUDGED)

    async def scenario() -> None:
        arm = handle(clock)
        for _ in range(20 * DRAWN_WHOLE):
            tell(one, arm, Ended(None, "internal", ended_s=clock.at_s, chosen=Chosen.SPLIT))

    run(one, scenario)
    (page,) = pages(tmp_path)
    assert total(page, "units").failed == 20 * DRAWN_WHOLE
    told = [unit for block in sink.blocks for unit in block.units]
    assert len(told) == sink.requests > sum(told) >= DRAWN_WHOLE


def test_nothing_is_counted_apart_where_nothing_is_judged(tmp_path: Path) -> None:
    clock = FakeClock()
    sink = MemorySink()
    one = recorder(tmp_path, clock, [sink], RecordRules())

    async def scenario() -> None:
        arm = handle(clock)
        for chosen in Chosen:
            tell(one, arm, Ended(outputs(1.0), ended_s=clock.at_s, chosen=chosen))

    run(one, scenario)
    (page,) = pages(tmp_path)
    assert [second.units for second in page.seconds] == [None]
    assert page.seconds[0].counts.cost == ()
    assert all(block.units == () for block in sink.blocks)


def test_the_cost_and_confidence_of_those_that_were_drawn(tmp_path: Path) -> None:
    clock = FakeClock()
    one = recorder(tmp_path, clock, [MemorySink()], JUDGED)
    spec = AnswerSpec(AnswerKind.CLASS, "label", confidence="sure")

    async def scenario() -> None:
        arm = handle(clock)
        one._open(arm).subject = msgspec.structs.replace(one._open(arm).subject, answer=spec)
        for sure, chosen in ((0.9, Chosen.SPLIT), (0.25, Chosen.SPLIT), (0.5, Chosen.NAMED)):
            found = {"label": np.array([1, 1]), "sure": np.array([[1 - sure, sure], [0.5, 0.5]], np.float32)}
            request = Ended(found, ended_s=clock.at_s, rows=2, chosen=chosen)
            request.batch_rows, request.batch_cpu_s = 4, 0.008  # two of four rows: 4 ms
            tell(one, arm, request)
        tell(one, arm, Ended(None, "execution_failed", ended_s=clock.at_s, chosen=Chosen.SPLIT))

    run(one, scenario)
    (page,) = pages(tmp_path)
    (second,) = page.seconds
    assert second.units is not None
    assert second.counts.cost == ((ledger.latency_bin(0.004), 3),)
    assert second.units.cost == ((ledger.latency_bin(0.004), 2),)
    assert sum(count for _, count in second.counts.confidence) == 3
    # 0.25 stands for a confidence of 0.75; a float of single precision may be just below
    assert [index in (749, 750, 899, 900) for index, _ in second.units.confidence] == [True, True]


def test_a_second_in_which_the_rules_changed_has_no_units(tmp_path: Path) -> None:
    clock = FakeClock()
    rules = [RecordRules()]
    one = recorder(tmp_path, clock, [MemorySink()])
    one._rules = lambda _: rules[0]

    async def scenario() -> None:
        arm = handle(clock)
        for number in range(4):
            rules[0] = RecordRules() if number == 0 else JUDGED
            one.rules_changed()
            tell(one, arm, Ended(outputs(1.0), ended_s=clock.at_s, chosen=Chosen.NAMED))
            if number:
                clock.at_s += 1.0

    run(one, scenario)
    (page,) = pages(tmp_path)
    assert [second.units is None for second in page.seconds] == [True, False, False]
    assert sum(second.counts.finished for second in page.seconds) == 4
    assert [second.units.finished for second in page.seconds[1:] if second.units is not None] == [0, 0]


def test_pairs_stand_in_their_second_at_the_revision_that_was_mirrored_to(tmp_path: Path) -> None:
    """Though it has no request of its own there."""
    clock = FakeClock()
    one = recorder(tmp_path, clock, [MemorySink()], JUDGED)

    async def scenario() -> None:
        candidate = handle(clock, 2)
        for found in (Agreed.SAME, Agreed.SAME, Agreed.DIFFER):
            one.compared(candidate, found, None)
        clock.at_s += 1.0
        one.compared(candidate, Agreed.DROPPED, None)
        tell(one, candidate, Ended(outputs(1.0), ended_s=clock.at_s))
        one.compared(candidate, Agreed.FAILED, None)

    run(one, scenario)
    (page,) = pages(tmp_path)
    assert [second.pairs for second in page.seconds] == [PairCounts(2, 1, 0, 0), PairCounts(0, 0, 1, 1)]
    assert [second.counts.finished for second in page.seconds] == [0, 1]
    (live,) = (msgspec.json.decode(data, type=Page) for data in one.pages(0, "e"))
    assert live == page


def test_a_revision_without_a_model_is_counted_and_kept_from_the_sinks(tmp_path: Path) -> None:
    """Until it has one: its layout of columns is not known before."""
    clock = FakeClock()
    sink = MemorySink("all")
    one = recorder(tmp_path, clock, [sink], JUDGED)

    async def scenario() -> None:
        missing = Handle("e", revision(2), Limits())
        for _ in range(2):
            one.answered(
                missing, Ended(None, "not_ready", ended_s=clock.at_s, chosen=Chosen.SPLIT), "predict"
            )
        pool = Pool(sources(FakeRuntime()), clock)
        pool.load("e", revision(2), Limits())
        loaded = pool.get("e", 2)
        assert loaded is not None
        tell(one, loaded, Ended(outputs(1.0), ended_s=clock.at_s, chosen=Chosen.SPLIT))

    run(one, scenario)
    (page,) = pages(tmp_path)
    assert (total(page, "counts").finished, total(page, "counts").failed) == (3, 2)
    assert (total(page, "units").finished, total(page, "units").failed) == (3, 2)
    assert sink.requests == 1 and len(sink.blocks[0].subject.signature.inputs) == 1


@pytest.mark.parametrize(
    "line",
    [
        '[1,"sha256:1",[10,[5,1,0,0,0,0,0,5,0,[[3,5]],[["a",5]]]]]',
        '[1,"sha256:1",[10,[5,1,0,0,0,0,0,5,0,[[3,5]],[["a",5]]],null]]',
    ],
)
def test_lines_from_before_rollouts_are_read(tmp_path: Path, line: str) -> None:
    folder = tmp_path / "e" / "seconds"
    folder.mkdir(parents=True)
    (folder / "19700101T00-0-7.jsonl").write_text(line + "\n")
    (page,) = seconds.read(tmp_path, "e", 0, 100)
    counts = Counts(finished=5, failed=1, rows=5, latency=((3, 5),), answers=(("a", 5),))
    assert page.seconds == (Second(10, counts),)

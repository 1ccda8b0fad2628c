"""Pairs of mirrored requests where units are by user: of each user the first one counts."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
from engine_fakes import FakeClock
from recorder_fakes import Ended, MemorySink, handle, recorder, tell

from seaway.core.agreement import Agreed
from seaway.core.ledger import PairCounts, merge_pairs
from seaway.core.records import RecordRules
from seaway.core.user_keys import UserKey
from seaway.monitor.recording import seconds
from seaway.monitor.recording.recorder import BLOCK_HELD, Recorder

UNIT = UserKey(header="x-user-id")
BY_USER = RecordRules(judged=True, unit=UNIT, scope=2)
NOT_YET = RecordRules(unit=UNIT, scope=2)


def run(one: Recorder, scenario: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(60):
            one.begin()
            await scenario()

    asyncio.run(limited())
    one.close()


def pairs(root: Path) -> PairCounts:
    found = (second.pairs for page in seconds.read(root, "e", 0, 10_000) for second in page.seconds)
    return merge_pairs(one for one in found if one is not None)


def test_the_first_pair_of_each_user_alone_counts_exactly(tmp_path: Path) -> None:
    """Against a plain count, over seconds and blocks. What was dropped is no pair: its user's next one may be."""
    clock, rng = FakeClock(), random.Random(11)
    one = recorder(tmp_path, clock, [MemorySink()], BY_USER)
    known: set[bytes] = set()
    wanted = Counter[Agreed]()

    async def scenario() -> None:
        arm, candidate = handle(clock), handle(clock, 2)
        for place in range(4 * BLOCK_HELD):
            user = b"%d" % rng.randrange(700)
            if rng.random() < 0.5:  # a unit of the other checks is no pair, and takes no pair away
                header = {"x-user-id": user}
                tell(one, rng.choice([arm, candidate]), Ended(ended_s=clock.at_s, headers=header))
            found = rng.choice([Agreed.DROPPED, *Agreed])
            one.compared(candidate, found, user)
            if found is Agreed.DROPPED or user not in known:
                wanted[found] += 1
            if found is not Agreed.DROPPED:
                known.add(user)
            if place % 900 == 899:
                clock.at_s += 1.0
                await asyncio.sleep(0)

    run(one, scenario)
    found = pairs(tmp_path)
    assert (found.same, found.differ, found.failed, found.dropped) == tuple(wanted[kind] for kind in Agreed)
    assert found.same + found.differ + found.failed == len(known) > 600


def test_a_user_is_a_pair_once_in_each_turn_and_in_none_before_it_is_judged(tmp_path: Path) -> None:
    clock = FakeClock()
    rules = [NOT_YET]
    one = recorder(tmp_path, clock, [MemorySink()], NOT_YET)
    one._rules = lambda _: rules[0]

    async def scenario() -> None:
        candidate = handle(clock, 2)
        for turn in (NOT_YET, BY_USER, msgspec.structs.replace(BY_USER, scope=3)):
            rules[0] = turn
            one.rules_changed()
            for user in (b"a", b"b", b"a"):
                one.compared(candidate, Agreed.DIFFER, user)
            clock.at_s += 1.0

    run(one, scenario)
    assert pairs(tmp_path) == PairCounts(differ=4)


def test_all_workers_of_a_home_know_who_was_a_pair(tmp_path: Path) -> None:
    clock = FakeClock()

    async def scenario() -> None:
        one.compared(handle(clock, 2), Agreed.SAME, b"a")

    for _ in range(2):
        one = recorder(tmp_path, clock, [MemorySink()], BY_USER)
        run(one, scenario)
        clock.at_s += 1.0
    assert pairs(tmp_path) == PairCounts(same=1)

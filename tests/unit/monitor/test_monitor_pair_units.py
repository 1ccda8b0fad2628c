"""Pairs of mirrored requests where units are by user: those of each user's first request count, whenever they come."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
from engine_fakes import FakeClock
from recorder_fakes import Ended, MemorySink, handle, recorder, tell

from seaway.core.agreement import Agreed
from seaway.core.ledger import PairCounts, merge_pairs
from seaway.core.records import Chosen, RecordRules, UnitMark
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


def marked(clock: FakeClock, user: bytes | None, chosen: Chosen = Chosen.SPLIT) -> tuple[Ended, UnitMark]:
    """A request that is mirrored, as the mirror leaves it."""
    headers = {} if user is None else {"x-user-id": user}
    made = {"y": np.array([1.0], np.float32)}
    request = Ended(made, ended_s=clock.at_s, headers=headers, chosen=chosen)
    mark = request.mark = UnitMark()
    return request, mark


def test_pairs_of_first_requests_alone_count_exactly(tmp_path: Path) -> None:
    """Against a plain count, over seconds and blocks, with answers that come at once, in the same second or much later; the
    live arms have blocks of their own, which may be handed over after the pair."""
    clock, rng = FakeClock(), random.Random(11)
    one = recorder(tmp_path, clock, [MemorySink()], BY_USER)
    known: set[bytes] = set()
    wanted = Counter[Agreed]()
    waiting: list[tuple[Agreed, UnitMark]] = []

    async def scenario() -> None:
        arm, candidate = handle(clock), handle(clock, 2)
        for place in range(4 * BLOCK_HELD):
            user = rng.choice([None, *(b"%d" % number for number in range(700))])
            found = rng.choice(list(Agreed))
            request, mark = marked(clock, user, rng.choice([Chosen.SPLIT, Chosen.SLICE]))
            if found is Agreed.DROPPED:
                one.compared(candidate, found, mark)  # before the request is recorded
            tell(one, arm, request)
            if found is not Agreed.DROPPED:
                waiting.append((found, mark))
            if user is not None and user not in known:
                known.add(user)
                wanted[found] += 1
            if rng.random() < 0.5:
                tell(one, candidate, Ended(ended_s=clock.at_s, chosen=Chosen.SPLIT))
            while waiting and rng.random() < 0.5:
                one.compared(candidate, *waiting.pop(rng.randrange(len(waiting))))
            if place % 900 == 899:
                clock.at_s += 1.0
                await asyncio.sleep(0)
        clock.at_s += 3.0
        for late in waiting:
            one.compared(candidate, *late)

    run(one, scenario)
    found = pairs(tmp_path)
    assert (found.same, found.differ, found.failed, found.dropped) == tuple(wanted[kind] for kind in Agreed)
    assert 600 < sum(wanted.values()) <= 700


def test_without_a_key_or_before_it_is_judged_no_pair_is_a_unit(tmp_path: Path) -> None:
    clock = FakeClock()
    rules = [NOT_YET]
    one = recorder(tmp_path, clock, [MemorySink()], NOT_YET)
    one._rules = lambda _: rules[0]

    async def scenario() -> None:
        arm, candidate = handle(clock), handle(clock, 2)
        for user in (b"a", None, b"a", b"b"):
            request, mark = marked(clock, user)
            tell(one, arm, request)
            one.compared(candidate, Agreed.DIFFER, mark)
            if user is None:
                rules[0] = BY_USER
                clock.at_s += 1.0
                one.rules_changed()
        clock.at_s += 1.0

    run(one, scenario)
    assert pairs(tmp_path) == PairCounts(differ=2)

"""The ledger of a worker with very many endpoints: written in turns, kept in bounded memory, and nothing of it lost."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import msgspec
import numpy as np
import pytest
from engine_fakes import SIGNATURE, FakeClock
from recorder_fakes import Ended, handle, recorder, tell

from seaway.core.ledger import Counts, Page, Second
from seaway.core.records import RecordRules
from seaway.monitor.recording import keeping, live_ledger, seconds
from seaway.monitor.recording.live_ledger import LiveLedger
from seaway.monitor.sinks import Subject


def subject(endpoint: str) -> Subject:
    return Subject(endpoint, 1, "sha256:1", "m:v1", SIGNATURE, None, RecordRules())


@pytest.mark.parametrize("endpoints", [1, 99, 100, 101, 700, 3000])
def test_every_endpoint_has_its_turn_and_few_are_written_at_once(endpoints: int) -> None:
    """With traffic on all of them in every second."""
    waiting: list[tuple[Subject, Second]] = []
    written: Counter[tuple[str, int]] = Counter()
    known = [subject(f"e-{number}") for number in range(endpoints)]
    most = max(keeping.MOST_FILES, -(-endpoints // keeping.LONGEST_S))
    for at_s in range(20):
        waiting += [(one, Second(at_s, Counts(finished=1))) for one in known]
        due, left = keeping.in_turn(waiting)
        assert len({one.endpoint for one, _ in due}) == min(most, endpoints)
        assert not {one.endpoint for one, _ in due} & {one.endpoint for one, _ in left}
        written.update((one.endpoint, second.at_s) for one, second in due)
        waiting = left
        assert all(second.at_s > at_s - keeping.LONGEST_S for _, second in waiting)
        assert len(waiting) <= keeping.MOST_SECONDS
    written.update((one.endpoint, second.at_s) for one, second in waiting)
    assert written == {(one.endpoint, at_s): 1 for one in known for at_s in range(20)}


def test_all_is_on_the_disk_once_the_recorder_is_closed(tmp_path: Path) -> None:
    clock = FakeClock()
    one = recorder(tmp_path, clock)
    names = [f"e-{number}" for number in range(keeping.MOST_FILES + 50)]

    async def scenario() -> None:
        one.begin()
        arms = [handle(clock, endpoint=name) for name in names]
        for _ in range(3):
            for arm in arms:
                tell(one, arm, Ended({"y": np.ones(1, np.float32)}, ended_s=clock.at_s))
            clock.at_s += 1.0
            await one.settled()

    asyncio.run(scenario())
    one.close()
    for name in names:
        (page,) = seconds.read(tmp_path, name, 0, 10_000)
        assert [second.counts.finished for second in page.seconds] == [1, 1, 1]


def test_in_memory_the_oldest_go_first_whosever_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_ledger, "MOST_ENTRIES", 6)
    live = LiveLedger()
    for at_s in range(1, 5):
        for name in ("a", "b"):
            live.add(subject(name), Second(at_s, Counts(finished=at_s)))
    live.add(subject("b"), Second(5, Counts(finished=5)))

    def found(after_s: int, endpoint: str | None) -> dict[str, list[int]]:
        pages = [msgspec.json.decode(one, type=Page) for one in live.pages(after_s, endpoint)]
        return {page.endpoint: [second.at_s for second in page.seconds] for page in pages}

    assert found(0, None) == {"a": [3, 4], "b": [2, 3, 4, 5]}
    assert found(3, "b") == {"b": [4, 5]}
    assert found(0, "c") == {}
    live.add(subject("b"), Second(live_ledger.KEEP_S + 5, Counts(finished=1)))
    assert found(0, None) == {"b": [5, live_ledger.KEEP_S + 5]}

"""The recorder and what it is not told by the book: odd answers, swapped models, clocks that jump, queues that fill."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from engine_fakes import FakeClock
from recorder_fakes import Ended, handle, recorder, tell

from seaway.core.ledger import Counts, merge_counts
from seaway.monitor.recording import seconds
from seaway.monitor.recording.recorder import Recorder


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

"""Chores of the control process: each in its own rhythm, none ended by another's fault."""

from __future__ import annotations

import asyncio
import logging

import pytest

from seaway.control.upkeep import Chore, Upkeep
from seaway.testing.clock import VirtualClock


def test_a_chore_that_fails_is_said_once_and_the_others_go_on(caplog: pytest.LogCaptureFixture) -> None:
    done: list[str] = []
    full = True

    def fails(_now_s: float) -> None:
        done.append("fails")
        if full:
            raise OSError(28, "No space left on device")

    async def scenario() -> None:
        nonlocal full
        chores = [Chore("fails", 0.0, fails), Chore("works", 0.0, lambda _: done.append("works"))]
        running = asyncio.create_task(Upkeep(chores, VirtualClock()).run())
        async with asyncio.timeout(60):
            while done.count("fails") < 3 or done.count("works") < 3:
                await asyncio.sleep(0)
            full = False
            before = done.count("fails")
            while done.count("fails") < before + 3:
                await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    with caplog.at_level(logging.WARNING):
        asyncio.run(scenario())
    said = [record.getMessage() for record in caplog.records]
    assert said == ["fails: OSError: [Errno 28] No space left on device", "fails: works again"]

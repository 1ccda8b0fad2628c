"""From many threads onto one loop: everything arrives, in each thread's order, and nothing is left behind."""

from __future__ import annotations

import asyncio
import threading

import pytest

from seaway.serve.loop_bridge import LoopBridge


def test_every_post_of_every_thread_arrives_in_its_order() -> None:
    async def scenario() -> None:
        bridge = LoopBridge(asyncio.get_running_loop())
        here = threading.get_ident()
        found: list[tuple[int, int]] = []
        ran_on: set[int] = set()
        complete = asyncio.Event()

        def note(thread: int, number: int) -> None:
            ran_on.add(threading.get_ident())
            found.append((thread, number))
            if len(found) == 8 * 2000:
                complete.set()

        def post(thread: int) -> None:
            for number in range(2000):
                bridge.post(lambda number=number: note(thread, number))  # type: ignore[misc]

        threads = [threading.Thread(target=post, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        async with asyncio.timeout(60):
            await complete.wait()
        for thread in threads:
            thread.join()
        assert ran_on == {here}
        for n in range(8):
            assert [number for thread, number in found if thread == n] == list(range(2000))

    asyncio.run(scenario())


def test_a_call_gives_back_what_it_returns_or_raises() -> None:
    async def scenario() -> None:
        bridge = LoopBridge(asyncio.get_running_loop())
        assert await asyncio.to_thread(bridge.call, lambda: 7) == 7
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(bridge.call, lambda: 1 // 0)

    asyncio.run(scenario())

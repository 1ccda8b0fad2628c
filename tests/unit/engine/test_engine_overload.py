"""Overload: a model works only for answers that come in time. A virtual clock, real threads, no waiting."""

from __future__ import annotations

import asyncio
import heapq
import random
import threading
from collections.abc import Callable

import numpy as np
import pytest
from engine_fakes import SIGNATURE, FakeClock, FakeModel

from seaway.core.errors import SeawayError, TemporaryError
from seaway.core.tensors import Tensors
from seaway.core.traffic import Limits
from seaway.engine.predictor import Predictor

ROW = {"x": np.array([1.0], np.float32)}
ANSWER = {"y": np.array([2.0], np.float32)}


class _Run:
    """One call of the model, held until the virtual clock is at its end."""

    def __init__(self, end_s: float, in_time: bool) -> None:
        self.end_s = end_s
        self.in_time = in_time
        self.let_go = threading.Event()

    def __lt__(self, other: _Run) -> bool:
        return self.end_s < other.end_s


class TimedModel:
    """A model whose calls take as long as `service_s` says by the virtual clock; it stops at its deadline."""

    signature = SIGNATURE

    def __init__(self, clock: FakeClock, service_s: Callable[[], float]) -> None:
        self.clock, self.service_s = clock, service_s
        self.runs: list[_Run] = []
        self.started = 0

    def predict(self, inputs: Tensors, timeout_s: float | None = None) -> Tensors:
        assert timeout_s is not None
        service_s = self.service_s()
        run = _Run(self.clock.at_s + min(service_s, timeout_s), service_s <= timeout_s)
        heapq.heappush(self.runs, run)
        self.started += 1
        assert run.let_go.wait(10)
        if not run.in_time:
            raise TemporaryError("deadline_exceeded", "stopped")
        return ANSWER

    def close(self) -> None: ...


class Drive:
    """Sends requests into a predictor as the virtual clock comes to them, and ends the model's calls."""

    def __init__(self, mean_s: float, threads: int, limits: Limits, spread: float) -> None:
        self.random = random.Random(7)
        self.clock = FakeClock()
        self.model = TimedModel(self.clock, lambda: mean_s * self.random.uniform(1 - spread, 1 + spread))
        self.threads = threads
        self.predictor = Predictor(self.model, limits, self.clock, threads)
        self.open: set[asyncio.Task[Tensors]] = set()
        self.ended: dict[str, int] = {}
        self.started_before = 0

    async def settle(self) -> None:
        """Until every thread runs the model or no request waits for one."""
        for _ in range(1_000_000):
            await asyncio.sleep(0)
            for task in [task for task in self.open if task.done()]:
                self.open.remove(task)
                error = task.exception()
                code = (
                    "answered"
                    if error is None
                    else error.code
                    if isinstance(error, SeawayError)
                    else repr(error)
                )
                self.ended[code] = self.ended.get(code, 0) + 1
            if len(self.model.runs) == min(self.threads, len(self.open)):
                return
        raise AssertionError("the predictor never came to rest")

    async def until(self, at_s: float) -> None:
        """Let the clock come to `at_s`, ending the calls whose time comes before."""
        while self.model.runs and self.model.runs[0].end_s <= at_s:
            run = heapq.heappop(self.model.runs)
            self.clock.at_s = run.end_s
            run.let_go.set()
            await self.settle()
        self.clock.at_s = at_s

    async def send(self) -> None:
        self.open.add(asyncio.ensure_future(self.predictor.predict(ROW, self.clock.at_s)))
        await self.settle()


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("mean_s", "spread"), [(0.05, 0.5), (0.2, 0.5), (0.4, 0.0)])
def test_three_times_the_capacity_leaves_at_least_85_percent_of_the_answers(
    threads: int, mean_s: float, spread: float
) -> None:
    async def main() -> None:
        drive = Drive(mean_s, threads, Limits(), spread)
        began_s = drive.clock.at_s
        every_s = mean_s / threads / 3
        for _ in range(600):
            await drive.until(drive.clock.at_s + drive.random.expovariate(1 / every_s))
            await drive.send()
        capacity = (drive.clock.at_s - began_s) * threads / mean_s
        answered = drive.ended["answered"]
        await drive.until(drive.clock.at_s + 10.0)
        drive.predictor.close()
        assert answered >= 0.85 * capacity, drive.ended
        assert set(drive.ended) <= {"answered", "overloaded", "deadline_exceeded"}
        assert drive.ended["overloaded"] > 300

    asyncio.run(main())


def test_one_that_cannot_be_answered_in_time_is_refused_with_when_to_come_back() -> None:
    async def main() -> None:
        drive = Drive(0.4, 1, Limits(deadline_s=1.0), 0.0)
        await drive.send()
        await drive.until(drive.clock.at_s + 0.4)  # an execution is known to take 0.4 s
        for _ in range(3):
            await drive.send()
        assert drive.ended == {
            "answered": 1,
            "overloaded": 1,
        }  # one runs, one waits, a third would end after 1.2 s
        with pytest.raises(TemporaryError) as caught:
            await drive.predictor.predict(ROW, drive.clock.at_s)
        assert caught.value.code == "overloaded"
        assert caught.value.retry_after_s == pytest.approx(0.8)
        await drive.until(drive.clock.at_s + 0.8)
        assert drive.ended == {"answered": 3, "overloaded": 1}
        drive.predictor.close()

    asyncio.run(main())


def test_no_run_starts_with_less_than_the_mean_left() -> None:
    async def main() -> None:
        drive = Drive(0.4, 1, Limits(deadline_s=1.0), 0.0)
        await drive.send()
        await drive.until(drive.clock.at_s + 0.4)
        drive.model.service_s = lambda: 0.7  # longer than the mean told, when the second was admitted
        await drive.send()
        await drive.send()
        await drive.until(drive.clock.at_s + 0.7)
        assert drive.ended == {"answered": 2, "overloaded": 1}
        assert drive.model.started == 2
        drive.predictor.close()

    asyncio.run(main())


def test_a_model_that_was_slow_once_is_tried_again() -> None:
    async def main() -> None:
        drive = Drive(5.0, 1, Limits(deadline_s=1.0), 0.0)
        await drive.send()
        await drive.until(drive.clock.at_s + 1.0)  # the mean is now the whole deadline
        drive.model.service_s = lambda: 0.01
        for _ in range(50):
            await drive.send()
            await drive.until(drive.clock.at_s + 0.01)
        for _ in range(10):
            await drive.send()
        await drive.until(drive.clock.at_s + 1.0)
        assert drive.ended == {"deadline_exceeded": 1, "answered": 60}
        drive.predictor.close()

    asyncio.run(main())


def test_runs_that_the_deadline_cut_off_never_lower_the_mean() -> None:
    async def main() -> None:
        clock, model = FakeClock(), FakeModel()

        def takes(seconds: float, cut_off: bool) -> Callable[[Tensors], Tensors]:
            def answer(inputs: Tensors) -> Tensors:
                clock.at_s += seconds
                if cut_off:
                    raise TemporaryError("deadline_exceeded", "stopped")
                return ANSWER

            return answer

        predictor = Predictor(model, Limits(deadline_s=1.0), clock, threads=1)
        model.answer = takes(0.6, cut_off=False)
        await predictor.predict(ROW, clock.at_s)
        model.answer = takes(0.01, cut_off=True)
        for _ in range(30):
            with pytest.raises(TemporaryError):
                await predictor.predict(ROW, clock.at_s - 0.99)
        model.answer = None
        model.gate = threading.Event()
        running = asyncio.ensure_future(predictor.predict(ROW, clock.at_s))
        await asyncio.sleep(0)
        with pytest.raises(TemporaryError, match="too many"):
            await predictor.predict(ROW, clock.at_s)  # 0.6 s and 0.6 s are more than the deadline
        model.gate.set()
        await running
        predictor.close()

    asyncio.run(main())

"""One model's queue: neighbours, deadline, overload."""

from __future__ import annotations

import asyncio
import threading

import numpy as np
import pytest
from engine_fakes import FakeClock, FakeModel

from seaway.core.errors import PermanentError, TemporaryError, UserError
from seaway.core.traffic import Limits
from seaway.engine.predictor import Predictor
from seaway.wiring.clock import SystemClock


def rows(*values: float) -> dict[str, np.ndarray]:
    return {"x": np.array(values, np.float32)}


def test_a_failing_input_never_fails_its_neighbours() -> None:
    async def main() -> list[object]:
        clock = SystemClock()
        predictor = Predictor(FakeModel(), Limits(deadline_s=5.0), clock, threads=2)
        now = clock.monotonic_s()
        calls = [predictor.predict(rows(-1.0 if n == 5 else float(n)), now) for n in range(10)]
        found = await asyncio.gather(*calls, return_exceptions=True)
        predictor.close()
        return list(found)

    found = asyncio.run(main())
    assert isinstance(found.pop(5), PermanentError)
    assert [item["y"].tolist() for item in found] == [[2.0 * n] for n in range(10) if n != 5]  # type: ignore[index]


def test_tensors_that_do_not_fit_never_reach_the_model() -> None:
    async def main() -> None:
        model = FakeModel()
        predictor = Predictor(model, Limits(), FakeClock(), threads=1)
        for bad, code in (
            ({}, "missing_input"),
            ({"x": np.array([1.0])}, "wrong_dtype"),
            ({"x": np.ones((1, 1), np.float32)}, "wrong_shape"),
            (rows(1.0, float("nan")), "invalid_value"),
        ):
            with pytest.raises(UserError) as caught:
                await predictor.predict(bad, 1000.0)
            assert caught.value.code == code
        assert model.calls == []
        predictor.close()

    asyncio.run(main())


def test_the_model_gets_what_is_left_of_the_deadline() -> None:
    async def main() -> None:
        clock, model = FakeClock(), FakeModel()
        predictor = Predictor(model, Limits(deadline_s=3.0), clock, threads=1)
        await predictor.predict(rows(1.0), clock.at_s - 1.0)
        assert model.calls[0][1] == pytest.approx(2.0)
        predictor.close()

    asyncio.run(main())


def test_the_deadline_answers_though_the_model_is_stuck_and_what_waits_is_dropped_unrun() -> None:
    async def main() -> None:
        clock, model = SystemClock(), FakeModel()
        model.gate = threading.Event()
        predictor = Predictor(model, Limits(deadline_s=0.05), clock, threads=1)
        now = clock.monotonic_s()
        calls = [predictor.predict(rows(float(n)), now) for n in (1, 2, 3)]
        for found in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(found, TemporaryError)
            assert found.code == "deadline_exceeded"
        model.gate.set()
        predictor.close()
        assert len(model.calls) == 1

    asyncio.run(main())


def test_a_queue_longer_than_its_limit_in_time_refuses_at_once() -> None:
    async def main() -> None:
        clock, model = FakeClock(), FakeModel()

        def takes_a_second(inputs: object) -> dict[str, np.ndarray]:
            clock.at_s += 1.0
            return rows(0.0) | {"y": np.zeros(1, np.float32)}

        model.answer = takes_a_second  # type: ignore[assignment]
        predictor = Predictor(model, Limits(deadline_s=60.0, queue_s=2.0), clock, threads=1)
        await predictor.predict(rows(1.0), clock.at_s)  # now an execution is known to take 1 s
        model.gate = threading.Event()
        waiting = [asyncio.ensure_future(predictor.predict(rows(1.0), clock.at_s)) for _ in range(3)]
        await asyncio.to_thread(model.entered.acquire)
        await asyncio.to_thread(model.entered.acquire)
        with pytest.raises(TemporaryError) as caught:
            await predictor.predict(rows(1.0), clock.at_s)
        assert caught.value.code == "overloaded"
        assert caught.value.retry_after_s == pytest.approx(3.0)
        model.gate.set()
        await asyncio.gather(*waiting)
        await predictor.predict(rows(1.0), clock.at_s)
        predictor.close()

    asyncio.run(main())

"""Answers that come piece by piece."""

from __future__ import annotations

import asyncio
import threading

import numpy as np
import pytest
from engine_fakes import FakeModel, Steps, digest

from seaway.core.errors import PermanentError, TemporaryError, UserError
from seaway.core.traffic import Limits
from seaway.engine import streams
from seaway.engine.jobs import Job
from seaway.engine.predictor import Predictor
from seaway.wiring.clock import SystemClock


def predictor_of(model: FakeModel | Steps, deadline_s: float = 5.0) -> Predictor:
    return Predictor(model, digest("a"), Limits(deadline_s=deadline_s), SystemClock())


def job_of(steps: float) -> Job:
    return Job({"x": np.array([steps], np.float32)}, 0.0, lambda job: None)


def test_replies_come_one_after_the_other() -> None:
    async def main() -> None:
        predictor = predictor_of(Steps())
        stream = predictor.stream(job_of(3))
        assert predictor.facts().streams == predictor.facts().in_flight == 1
        assert [reply["y"].tolist() async for reply in stream] == [[0.0], [1.0], [2.0]]
        assert predictor.facts().in_flight == 0
        await stream.aclose()
        predictor.close()

    asyncio.run(main())


def test_a_reader_who_leaves_ends_the_work_within_one_step() -> None:
    async def main() -> None:
        model = Steps()
        model.go = threading.Semaphore(1)
        predictor = predictor_of(model)
        stream = predictor.stream(job_of(1000))
        assert (await anext(stream))["y"].tolist() == [0.0]
        waiting = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert predictor.facts().in_flight == 0
        model.go.release()
        assert await asyncio.to_thread(model.closed.wait, 5)
        assert model.made <= 2
        predictor.close()

    asyncio.run(main())


def test_a_reply_later_than_the_deadline_ends_the_stream() -> None:
    async def main() -> None:
        model = Steps()
        model.go = threading.Semaphore(0)
        predictor = predictor_of(model, 0.02)
        stream = predictor.stream(job_of(2))
        with pytest.raises(TemporaryError) as caught:
            await anext(stream)
        assert caught.value.code == "deadline_exceeded"
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        predictor.close()
        model.go.release()
        assert await asyncio.to_thread(model.closed.wait, 5)

    asyncio.run(main())


def test_a_fault_of_the_model_and_what_cannot_be_streamed_are_said() -> None:
    async def main() -> None:
        predictor = predictor_of(Steps())
        with pytest.raises(PermanentError, match="ValueError"):
            await anext(predictor.stream(job_of(-1)))
        with pytest.raises(UserError) as caught:
            predictor_of(FakeModel()).stream(job_of(1))
        assert caught.value.code == "stream_only"
        predictor.close()
        with pytest.raises(TemporaryError, match="taken away"):
            predictor.stream(job_of(1))

    asyncio.run(main())


def test_v01_no_more_streams_than_a_model_may_hold_are_opened() -> None:
    async def main() -> None:
        predictor = predictor_of(Steps())
        held = [predictor.stream(job_of(1)) for _ in range(streams.MOST)]
        with pytest.raises(TemporaryError) as caught:
            predictor.stream(job_of(1))
        assert caught.value.code == "overloaded"
        for stream in held:
            await stream.aclose()
        assert [reply async for reply in predictor.stream(job_of(1))]
        predictor.close()

    asyncio.run(main())

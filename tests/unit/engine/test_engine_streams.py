"""Answers that come piece by piece."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from engine_fakes import FakeModel, Steps, digest

from seaway.core.errors import PermanentError, TemporaryError, UserError
from seaway.core.tensors import Tensors
from seaway.core.traffic import Limits
from seaway.engine import streams
from seaway.engine.jobs import Job, Unscreened
from seaway.engine.predictor import Predictor
from seaway.wiring.clock import SystemClock


def predictor_of(model: FakeModel | Steps, deadline_s: float = 60.0) -> Predictor:
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
        model.go.release()
        assert await asyncio.to_thread(model.closed.wait, 60)
        assert model.made <= 2
        async with asyncio.timeout(60):
            while predictor.facts().in_flight:
                await asyncio.sleep(0)
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
        assert await asyncio.to_thread(model.closed.wait, 60)

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


def test_f02_a_stream_that_ends_its_process_is_blamed_where_it_was_alone() -> None:
    class Ends(Steps):
        def stream(self, inputs: Tensors, timeout_s: float | None = None) -> Iterator[Tensors]:
            yield {"y": inputs["x"]}
            raise TemporaryError("engine_crashed", "the model's own process was ended")

    async def main() -> None:
        blamed: list[Job] = []

        class Remembers(Unscreened):
            def crashed(self, jobs: Sequence[Job]) -> None:
                blamed.extend(jobs)

        predictor = Predictor(Ends(), digest("a"), Limits(deadline_s=60.0), SystemClock(), screen=Remembers())
        one, other = job_of(1), job_of(2)
        for job, in_company in ((one, False), (other, True)):
            company = predictor.stream(job_of(3)) if in_company else None
            stream = predictor.stream(job)
            await anext(stream)
            with pytest.raises(TemporaryError, match="ended"):
                await anext(stream)
            if company is not None:
                await company.aclose()
        assert blamed == [one]
        predictor.close()

    asyncio.run(main())


def test_a_step_that_goes_on_after_its_stream_was_left_holds_its_place_and_is_stuck_in_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(streams, "STUCK_S", 0.0)

    async def main() -> None:
        model = Steps()
        model.go = threading.Semaphore(0)
        predictor = predictor_of(model, deadline_s=0.02)
        stream = predictor.stream(job_of(2))
        with pytest.raises(TemporaryError, match="no reply"):
            await anext(stream)
        assert predictor.facts().streams == 1
        async with asyncio.timeout(60):
            while not predictor.stuck:
                await asyncio.sleep(0.001)
            model.go.release()
            while predictor.facts().streams:
                await asyncio.sleep(0.001)
        assert not predictor.stuck
        predictor.close()

    asyncio.run(main())

"""One model's two lanes: batches, neighbours, deadlines, what leaves the event loop's thread and what stays."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Sequence

import numpy as np
import pytest
from engine_fakes import SIGNATURE, FakeClock, FakeCpu, FakeModel, digest, predict

from seaway.core.errors import PermanentError, SeawayError, TemporaryError, UserError
from seaway.core.ports import Clock, LoadedModel
from seaway.core.tensors import DType, Signature, Tensors, TensorSpec
from seaway.core.traffic import Limits
from seaway.engine.jobs import Job, Learned, Screen, Watcher
from seaway.engine.predictor import Predictor
from seaway.wiring.clock import SystemClock

CHEAP = Learned(1e-5, 1e-7, 10)
COSTLY = Learned(0.004, 0.0001, 10)


def rows(*values: float) -> dict[str, np.ndarray]:
    return {"x": np.array(values, np.float32)}


def predictor_of(
    model: LoadedModel,
    learned: Learned | None = COSTLY,
    limits: Limits | None = None,
    clock: Clock | None = None,
    watcher: Watcher | None = None,
    screen: Screen | None = None,
) -> Predictor:
    limits = limits or Limits(deadline_s=10.0)
    return Predictor(model, digest("a"), limits, clock or SystemClock(), watcher, screen, learned)


class Sent:
    """Jobs of one test, and their answers in the order in which they came."""

    def __init__(self, predictor: Predictor, clock: Clock) -> None:
        self.predictor, self.clock = predictor, clock
        self.jobs: list[Job] = []
        self.done: list[Job] = []

    def send(self, *values: float, caller: str = "") -> Job:
        job = Job(rows(*values), self.clock.monotonic_s(), self.done.append, caller)
        self.predictor.submit(job)
        self.jobs.append(job)
        return job

    async def all_done(self) -> None:
        await until(lambda: len(self.done) == sum(not job.cancelled for job in self.jobs))
        self.predictor.close()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds():
            await asyncio.sleep(0)


def run(main: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(main())  # type: ignore[arg-type]


@pytest.mark.parametrize("learned", [CHEAP, COSTLY, None])
def test_one_bad_row_never_fails_its_neighbours(learned: Learned | None) -> None:
    async def main() -> None:
        predictor = predictor_of(FakeModel(), learned)
        sent = Sent(predictor, SystemClock())
        for n in range(10):
            sent.send(-1.0 if n == 5 else float(n))
        await sent.all_done()
        bad = sent.jobs.pop(5)
        assert isinstance(bad.error, PermanentError)
        assert [job.outputs["y"].tolist() for job in sent.jobs if job.outputs] == [
            [2.0 * n] for n in range(10) if n != 5
        ]

    run(main)


@pytest.mark.parametrize("learned", [CHEAP, COSTLY])
def test_jobs_of_one_tick_are_one_batch_and_each_gets_its_own_rows(learned: Learned) -> None:
    async def main() -> None:
        model = FakeModel()
        sent = Sent(predictor_of(model, learned), SystemClock())
        sent.send(1.0)
        sent.send(2.0, 3.0)
        sent.send(4.0)
        await sent.all_done()
        assert [len(call["x"]) for call, _ in model.calls] == [4]
        assert [job.outputs["y"].tolist() for job in sent.jobs if job.outputs] == [[2.0], [4.0, 6.0], [8.0]]
        assert [job.batch_rows for job in sent.jobs] == [4, 4, 4]
        assert all(job.queue_s >= 0 and job.run_s > 0 for job in sent.jobs)
        facts = sent.predictor.facts()
        assert (facts.rows, sum(facts.batches), facts.batches[2], facts.in_flight) == (4, 1, 1, 0)
        assert sum(facts.queue_counts) == 3

    run(main)


def test_a_tick_is_split_at_the_most_rows_and_a_huge_job_goes_to_the_thread() -> None:
    async def main() -> None:
        model, threads = FakeModel(), []

        def answer(inputs: Tensors) -> Tensors:
            threads.append((len(inputs["x"]), threading.current_thread() is threading.main_thread()))
            return {"y": inputs["x"]}

        model.answer = answer
        predictor = predictor_of(model, CHEAP, Limits(deadline_s=10.0, max_rows=4))
        sent = Sent(predictor, SystemClock())
        for n in range(10):
            sent.send(float(n))
        sent.send(*range(50))
        await sent.all_done()
        assert sorted(threads) == [(2, True), (4, True), (4, True), (50, False)]

    run(main)


def test_costly_models_run_on_a_thread_cheap_ones_on_the_loops() -> None:
    async def main() -> None:
        for learned, inline in ((CHEAP, True), (COSTLY, False), (None, False)):
            model, found = FakeModel(), []

            def answer(inputs: Tensors, found: list[bool] = found) -> Tensors:
                found.append(threading.current_thread() is threading.main_thread())
                return {"y": inputs["x"]}

            model.answer = answer
            sent = Sent(predictor_of(model, learned), SystemClock())
            assert sent.predictor.facts().lane == ("inline" if inline else "thread")
            sent.send(1.0)
            await sent.all_done()
            assert found == [inline]

    run(main)


def test_a_model_that_computes_too_long_inline_leaves(cpu: FakeCpu) -> None:
    async def main() -> None:
        model = FakeModel()

        def answer(inputs: Tensors) -> Tensors:
            cpu.at_s += 0.008
            return {"y": inputs["x"]}

        model.answer = answer
        sent = Sent(predictor_of(model, CHEAP), SystemClock())
        sent.send(1.0)
        await until(lambda: len(sent.done) == 1)
        assert sent.predictor.facts().lane == "thread"
        learned = sent.predictor.learned()
        assert learned.inline_left == 1
        assert (
            predictor_of(FakeModel(), Learned(1e-5, 0.0, 99, inline_allowed=False)).facts().lane == "thread"
        )
        await sent.all_done()

    run(main)


def test_time_in_which_the_thread_did_not_run_is_no_overrun() -> None:
    async def main() -> None:
        clock, model = FakeClock(), FakeModel()

        def answer(inputs: Tensors) -> Tensors:
            clock.at_s += 0.05
            return {"y": inputs["x"]}

        model.answer = answer
        sent = Sent(predictor_of(model, CHEAP, clock=clock), clock)
        sent.send(1.0)
        await until(lambda: len(sent.done) == 1)
        assert sent.predictor.learned().inline_allowed
        assert sent.predictor.facts().lane == "inline"
        await sent.all_done()

    run(main)


def test_p13_an_inline_run_is_stopped_soon_and_goes_on_in_the_thread() -> None:
    async def main() -> None:
        model = FakeModel()
        model.answer = lambda inputs: {"y": inputs["x"]}
        stopped: list[float | None] = []

        class Stops(FakeModel):
            def predict(self, inputs: Tensors, timeout_s: float | None = None) -> Tensors:
                stopped.append(timeout_s)
                if threading.current_thread() is threading.main_thread():
                    raise TemporaryError("deadline_exceeded", "stopped")
                return super().predict(inputs, timeout_s)

        clock = FakeClock()
        sent = Sent(predictor_of(Stops(), CHEAP, clock=clock), clock)
        sent.send(3.0)
        await sent.all_done()
        assert sent.jobs[0].outputs is not None
        assert stopped == [pytest.approx(0.1), pytest.approx(10.0)]

    run(main)


def test_tensors_that_do_not_fit_never_reach_the_model() -> None:
    async def main() -> None:
        model = FakeModel()
        predictor = predictor_of(model)
        for bad, code in (
            ({}, "missing_input"),
            ({"x": np.array([1.0])}, "wrong_dtype"),
            ({"x": np.ones((1, 1), np.float32)}, "wrong_shape"),
            (rows(1.0, float("nan")), "invalid_value"),
        ):
            with pytest.raises(UserError) as caught:
                predictor.submit(Job(bad, 1000.0, lambda job: None))
            assert caught.value.code == code
        assert model.calls == []
        predictor.close()

    run(main)


def test_what_agrees_only_in_the_first_axis_shares_a_batch() -> None:
    async def main() -> None:
        shape = (-1, -1)
        signature = Signature((TensorSpec("x", DType.FP32, shape),), (TensorSpec("y", DType.FP32, shape),))
        for learned in (CHEAP, COSTLY):
            model = FakeModel()
            model.signature = signature
            predictor = predictor_of(model, learned)
            done: list[Job] = []
            for width in (3, 5, 3, 5, 3):
                predictor.submit(
                    Job({"x": np.full((1, width), width, np.float32)}, time.monotonic(), done.append)
                )
            await until(lambda done=done: len(done) == 5)
            assert sorted(call["x"].shape for call, _ in model.calls) == [(2, 5), (3, 3)]
            assert all(job.outputs and job.outputs["y"].shape == job.tensors["x"].shape for job in done)
            predictor.close()

    run(main)


@pytest.mark.parametrize("learned", [CHEAP, COSTLY])
def test_a_model_whose_outputs_are_not_rows_is_found_out_and_runs_each_alone(learned: Learned) -> None:
    async def main() -> None:
        model = FakeModel(lambda inputs: {"y": inputs["x"].sum(keepdims=True).astype(np.float32)})
        sent = Sent(predictor_of(model, learned), SystemClock())
        for n in (1.0, 2.0, 3.0):
            sent.send(n)
        await until(lambda: len(sent.done) == 3)
        for n in (4.0, 5.0):
            sent.send(n)
        await sent.all_done()
        assert [job.outputs["y"].tolist() for job in sent.jobs if job.outputs] == [
            [1.0],
            [2.0],
            [3.0],
            [4.0],
            [5.0],
        ]
        assert [len(call["x"]) for call, _ in model.calls] == [3, 1, 1, 1, 1, 1]
        assert not sent.predictor.learned().batchable

    run(main)


def test_the_longest_deadline_of_a_batch_is_the_models_and_a_cancelled_job_is_dropped_unrun() -> None:
    async def main() -> None:
        clock, model = FakeClock(), FakeModel()
        model.gate = threading.Event()
        sent = Sent(predictor_of(model, limits=Limits(deadline_s=3.0), clock=clock), clock)
        sent.send(1.0)
        await asyncio.to_thread(model.entered.acquire)
        assert model.calls[0][1] == pytest.approx(3.0)
        gone = sent.send(2.0)
        clock.at_s += 1.0
        sent.send(3.0)
        sent.send(4.0)
        gone.cancel()
        model.gate.set()
        await sent.all_done()
        assert [call["x"].tolist() for call, _ in model.calls] == [[1.0], [3.0, 4.0]]
        assert model.calls[1][1] == pytest.approx(3.0)
        assert gone not in sent.done

    run(main)


def test_v07_the_deadline_answers_though_the_model_hangs_and_what_waits_is_dropped_unrun() -> None:
    async def main() -> None:
        clock, model = FakeClock(), FakeModel()
        model.gate = threading.Event()
        sent = Sent(predictor_of(model, None, Limits(deadline_s=0.02), clock), clock)
        sent.send(1.0)
        await asyncio.to_thread(model.entered.acquire)
        sent.send(2.0)
        clock.at_s += 0.03
        await until(lambda: len(sent.done) == 2)
        assert [job.error.code for job in sent.done if job.error] == ["deadline_exceeded"] * 2
        model.gate.set()
        await sent.all_done()
        assert len(model.calls) == 1
        assert sent.predictor.facts().dropped_late == 1

    run(main)


def test_f01_a_run_that_never_ends_is_reported_and_the_queue_refused_at_once() -> None:
    async def main() -> None:
        clock, model = FakeClock(), FakeModel()
        model.gate = threading.Event()
        sent = Sent(predictor_of(model, limits=Limits(deadline_s=0.02), clock=clock), clock)
        sent.send(1.0)
        await asyncio.to_thread(model.entered.acquire)
        assert not sent.predictor.stuck
        clock.at_s += 5.1
        await until(lambda: sent.predictor.stuck)
        with pytest.raises(TemporaryError, match="stuck"):
            sent.send(2.0)
        model.gate.set()
        await until(lambda: not sent.predictor.stuck)
        sent.send(3.0)
        await sent.all_done()

    run(main)


def test_the_watcher_sees_every_run_and_the_screen_the_jobs_of_a_crash() -> None:
    class Watch:
        seen: list[object]

        def __init__(self) -> None:
            self.seen = []

        def enter(self, of: object) -> int:
            self.seen.append(of)
            return len(self.seen)

        def leave(self, place: int) -> None:
            self.seen.append(place)

    class Blame:
        blamed: Sequence[Job] = ()

        def admit(self, job: Job) -> None:
            if job.tensors["x"][0] == 9:
                raise UserError("quarantined", "no")
            job.alone = bool(job.tensors["x"][0] == 7)

        def crashed(self, jobs: Sequence[Job]) -> None:
            self.blamed = list(jobs)

    def crash(inputs: Tensors) -> Tensors:
        if len(inputs["x"]) == 2:
            raise TemporaryError("engine_crashed", "gone")
        return {"y": inputs["x"]}

    async def main() -> None:
        for learned in (CHEAP, COSTLY):
            watch, blame = Watch(), Blame()
            model = FakeModel(crash)
            sent = Sent(predictor_of(model, learned, watcher=watch, screen=blame), SystemClock())
            with pytest.raises(UserError):
                sent.send(9.0)
            for n in (1.0, 7.0, 2.0):
                sent.send(n)
            await sent.all_done()
            assert sorted(len(call["x"]) for call, _ in model.calls) == [1, 2] or len(model.calls) == 3
            assert set(blame.blamed) <= {sent.jobs[0], sent.jobs[2]}
            assert sent.jobs[1].outputs is not None
            assert len(watch.seen) == 2 * len(model.calls)

    run(main)


def test_a_fault_in_one_answer_does_not_keep_others_from_theirs() -> None:
    async def main() -> None:
        faults: list[object] = []
        asyncio.get_running_loop().set_exception_handler(
            lambda loop, context: faults.append(context["exception"])
        )

        def breaks(job: Job) -> None:
            raise ZeroDivisionError

        for learned in (CHEAP, COSTLY):
            sent = Sent(predictor_of(FakeModel(), learned), SystemClock())
            sent.predictor.submit(Job(rows(1.0), time.monotonic(), breaks))
            sent.send(2.0)
            await sent.all_done()
        assert [type(fault) for fault in faults] == [ZeroDivisionError] * 2

    run(main)


def test_closing_answers_what_waits_and_refuses_what_comes() -> None:
    async def main() -> None:
        for learned in (CHEAP, COSTLY):
            sent = Sent(predictor_of(FakeModel(), learned), SystemClock())
            sent.send(1.0)
            sent.predictor.close()
            assert isinstance(sent.jobs[0].error, SeawayError)
            assert sent.jobs[0].error.code == "not_ready"
            with pytest.raises(TemporaryError, match="taken away"):
                sent.send(2.0)

    run(main)


def test_predict_waits_for_the_answer_and_takes_a_cancelled_job_back() -> None:
    async def main() -> None:
        model, clock = FakeModel(), FakeClock()
        predictor = predictor_of(model, clock=clock)
        assert (await predict(predictor, rows(4.0), clock.monotonic_s()))["y"].tolist() == [8.0]
        with pytest.raises(PermanentError):
            await predict(predictor, rows(-4.0), clock.monotonic_s())
        model.gate = threading.Event()
        first = asyncio.ensure_future(predict(predictor, rows(1.0), clock.monotonic_s()))
        await until(lambda: len(model.calls) == 3)
        waiting = asyncio.ensure_future(predict(predictor, rows(2.0), clock.monotonic_s()))
        await asyncio.sleep(0)
        waiting.cancel()
        model.gate.set()
        await first
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await predict(predictor, rows(3.0), clock.monotonic_s())
        assert [call["x"].tolist() for call, _ in model.calls][2:] == [[1.0], [3.0]]
        predictor.close()

    run(main)


def test_a_signature_without_a_free_first_axis_is_never_batched() -> None:
    async def main() -> None:
        model = FakeModel()
        model.signature = Signature((TensorSpec("x", DType.FP32, (1,)),), SIGNATURE.outputs)
        sent = Sent(predictor_of(model), SystemClock())
        for n in range(3):
            sent.send(float(n))
        await sent.all_done()
        assert [len(call["x"]) for call, _ in model.calls] == [1, 1, 1]

    run(main)


def test_a_caller_in_a_hurry_is_answered_at_its_own_deadline_behind_others_with_time() -> None:
    async def main() -> None:
        clock, model = FakeClock(), FakeModel()
        model.gate = threading.Event()
        sent = Sent(predictor_of(model, None, clock=clock), clock)
        sent.send(1.0)
        await asyncio.to_thread(model.entered.acquire)
        hurried = Job(rows(2.0), clock.at_s, sent.done.append)
        hurried.deadline_s = clock.at_s + 0.02
        sent.predictor.submit(hurried)
        sent.jobs.append(hurried)
        clock.at_s += 0.03
        await until(lambda: sent.done == [hurried])
        assert hurried.error is not None and hurried.error.code == "deadline_exceeded"
        model.gate.set()
        await sent.all_done()
        assert len(model.calls) == 1

    run(main)


def test_callers_with_no_time_do_not_throw_a_model_out_of_the_inline_lane() -> None:
    async def main() -> None:
        clock = FakeClock()

        class Stops(FakeModel):
            def predict(self, inputs: Tensors, timeout_s: float | None = None) -> Tensors:
                if timeout_s is not None and timeout_s < 0.01:
                    clock.at_s += timeout_s
                    raise TemporaryError("deadline_exceeded", "stopped")
                return super().predict(inputs, timeout_s)

        sent = Sent(predictor_of(Stops(), CHEAP, clock=clock), clock)
        for _ in range(5):
            job = Job(rows(1.0), clock.at_s, sent.done.append)
            job.deadline_s = clock.at_s + 0.005
            sent.predictor.submit(job)
            sent.jobs.append(job)
            await until(lambda: len(sent.done) == len(sent.jobs))
        assert sent.predictor.facts().lane == "inline"
        await sent.all_done()

    run(main)


def test_a_batch_may_run_until_its_longest_deadline_in_the_inline_lane() -> None:
    async def main() -> None:
        model, clock = FakeModel(), FakeClock()
        sent = Sent(predictor_of(model, CHEAP, clock=clock), clock)
        sent.send(1.0)
        hurried = Job(rows(2.0), clock.at_s, sent.done.append)
        hurried.deadline_s = clock.at_s + 0.001
        sent.predictor.submit(hurried)
        sent.jobs.append(hurried)
        await sent.all_done()
        assert [timeout_s for _, timeout_s in model.calls] == [pytest.approx(0.1)]

    run(main)


def stalled(clock: FakeClock, model: FakeModel, times: int) -> None:
    """The machine stands still in the next so many runs on the event loop's thread, which are stopped."""
    left = [times]

    def answer(inputs: Tensors) -> Tensors:
        if left[0] and threading.current_thread() is threading.main_thread():
            left[0] -= 1
            clock.at_s += 0.1
            raise TemporaryError("deadline_exceeded", "stopped")
        return {"y": inputs["x"]}

    model.answer = answer


def test_a_model_that_a_noisy_machine_threw_out_of_the_inline_lane_comes_back() -> None:
    async def main() -> None:
        clock, model = FakeClock(), FakeModel()
        sent = Sent(predictor_of(model, CHEAP, clock=clock), clock)

        async def ask(times: int) -> str:
            for _ in range(times):
                sent.send(1.0)
                await until(lambda: len(sent.done) == len(sent.jobs))
            return sent.predictor.facts().lane

        stalled(clock, model, 3)
        assert await ask(5) == "thread"
        clock.at_s += 50
        assert await ask(5) == "thread"
        clock.at_s += 20
        assert await ask(5) == "inline"
        stalled(clock, model, 3)
        assert await ask(5) == "thread"
        clock.at_s += 70
        assert await ask(5) == "thread"  # each time for twice as long
        clock.at_s += 60
        assert await ask(5) == "inline"
        learned = sent.predictor.learned()
        await sent.all_done()

        sent = Sent(predictor_of(model, learned, clock=clock), clock)
        assert sent.predictor.facts().lane == "inline"
        stalled(clock, model, 3)
        assert await ask(5) == "thread"
        clock.at_s += 200
        assert await ask(5) == "thread"  # it knows how often its predecessor had it leave
        clock.at_s += 41
        assert await ask(5) == "inline"
        await sent.all_done()

    run(main)


@pytest.mark.parametrize("learned", [CHEAP, COSTLY])
@pytest.mark.parametrize("garbage", [None, {"y": [1.0]}, {"y": None}])
def test_a_runtime_that_answers_garbage_fails_those_requests_and_no_other(
    learned: Learned, garbage: object
) -> None:
    async def main() -> None:
        model = FakeModel(lambda inputs: garbage)  # type: ignore[arg-type, return-value]
        sent = Sent(predictor_of(model, learned), SystemClock())
        for value in (1.0, 2.0, 3.0):
            sent.send(value)
        await until(lambda: len(sent.done) == 3)
        assert {job.error.code for job in sent.done if job.error} == {"internal"}
        model.answer = None
        sent.send(4.0)
        await sent.all_done()
        assert sent.jobs[-1].outputs is not None

    run(main)

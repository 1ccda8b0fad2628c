"""Whatever comes in whatever order: every job is answered once, with its own rows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from engine_fakes import predict
from hypothesis import given, settings
from hypothesis import strategies as st

from seaway.core.bundles import Digest
from seaway.core.errors import PermanentError, SeawayError, TemporaryError
from seaway.core.tensors import DType, InputCheck, Signature, Tensors, TensorSpec, check_inputs, check_missing
from seaway.core.traffic import Limits
from seaway.engine.batches import gather, scatter
from seaway.engine.jobs import Job, Learned
from seaway.engine.predictor import Predictor
from seaway.testing import tiny_models
from seaway.testing.clock import VirtualClock
from seaway.wiring import adapters
from seaway.wiring.clock import SystemClock

SIGNATURE = Signature(
    (TensorSpec("x", DType.FP32, (-1,)), TensorSpec("wide", DType.FP32, (-1, -1))),
    (TensorSpec("y", DType.FP32, (-1,)),),
)
DIGEST = Digest("sha256:" + "a" * 64)
CHEAP, COSTLY = Learned(1e-5, 1e-7, 9), Learned(0.004, 0.0001, 9)


class Moody:
    """Doubles its rows; a row of -1 fails, -2 is a fault of the runtime's own, -3 means that its process has ended."""

    signature = SIGNATURE

    def predict(self, inputs: Tensors, timeout_s: float | None = None) -> Tensors:
        x = np.asarray(inputs["x"], np.float32)
        assert inputs["wide"].shape[0] == len(x)
        if (x == -3).any():
            raise TemporaryError("engine_crashed", "gone")
        if (x == -2).any():
            raise ZeroDivisionError
        if (x == -1).any():
            raise PermanentError("execution_failed", "a bad row")
        return {"y": x * np.float32(2)}

    def close(self) -> None: ...


JOBS = st.lists(
    st.tuples(
        st.lists(st.sampled_from([1.0, 2.0, 3.0, 4.0, -1.0, -2.0, -3.0]), min_size=0, max_size=5),  # rows
        st.integers(1, 3),  # the other input's width
        st.sampled_from(["a", "b", "c"]),  # caller
        st.sampled_from(["stay", "stay", "stay", "cancel", "late", "pause"]),
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(jobs=JOBS, learned=st.sampled_from([None, CHEAP, COSTLY]), most=st.sampled_from([1, 4, 64]))
def test_every_job_is_answered_exactly_once_with_its_own_rows(
    jobs: list[tuple[list[float], int, str, str]], learned: Learned | None, most: int
) -> None:
    async def main() -> None:
        clock = VirtualClock()  # one that stands still for seconds would have jobs refused
        predictor = Predictor(Moody(), DIGEST, Limits(deadline_s=30.0, max_rows=most), clock, learned=learned)
        answers: list[Job] = []
        open_jobs: list[Job] = []
        refused = 0
        for values, width, caller, fate in jobs:
            tensors = {"x": np.array(values, np.float32), "wide": np.zeros((len(values), width), np.float32)}
            came_s = clock.monotonic_s() - (31.0 if fate == "late" else 0.0)
            job = Job(tensors, came_s, answers.append, caller)
            try:
                predictor.submit(job)
            except SeawayError as error:
                assert (fate, error.code) == ("late", "deadline_exceeded")
                refused += 1
                continue
            if fate == "cancel":
                job.cancel()
            else:
                open_jobs.append(job)
            if fate == "pause":
                await asyncio.sleep(0)
        await until(lambda: len(answers) == len(open_jobs))
        await until(lambda: predictor.facts().in_flight == 0)
        predictor.close()
        assert sorted(map(id, answers)) == sorted(map(id, open_jobs))
        assert predictor.facts().queued_rows == 0
        for job in open_jobs:
            mine = job.tensors["x"].tolist()
            if job.outputs is not None:
                assert job.outputs["y"].tolist() == [2 * value for value in mine]
            else:
                assert job.error is not None
                # A crash is everybody's in the batch; any other failure is the job's own.
                own = {-1.0: "execution_failed", -2.0: "internal", -3.0: "engine_crashed"}
                codes = {own[value] for value in mine if value in own} | {
                    "engine_crashed",
                    "deadline_exceeded",
                }
                assert job.error.code in codes

    asyncio.run(main())


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds():
            await asyncio.sleep(0)


@given(counts=st.lists(st.integers(1, 6), min_size=1, max_size=8), width=st.integers(1, 4))
def test_what_is_put_together_comes_apart_the_same(counts: list[int], width: int) -> None:
    jobs = []
    for number, count in enumerate(counts):
        array = np.full((count, width), number, np.float32)
        job = Job({"x": array, "name": np.array([str(number)] * count, object)}, 0.0, lambda job: None)
        job.rows = count
        jobs.append(job)
    parts = scatter(gather(jobs), jobs, sum(counts))
    assert parts is not None
    for job, part in zip(jobs, parts, strict=True):
        assert all(np.array_equal(job.tensors[name], part[name]) for name in job.tensors)
    assert scatter({"y": np.zeros(sum(counts) + 1)}, jobs, sum(counts)) is None
    assert scatter({"y": np.zeros(())}, jobs, sum(counts)) is None


@pytest.mark.parametrize("learned", [CHEAP, COSTLY])
def test_the_same_rows_in_the_same_batch_give_the_same_bits(tmp_path: Path, learned: Learned) -> None:
    bundle = tiny_models.linear(tmp_path / "m", 0.25, [f"c{n}" for n in range(30)])
    model = adapters.runtime("onnx").load(bundle)
    chance = np.random.default_rng(3)
    values = chance.normal(size=(12, 30)).astype(np.float32)
    whole = model.predict({"x": values})["y"]

    async def main() -> list[np.ndarray]:
        done: list[Job] = []
        predictor = Predictor(model, DIGEST, Limits(deadline_s=30.0), SystemClock(), learned=learned)
        jobs = [Job({"x": row[None]}, SystemClock().monotonic_s(), done.append) for row in values]
        for job in jobs:
            predictor.submit(job)
        await until(lambda: len(done) == len(jobs))
        assert {job.batch_rows for job in jobs} == {12}
        alone = await predict(predictor, {"x": values[:1]}, SystemClock().monotonic_s())
        assert np.allclose(np.asarray(alone["y"]), whole[:1], rtol=1e-5, atol=1e-6)
        predictor.close()
        return [np.asarray(job.outputs["y"]) for job in jobs if job.outputs]

    assert np.array_equal(np.concatenate(asyncio.run(main())), whole)


SHAPES = st.sampled_from([(), (0,), (2,), (1, 3), (2, 3), (0, 3), (2, 4), (2, 3, 1)])
DTYPES = st.sampled_from([np.float32, np.float64, np.float16, np.int64])


@given(
    given=st.dictionaries(
        st.sampled_from(["a", "b", "c"]), st.tuples(SHAPES, DTYPES, st.booleans()), max_size=3
    ),
    axes=st.lists(st.sampled_from([(-1, 3), (2, 3), (-1, -1), (-1,)]), min_size=1, max_size=2),
    dtype=st.sampled_from([DType.FP32, DType.FP16, DType.INT64]),
)
def test_the_prepared_check_says_what_the_plain_one_says(
    given: dict[str, tuple[tuple[int, ...], type, bool]], axes: list[tuple[int, ...]], dtype: DType
) -> None:
    signature = Signature(
        tuple(TensorSpec(name, dtype, shape) for name, shape in zip("ab", axes, strict=False)), ()
    )
    tensors: dict[str, np.ndarray] = {}
    for name, (shape, kind, gone) in given.items():
        array = np.ones(shape, kind)
        if gone and array.size and array.dtype.kind == "f":
            array.flat[-1] = np.nan
        tensors[name] = array

    def told(rows: Callable[[], int], missing: Callable[[], None]) -> object:
        try:
            found = rows()
            missing()
        except SeawayError as error:
            return error.code, error.message, error.hint
        return found

    check = InputCheck(signature)
    assert told(lambda: check.rows(tensors), lambda: check.missing(tensors)) == told(
        lambda: check_inputs(signature, tensors), lambda: check_missing(signature, tensors)
    )

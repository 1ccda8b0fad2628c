"""Models that do what a test tells them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator

import numpy as np

from seaway.core.bundles import Digest, Manifest, OpenedBundle, Source, Task
from seaway.core.errors import PermanentError
from seaway.core.records import Chosen
from seaway.core.tensors import DType, Signature, Tensors, TensorSpec
from seaway.core.traffic import RoutedRevision
from seaway.engine.jobs import Job
from seaway.engine.pool import Sources
from seaway.engine.predictor import Predictor

SIGNATURE = Signature((TensorSpec("x", DType.FP32, (-1,)),), (TensorSpec("y", DType.FP32, (-1,)),))


class FakeClock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.at_s = 1000.0

    def now_s(self) -> float:
        return self.at_s

    def monotonic_s(self) -> float:
        return self.at_s


class FakeCpu:
    """The CPU time of all threads, which a test moves."""

    def __init__(self) -> None:
        self.at_s = 0.0

    def thread_time(self) -> float:
        return self.at_s


class FakeModel:
    """Doubles its input; negative rows make it fail; waits for `gate` where one is set."""

    signature = SIGNATURE

    def __init__(self, answer: Callable[[Tensors], Tensors] | None = None) -> None:
        self.answer = answer
        self.gate: threading.Event | None = None
        self.entered = threading.Semaphore(0)
        self.calls: list[tuple[Tensors, float | None]] = []
        self.closed = False

    def predict(self, inputs: Tensors, timeout_s: float | None = None) -> Tensors:
        self.calls.append((inputs, timeout_s))
        self.entered.release()
        if self.gate is not None:
            assert self.gate.wait(60)
        if (np.asarray(inputs["x"]) < 0).any():  # type: ignore[operator]
            raise PermanentError("execution_failed", "a negative row")
        if self.answer is not None:
            return self.answer(inputs)
        return {"y": np.asarray(inputs["x"]) * np.float32(2)}  # type: ignore[operator]

    def close(self) -> None:
        self.closed = True


class FakeRuntime:
    """Remembers every model that it loads."""

    formats = ("onnx",)

    def __init__(self, answer: Callable[[Tensors], Tensors] | None = None) -> None:
        self.models: list[FakeModel] = []
        self.answer = answer

    def load(self, bundle: OpenedBundle) -> FakeModel:
        model = FakeModel(self.answer)
        self.models.append(model)
        return model


class Steps:
    """A streaming model: as many replies as the first row says; each waits for `go` where that is set."""

    signature = SIGNATURE

    def __init__(self) -> None:
        self.go: threading.Semaphore | None = None
        self.closed = threading.Event()
        self.made = 0

    def predict(self, inputs: Tensors, timeout_s: float | None = None) -> Tensors:
        return {"y": inputs["x"]}

    def stream(self, inputs: Tensors, timeout_s: float | None = None) -> Iterator[Tensors]:
        try:
            for n in range(int(np.asarray(inputs["x"])[0])):
                if self.go is not None:
                    assert self.go.acquire(timeout=60)
                self.made += 1
                yield {"y": np.array([n], np.float32)}
            if (np.asarray(inputs["x"]) < 0).any():  # type: ignore[operator]
                raise ValueError("a fault of the model's own")
        finally:
            self.closed.set()

    def close(self) -> None: ...


class Asked:
    """A request that looks for its revision."""

    def __init__(self, request_id: str = "key", **headers: str) -> None:
        """Header names with `_` for `-`."""
        self.chosen = Chosen.ONLY
        self.request_id = request_id.encode()
        self._headers = {name.replace("_", "-"): value.encode() for name, value in headers.items()}

    def header(self, name: str) -> bytes | None:
        return self._headers.get(name)


def digest(letter: str) -> Digest:
    return Digest("sha256:" + letter * 64)


def revision(number: int, letter: str = "a", percent: float = 100.0) -> RoutedRevision:
    return RoutedRevision(number, digest(letter), f"/bundles/{letter}", f"m:v{number}", percent)


def sources(runtime: FakeRuntime, sample: Tensors | None = None, damaged: str = "-") -> Sources:
    def open_bundle(wanted: RoutedRevision) -> OpenedBundle:
        if wanted.digest == digest(damaged[0]):
            raise PermanentError("digest_mismatch", "one bit is flipped")
        manifest = Manifest("m", Task.OTHER, "model.onnx", SIGNATURE, Source("onnx"), ())
        return OpenedBundle(wanted.digest, manifest, wanted.bundle, wanted.ref, 1)

    return Sources(open_bundle=open_bundle, runtime=lambda _: runtime, sample=lambda _: sample)


async def predict(predictor: Predictor, tensors: Tensors, received_s: float) -> Tensors:
    """Submit and wait; a caller that is cancelled cancels its job."""
    answered: asyncio.Future[Tensors] = asyncio.get_running_loop().create_future()

    def done(job: Job) -> None:
        if job.error is not None:
            answered.set_exception(job.error)
        elif job.outputs is not None:
            answered.set_result(job.outputs)

    job = Job(tensors, received_s, done)
    predictor.submit(job)
    try:
        return await answered
    except asyncio.CancelledError:
        job.cancel()
        raise

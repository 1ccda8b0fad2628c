"""One model's way from tensors to tensors: signature check, bounded queue, deadline, execution on a thread."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from seaway.core.errors import TemporaryError
from seaway.core.ports import Clock, LoadedModel
from seaway.core.tensors import Tensors, check_inputs, check_missing
from seaway.core.traffic import Limits

_SMOOTHING: Final = 0.1  # weight of the newest execution in the running mean of execution times


class Predictor:
    """Runs requests for one model, each by itself, so that a failing one never fails its neighbours.

    The queue is bounded by time: a request that would wait longer than `limits.queue_s`, by the running mean of
    execution times, is refused at once; one whose deadline passes while it waits is dropped unrun.
    """

    def __init__(self, model: LoadedModel, limits: Limits, clock: Clock, threads: int) -> None:
        self._model = model
        self._limits = limits
        self._clock = clock
        self._threads = threads
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="seaway-predict")
        self._lock = threading.Lock()
        self._waiting = 0
        self._mean_s = 0.0

    async def predict(self, tensors: Tensors, received_at_s: float) -> Tensors:
        """Outputs by name. `received_at_s` is when the request came, on the clock's monotonic scale.

        Raises `UserError` where the tensors do not fit, `TemporaryError` (`overloaded`, `deadline_exceeded`),
        and what the model raises.
        """
        check_inputs(self._model.signature, tensors)
        check_missing(self._model.signature, tensors)
        deadline_s = received_at_s + self._limits.deadline_s
        wait_s = self._waiting * self._mean_s / self._threads
        if wait_s > self._limits.queue_s:
            raise TemporaryError(
                "overloaded", "too many requests wait for this model", "try again later", retry_after_s=wait_s
            )
        with self._lock:
            self._waiting += 1
        future = self._executor.submit(self._run, tensors, deadline_s)
        future.add_done_callback(self._leave)
        try:
            async with asyncio.timeout(max(0.0, deadline_s - self._clock.monotonic_s())):
                return await asyncio.wrap_future(future)
        except TimeoutError as error:
            raise self._late() from error

    def close(self) -> None:
        """Take no more requests. Those that run finish on their threads."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _run(self, tensors: Tensors, deadline_s: float) -> Tensors:
        started_s = self._clock.monotonic_s()
        if started_s >= deadline_s:
            raise self._late()
        try:
            return self._model.predict(tensors, deadline_s - started_s)
        finally:
            took_s = self._clock.monotonic_s() - started_s
            with self._lock:
                self._mean_s += (took_s - self._mean_s) * (_SMOOTHING if self._mean_s else 1.0)

    def _leave(self, future: Future[Tensors]) -> None:
        with self._lock:
            self._waiting -= 1

    def _late(self) -> TemporaryError:
        return TemporaryError(
            "deadline_exceeded", f"no answer within the endpoint's deadline of {self._limits.deadline_s:g} s"
        )

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

    The queue is bounded by time. By the running mean of execution times, a request is refused at once where it would
    wait longer than `limits.queue_s` or could not be answered before its deadline, and one that waited is dropped
    unrun where less than the mean is left: under overload the model works only for answers that come in time.
    A request that finds a thread free always runs, so that the mean follows a model that becomes faster.
    """

    def __init__(self, model: LoadedModel, limits: Limits, clock: Clock, threads: int) -> None:
        self._model = model
        self._limits = limits
        self._clock = clock
        self._threads = threads
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="seaway-predict")
        self._lock = threading.Lock()
        self._inside = 0  # requests that wait or run
        self._running_since_s: list[float] = []
        self._mean_s = 0.0

    async def predict(self, tensors: Tensors, received_at_s: float) -> Tensors:
        """Outputs by name. `received_at_s` is when the request came, on the clock's monotonic scale.

        Raises `UserError` where the tensors do not fit, `TemporaryError` (`overloaded`, `deadline_exceeded`),
        and what the model raises.
        """
        check_inputs(self._model.signature, tensors)
        check_missing(self._model.signature, tensors)
        deadline_s = received_at_s + self._limits.deadline_s
        now_s = self._clock.monotonic_s()
        with self._lock:
            queued = self._inside >= self._threads
            wait_s = self._wait_s(now_s) if queued else 0.0
            if wait_s > self._limits.queue_s or (queued and wait_s + self._mean_s > deadline_s - now_s):
                raise self._overloaded(wait_s)
            self._inside += 1
        future = self._executor.submit(self._run, tensors, deadline_s, queued)
        future.add_done_callback(self._leave)
        try:
            async with asyncio.timeout(max(0.0, deadline_s - self._clock.monotonic_s())):
                return await asyncio.wrap_future(future)
        except TimeoutError as error:
            raise self._late() from error

    def close(self) -> None:
        """Take no more requests. Those that run finish on their threads."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _wait_s(self, now_s: float) -> float:
        """When a thread will be free for one more request: what is left of those that run, and all that wait."""
        left_s = sum(max(0.0, self._mean_s - (now_s - since_s)) for since_s in self._running_since_s)
        waiting = self._inside - len(self._running_since_s)
        return (left_s + waiting * self._mean_s) / self._threads

    def _run(self, tensors: Tensors, deadline_s: float, queued: bool) -> Tensors:
        started_s = self._clock.monotonic_s()
        left_s = deadline_s - started_s
        if left_s <= 0:
            raise self._late()
        with self._lock:
            if queued and left_s < self._mean_s:
                raise self._overloaded(self._wait_s(started_s))
            self._running_since_s.append(started_s)
        cut_off = False
        try:
            return self._model.predict(tensors, left_s)
        except TemporaryError:
            cut_off = True
            raise
        finally:
            took_s = self._clock.monotonic_s() - started_s
            with self._lock:
                self._running_since_s.remove(started_s)
                # A run that its deadline cut off would have taken longer: it can raise the mean, never lower it.
                if not cut_off or took_s > self._mean_s:
                    self._mean_s += (took_s - self._mean_s) * (_SMOOTHING if self._mean_s else 1.0)

    def _leave(self, future: Future[Tensors]) -> None:
        with self._lock:
            self._inside -= 1

    def _overloaded(self, wait_s: float) -> TemporaryError:
        return TemporaryError(
            "overloaded", "too many requests wait for this model", "try again later", retry_after_s=wait_s
        )

    def _late(self) -> TemporaryError:
        return TemporaryError(
            "deadline_exceeded", f"no answer within the endpoint's deadline of {self._limits.deadline_s:g} s"
        )

"""The thread that writes outcomes: requests that wait at the same time share one transaction, and so one fsync.

Made by wiring in the control process; `control.feedback` submits to it.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Final, NamedTuple, TypeAlias

from seaway.core.errors import PermanentError, SeawayError, TemporaryError
from seaway.core.feedback import Fact, FeedbackAnswer
from seaway.core.ports import Clock
from seaway.monitor.feedback.outcomes import BATCH, Outcomes

_MOST_WAITING: Final = 400_000
"""Facts. Beyond, feedback is refused: memory stays bounded."""
_MOST_TOGETHER: Final = 50_000
"""Facts in one transaction."""
_TICK_S: Final = 0.5
_FORGET_S: Final = 600.0
_log = logging.getLogger(__name__)


class _Add(NamedTuple):
    facts: Sequence[Fact]
    done: Future[FeedbackAnswer]


class _Erase(NamedTuple):
    request_ids: Sequence[str]
    done: Future[int]


_Job: TypeAlias = _Add | _Erase


class OutcomeWriter:
    """Thread-safe. Starts its thread when made; `close` writes what waits."""

    def __init__(self, outcomes: Outcomes, clock: Clock) -> None:
        self._outcomes = outcomes
        self._clock = clock
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._waiting = 0
        self._closed = False
        self._said = ""
        self._behind = False
        self._next_forget_s = clock.monotonic_s()
        self._thread = threading.Thread(target=self._run, name="seaway-outcomes", daemon=True)
        self._thread.start()

    def add(self, facts: Sequence[Fact]) -> Future[FeedbackAnswer]:
        """The answer comes when the facts are durable; its errors are those of `Outcomes`.

        Raises `TemporaryError` (`overloaded`, `draining`).
        """
        done: Future[FeedbackAnswer] = Future()
        self._submit(_Add(facts, done), len(facts))
        return done

    def erase(self, request_ids: Sequence[str]) -> Future[int]:
        """Delete all that was told of these requests; how many facts that were."""
        done: Future[int] = Future()
        self._submit(_Erase(request_ids, done), 0)
        return done

    def close(self) -> None:
        """Blocks until what was submitted is done. Idempotent."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._jobs.put(None)
        self._thread.join()

    def _submit(self, job: _Job, facts: int) -> None:
        with self._lock:
            if self._closed:
                raise TemporaryError("draining", "the control process is stopping")
            if self._waiting and self._waiting + facts > _MOST_WAITING:
                raise TemporaryError("overloaded", "more feedback waits than can be written")
            self._waiting += facts
            job.done.set_running_or_notify_cancel()  # whoever asked may go away; it is written all the same
            self._jobs.put(job)

    def _run(self) -> None:
        more = True
        while more:
            jobs, more = self._collect()
            adds = [job for job in jobs if isinstance(job, _Add)]
            if adds:
                self._add(adds)
            for job in jobs:
                if isinstance(job, _Erase):
                    self._erase(job)
            self._tick()
        self._outcomes.close()

    def _collect(self) -> tuple[list[_Job], bool]:
        """What waits, at most one transaction's worth; whether more may come."""
        jobs: list[_Job] = []
        size = 0
        try:
            job = self._jobs.get(timeout=0.001 if self._behind else _TICK_S)
            while job is not None:
                jobs.append(job)
                size += len(job.facts) if isinstance(job, _Add) else 0
                if size >= _MOST_TOGETHER:
                    return jobs, True
                job = self._jobs.get_nowait()
        except queue.Empty:
            return jobs, True
        return jobs, False

    def _add(self, adds: Sequence[_Add]) -> None:
        try:
            answers = self._outcomes.add([job.facts for job in adds], self._clock.now_s())
        except Exception as error:  # noqa: BLE001 - the thread's edge: who waits is told, and the thread goes on
            if isinstance(error, PermanentError) and error.code == "disk_full" and len(adds) > 1:
                for job in adds:  # what fits by itself is not refused for its neighbours
                    self._add([job])
                return
            for job in adds:
                job.done.set_exception(error)
        else:
            for job, answer in zip(adds, answers, strict=True):
                job.done.set_result(answer)
        with self._lock:
            self._waiting -= sum(len(job.facts) for job in adds)

    def _erase(self, job: _Erase) -> None:
        try:
            job.done.set_result(self._outcomes.erase(job.request_ids))
        except Exception as error:  # noqa: BLE001 - as in `_add`
            job.done.set_exception(error)

    def _tick(self) -> None:
        """What is due by itself; an error (a full disk) leaves it due."""
        try:
            now_s, at_s = self._clock.now_s(), self._clock.monotonic_s()
            self._behind = self._outcomes.retry(now_s) >= BATCH
            if at_s >= self._next_forget_s and self._outcomes.forget(now_s) < BATCH:
                self._next_forget_s = at_s + _FORGET_S
        except SeawayError as error:
            self._say(error.code)
        except Exception as error:  # noqa: BLE001 - the thread's edge: feedback is taken although a retry fails
            self._say(f"internal: {type(error).__name__}")

    def _say(self, code: str) -> None:
        """Once for each kind of error, until another comes."""
        if code != self._said:
            self._said = code
            _log.warning("outcomes wait: %s", code)

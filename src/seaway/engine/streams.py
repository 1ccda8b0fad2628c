"""Answers that come piece by piece: a model's iterator, driven step by step on a thread, ended with its reader."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from seaway.core.bundles import Digest
from seaway.core.errors import PermanentError, SeawayError, TemporaryError, UserError
from seaway.core.ports import LoadedModel, StreamingModel
from seaway.core.tensors import Tensors
from seaway.core.traffic import Limits
from seaway.engine.jobs import Job, Screen, Watcher
from seaway.engine.lanes import STUCK_S

MOST: Final = 64
"""Streams of one model at once: each holds a thread while it makes a reply."""


class Streams:
    """The open streams of one model; on the event loop's thread, except for the steps themselves."""

    def __init__(
        self, model: LoadedModel, limits: Limits, digest: Digest, watcher: Watcher, screen: Screen
    ) -> None:
        self.open_count = 0
        """Those that are read, and those whose last step still runs: each holds a thread."""
        self._abandoned: dict[Stream, float] = {}
        self._screen = screen
        self._model = model
        self._limits = limits
        self._digest = digest
        self._watcher = watcher
        self._threads: ThreadPoolExecutor | None = None
        self._closed = False

    @property
    def stuck(self) -> bool:
        """Whether a step goes on long after its stream was left."""
        if not self._abandoned:
            return False
        oldest_s = next(iter(self._abandoned.values()))
        return asyncio.get_running_loop().time() - oldest_s > self._limits.deadline_s + STUCK_S

    def open(self, job: Job) -> Stream:
        """Begin a stream. Raises `UserError("stream_only")` and `TemporaryError("overloaded")` at once."""
        model = self._model
        if not isinstance(model, StreamingModel):
            raise UserError(
                "stream_only", "this model does not answer piece by piece", "call its infer route"
            )
        if self.open_count >= MOST:
            raise TemporaryError(
                "overloaded", f"{MOST} streams of this model are open", "try again later", retry_after_s=1.0
            )
        if self._threads is None:
            self._threads = ThreadPoolExecutor(MOST, thread_name_prefix="seaway-stream")
        self.open_count += 1
        return Stream(self, model, job, self._threads, self._limits.deadline_s)

    def step(self, stream: Stream) -> Tensors | None:
        """The next reply, None at the end. On a stream's thread."""
        place = self._watcher.enter(self._digest)
        try:
            return next(stream.replies(), None)
        except SeawayError:
            raise
        except Exception as error:
            raise PermanentError("execution_failed", f"the model failed: {type(error).__name__}") from error
        finally:
            self._watcher.leave(place)

    def crashed(self, job: Job) -> None:
        """The model's process ended in a step; the request is blamed only where no other stream can be."""
        if self.open_count == 1:
            self._screen.crashed([job])

    def abandoned(self, stream: Stream) -> None:
        """A stream was left while its step runs."""
        self._abandoned[stream] = asyncio.get_running_loop().time()

    def left(self, stream: Stream) -> None:
        """A stream has ended, and so has its last step."""
        self._abandoned.pop(stream, None)
        self.open_count -= 1
        if self._closed:
            self.close()

    def close(self) -> None:
        """Take no more streams; those that are open go on to their end."""
        self._closed = True
        if self._threads is not None and self.open_count == 0:
            self._threads.shutdown(wait=False)


class Stream:
    """One reader's stream. It counts from its opening until it has ended or was closed."""

    def __init__(
        self,
        streams: Streams,
        model: StreamingModel,
        job: Job,
        threads: ThreadPoolExecutor,
        deadline_s: float,
    ) -> None:
        self._streams = streams
        self._model = model
        self._job = job
        self._threads = threads
        self._deadline_s = deadline_s
        self._replies: Iterator[Tensors] | None = None
        self._running: Future[Tensors | None] | None = None
        self._ended = False

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> Tensors:
        if self._ended:
            raise StopAsyncIteration
        self._running = self._threads.submit(self._streams.step, self)
        reply: Tensors | None = None
        try:
            async with asyncio.timeout(self._deadline_s):
                reply = await asyncio.wrap_future(self._running)
        except SeawayError as error:
            if error.code == "engine_crashed":
                self._streams.crashed(self._job)
            raise
        except TimeoutError as error:
            raise TemporaryError(
                "deadline_exceeded", f"no reply within the endpoint's deadline of {self._deadline_s:g} s"
            ) from error
        finally:
            if reply is None:  # the end, a failure, or a reader who left
                await self.aclose()
        if reply is None:
            raise StopAsyncIteration
        return reply

    async def aclose(self) -> None:
        """End the work, after the step that runs now. Idempotent; does not wait for it."""
        if self._ended:
            return
        self._ended = True
        running = self._running
        if running is None or running.done():
            self._threads.submit(self._close)  # on a thread, since it may block as a step may
            self._streams.left(self)
        else:
            self._streams.abandoned(self)
            loop = asyncio.get_running_loop()
            running.add_done_callback(lambda _: self._end(loop))  # on the step's own thread

    def replies(self) -> Iterator[Tensors]:
        """The model's iterator, begun with the first step. On a stream's thread."""
        if self._replies is None:
            self._replies = self._model.stream(self._job.tensors, self._deadline_s)
        return self._replies

    def _end(self, loop: asyncio.AbstractEventLoop) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody counts any more
            loop.call_soon_threadsafe(self._streams.left, self)
        self._close()

    def _close(self) -> None:
        close = getattr(self._replies, "close", None)
        if close is not None:
            close()

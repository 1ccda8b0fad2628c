"""Answers that come piece by piece, as Server-Sent Events: one task per stream, ended when its client leaves."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from seaway.core.errors import SeawayError
from seaway.core.records import Chosen
from seaway.engine.pool import Handle
from seaway.engine.streams import Stream as Replies
from seaway.serve import error_log
from seaway.serve.call import Call
from seaway.serve.fallback import Fallback
from seaway.serve.plane import DataPlane
from seaway.transport.exchange import Stream
from seaway.wire import events_sse

if TYPE_CHECKING:
    from seaway.serve.front import Front

_EVENTS: Final = b"content-type: text/event-stream\r\ncache-control: no-cache\r\n"


class Streams:
    """Drives the replies of a model into an exchange's stream."""

    def __init__(self, plane: DataPlane, front: Front, fallback: Fallback) -> None:
        self._plane = plane
        self._front = front
        self._fallback = fallback
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, call: Call, handle: Handle) -> None:
        """The call's tensors are decoded. Raises the `SeawayError` that refuses the stream."""
        replies = handle.predictor.stream(call)
        handle.enter()
        task = asyncio.get_running_loop().create_task(self._run(call, handle, replies))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, call: Call, handle: Handle, replies: Replies) -> None:
        """The first reply opens the stream, so that what fails before it still gets its own status.

        Leaves the handle, which counts the call already. It can be cancelled only once it runs: a task that is
        cancelled before does nothing at all, and `replies` would never be closed.
        """
        exchange = call.exchange
        stream: Stream | None = None
        task = asyncio.current_task()
        assert task is not None

        def leave() -> None:
            task.cancel()

        try:
            if exchange.gone:
                return
            exchange.on_gone = leave
            while True:
                try:
                    async for outputs in replies:
                        assert call.encode is not None
                        event = call.encode(outputs, call.endpoint, handle.revision.number).body
                        if stream is None:
                            stream = exchange.open_stream(200, _EVENTS + self._front.head_lines(call))
                        stream.write(event)
                        await stream.drained()
                    break
                except SeawayError as error:
                    other = None if stream is not None else await self._pass_on(call, handle, error)
                    if other is None:
                        raise
                    await replies.aclose()
                    handle.leave()
                    handle, replies = other
            self._end(call, stream)
        except SeawayError as error:
            self._break_off(call, stream, error)
        except Exception as error:  # noqa: BLE001 - the process edge: any fault becomes one plain 500
            self._break_off(call, stream, error_log.fault(error))
        finally:
            await replies.aclose()
            handle.leave()

    async def _pass_on(self, call: Call, failed: Handle, error: SeawayError) -> tuple[Handle, Replies] | None:
        """Another revision's replies, whose handle counts the call already; None where the error is the answer."""
        other = self._fallback.instead_of(failed, call.chosen, error.code, 0.0)
        door = call.head.door
        if other is None or door is None:
            return None
        attempt = self._fallback.attempt(call, error)
        try:
            if other.signature != failed.signature:
                decoded = await asyncio.to_thread(
                    door.decode, call.head.headers, call.exchange.body, other.signature
                )
                call.understood(decoded)
            replies = other.predictor.stream(call)
        except SeawayError:  # what the first one said is nearer to the cause
            call.tensors = attempt.tensors
            return None
        other.enter()
        self._fallback.note(failed, attempt, error, call)
        call.handle, call.chosen = other, Chosen.FALLBACK
        return other, replies

    def _end(self, call: Call, stream: Stream | None) -> None:
        if stream is None:  # a model may have nothing to say
            stream = call.exchange.open_stream(200, _EVENTS + self._front.head_lines(call))
        stream.end()

    def _break_off(self, call: Call, stream: Stream | None, error: SeawayError) -> None:
        """The status has left already: the error is the last event."""
        if stream is None:
            self._front.refuse(call.exchange, error)
            return
        call.code = error.code
        error_log.write(error, call, self._plane.clock)
        stream.write(events_sse.error_event(error, call.request_id.decode("ascii")))
        stream.end()

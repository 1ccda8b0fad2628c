"""The one path of a prediction, whatever door it came through: revision, decode, model, encode, answer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from seaway.core.errors import SeawayError
from seaway.core.tensors import Tensors
from seaway.engine.jobs import Job
from seaway.engine.pool import Handle
from seaway.serve.call import Call
from seaway.serve.door import Answer, Decoded
from seaway.serve.plane import DataPlane
from seaway.serve.streams import Streams

if TYPE_CHECKING:
    from seaway.serve.front import Front

_LARGE_BYTES: Final = 256 * 1024
_KEPT_LINES: Final = 10_000


class Predictions:
    """Starts calls and ends them. On the event loop's thread only."""

    def __init__(self, plane: DataPlane, front: Front) -> None:
        self._plane = plane
        self._front = front
        self._streams = Streams(plane, front)
        self._lines: dict[Handle, bytes] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, call: Call) -> None:
        """Raises the `SeawayError` that refuses it; else the answer comes, now or later."""
        handle = self._plane.router.pick(call.endpoint, call.request_id.decode("ascii"), call.version)
        call.handle = handle
        body = call.exchange.body
        assert call.door is not None
        if len(body) >= _LARGE_BYTES:
            # Beside the event loop, so that a large body holds up nobody else's small ones for long.
            task = asyncio.get_running_loop().create_task(self._start_large(call, handle))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return
        self._submit(call, handle, call.door.decode(call.headers, body, handle.signature))

    async def _start_large(self, call: Call, handle: Handle) -> None:
        exchange, door = call.exchange, call.door
        assert door is not None
        with handle:
            try:
                decoded = await asyncio.to_thread(door.decode, call.headers, exchange.body, handle.signature)
                self._submit(call, handle, decoded)
            except SeawayError as error:
                self._front.refuse(exchange, error)
            except Exception as error:  # noqa: BLE001 - the process edge: any fault becomes one plain 500
                self._front.fault(exchange, error)

    def _submit(self, call: Call, handle: Handle, decoded: Decoded) -> None:
        call.tensors, call.encode, call.checked = decoded
        assert call.door is not None
        if call.door.streams:
            self._streams.start(call, handle)
            return
        handle.predictor.submit(call)
        handle.enter()

    def done(self, job: Job) -> None:
        """The engine has an answer or an error for this call."""
        assert isinstance(job, Call)
        handle, exchange = job.handle, job.exchange
        assert handle is not None and job.encode is not None
        handle.leave()
        if exchange.gone:
            return
        error = job.error
        try:
            if error is not None:
                self._front.refuse(exchange, error)
                return
            outputs = job.outputs
            assert outputs is not None
            if sum(array.size for array in outputs.values()) * 8 >= _LARGE_BYTES:
                task = asyncio.get_running_loop().create_task(self._answer_large(job, handle, outputs))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
                return
            self._answer(job, handle, job.encode(outputs, job.endpoint, handle.revision.number))
        except SeawayError as refusal:
            self._front.refuse(exchange, refusal)
        except Exception as fault:  # noqa: BLE001 - the process edge: any fault becomes one plain 500
            self._front.fault(exchange, fault)

    async def _answer_large(self, call: Call, handle: Handle, outputs: Tensors) -> None:
        assert call.encode is not None
        with handle:
            try:
                answer = await asyncio.to_thread(call.encode, outputs, call.endpoint, handle.revision.number)
                self._answer(call, handle, answer)
            except SeawayError as refusal:
                self._front.refuse(call.exchange, refusal)
            except Exception as fault:  # noqa: BLE001 - the process edge: any fault becomes one plain 500
                self._front.fault(call.exchange, fault)

    def _answer(self, call: Call, handle: Handle, answer: Answer) -> None:
        body, content_type, lines = answer
        call.exchange.respond(
            200,
            b"content-type: %b\r\nx-request-id: %b\r\n%b%b"
            % (content_type, call.request_id, self.revision_lines(handle), lines),
            body,
        )

    def revision_lines(self, handle: Handle) -> bytes:
        """Which revision answers, as header lines."""
        lines = self._lines.get(handle)
        if lines is None:
            if len(self._lines) >= _KEPT_LINES:
                self._lines.clear()
            revision = handle.revision
            lines = b"seaway-revision: %d\r\nseaway-digest: %b\r\n" % (
                revision.number,
                revision.digest.encode(),
            )
            self._lines[handle] = lines
        return lines

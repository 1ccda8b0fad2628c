"""The one path of a prediction, whatever door it came through: revision, decode, model, encode, answer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from seaway.core.bundles import Digest
from seaway.core.errors import SeawayError
from seaway.core.records import Chosen
from seaway.core.tensors import Tensors
from seaway.engine.jobs import Job
from seaway.engine.pool import Handle
from seaway.engine.router import RevisionNotReady
from seaway.serve import error_log
from seaway.serve.call import Call
from seaway.serve.door import Answer, Door
from seaway.serve.fallback import Attempt, Fallback
from seaway.serve.plane import DataPlane
from seaway.serve.streams import Streams
from seaway.wire import trace_context

if TYPE_CHECKING:
    from seaway.serve.front import Front

_LARGE_BYTES: Final = 256 * 1024
_LARGE_VALUES: Final = 32 * 1024
_KEPT_LINES: Final = 10_000


class Predictions:
    """Starts calls and ends them. On the event loop's thread only."""

    def __init__(self, plane: DataPlane, front: Front) -> None:
        self._plane = plane
        self._front = front
        self._fallback = Fallback(plane)
        self._streams = Streams(plane, front, self._fallback)
        self._pick = plane.router.pick
        self._now_s = plane.clock.monotonic_s
        self._lines: dict[tuple[int, Digest], bytes] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, call: Call, door: Door) -> None:
        """Raises the `SeawayError` that refuses it; else the answer comes, now or later."""
        head = call.head
        try:
            handle = call.handle = self._pick(head.endpoint, call, head.version)
        except RevisionNotReady as error:
            call.handle = error.handle
            handle = call.handle = self._fallback.at_once(error, call, call)
            call.chosen = Chosen.FALLBACK
        # The time for an answer begins when the request is whole: how long its client takes to send it is not ours.
        call.received_s = self._now_s()
        handle.predictor.refuse(call.caller, call.received_s)
        body = call.exchange.body
        if len(body) >= _LARGE_BYTES and door.aside(head.headers, len(body), handle.signature):
            # Beside the event loop, so that a large body holds up nobody else's small ones for long.
            handle.enter()
            task = asyncio.get_running_loop().create_task(self._start_large(call, handle, door))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return
        call.understood(door.decode(head.headers, body, handle.signature))
        self._run(call, handle, door)

    def _run(self, call: Call, handle: Handle, door: Door) -> None:
        if door.streams:
            self._streams.start(call, handle)
            return
        handle.predictor.submit(call)
        call.running = True
        handle.enter()

    def cancel(self, call: Call) -> None:
        """Its client has left: drop it unrun if it still waits."""
        call.cancel()
        call.running = False
        if call.handle is not None:
            call.handle.leave()

    async def _start_large(self, call: Call, handle: Handle, door: Door) -> None:
        """Leaves the handle, which counts the call already."""
        exchange = call.exchange
        try:
            call.understood(
                await asyncio.to_thread(door.decode, call.head.headers, exchange.body, handle.signature)
            )
            if not exchange.gone:
                self._run(call, handle, door)
        except Exception as error:  # noqa: BLE001 - the process edge: any fault becomes one plain 500
            if not self._pass_on(call, handle, error):
                self._fail(call, error)
        finally:
            handle.leave()

    def done(self, job: Job) -> None:
        """The engine has an answer or an error for this call."""
        assert isinstance(job, Call)
        handle = job.handle
        assert handle is not None and job.encode is not None
        job.running = False
        try:
            if job.error is not None:
                if not self._pass_on(job, handle, job.error):
                    self._fail(job, job.error)
                return
            outputs = job.outputs
            assert outputs is not None
            size = 0
            for array in outputs.values():
                size += array.size
            if size >= _LARGE_VALUES:
                handle.enter()
                task = asyncio.get_running_loop().create_task(self._answer_large(job, handle, outputs))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
                return
            self._answer(job, handle, job.encode(outputs, job.endpoint, handle.revision.number))
        except Exception as error:  # noqa: BLE001 - the process edge: any fault becomes one plain 500
            self._fail(job, error)
        finally:
            handle.leave()

    async def _answer_large(self, call: Call, handle: Handle, outputs: Tensors) -> None:
        """Leaves the handle, which counts the call already."""
        assert call.encode is not None
        try:
            answer = await asyncio.to_thread(call.encode, outputs, call.endpoint, handle.revision.number)
            self._answer(call, handle, answer)
        except Exception as error:  # noqa: BLE001 - the process edge: any fault becomes one plain 500
            self._fail(call, error)
        finally:
            handle.leave()

    def _pass_on(self, call: Call, failed: Handle, error: Exception) -> bool:
        """Have another revision answer what this one could not; False where its error is the answer."""
        exchange, door = call.exchange, call.head.door
        if exchange.gone or door is None or door.streams or not isinstance(error, SeawayError):
            return False
        other = self._fallback.instead_of(failed, call.chosen, error.code, call.deadline_s)
        if other is None:
            return False
        attempt = self._fallback.attempt(call, error)
        attempt.received_s = exchange.received_s
        if other.signature == failed.signature:
            return self._submit_again(call, failed, other, attempt, error)
        other.enter()
        task = asyncio.get_running_loop().create_task(
            self._decode_again(call, failed, other, attempt, error, door)
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    def _submit_again(
        self, call: Call, failed: Handle, other: Handle, attempt: Attempt, error: SeawayError
    ) -> bool:
        try:
            other.predictor.submit(call)
        except SeawayError:
            return False  # what the first one said is nearer to the cause
        self._fallback.note(failed, attempt, error, call)
        call.begin_again()
        call.handle, call.chosen, call.running = other, Chosen.FALLBACK, True
        other.enter()
        return True

    async def _decode_again(
        self, call: Call, failed: Handle, other: Handle, attempt: Attempt, error: SeawayError, door: Door
    ) -> None:
        """Another Signature reads the body in its own way. Leaves `other`, which counts the call already."""
        try:
            call.understood(
                await asyncio.to_thread(door.decode, call.head.headers, call.exchange.body, other.signature)
            )
            if call.exchange.gone or self._submit_again(call, failed, other, attempt, error):
                return
        except SeawayError:  # it fits the one that failed alone
            pass
        except Exception as fault:  # noqa: BLE001 - the process edge: any fault becomes one plain 500
            error = error_log.fault(fault)
        finally:
            other.leave()
        call.tensors = attempt.tensors
        self._fail(call, error)

    def _fail(self, call: Call, error: Exception) -> None:
        """Answer with an error; where the client has left meanwhile, only a fault is worth a word."""
        exchange = call.exchange
        if isinstance(error, SeawayError):
            if not exchange.gone:
                self._front.refuse(exchange, error)
        elif exchange.gone:
            error_log.write(error_log.fault(error), call, self._plane.clock)
        else:
            self._front.fault(exchange, error)

    def _answer(self, call: Call, handle: Handle, answer: Answer) -> None:
        body, content_type, lines = answer
        if self._plane.traced:
            lines += trace_line(call)
        call.exchange.respond(
            200,
            b"content-type: %b\r\nx-request-id: %b\r\n%b%b"
            % (content_type, call.request_id, self.revision_lines(handle), lines),
            body,
        )
        mirrors = self._plane.mirrors
        if mirrors is not None and mirrors.routes:
            mirrors.answered(call, handle)

    def revision_lines(self, handle: Handle) -> bytes:
        """Which revision answers, as header lines. Kept by what they say: a handle would keep its model in memory."""
        revision = handle.revision
        key = revision.number, revision.digest
        lines = self._lines.get(key)
        if lines is None:
            if len(self._lines) >= _KEPT_LINES:
                self._lines.clear()
            lines = b"seaway-revision: %d\r\nseaway-digest: %b\r\n" % (key[0], key[1].encode())
            self._lines[key] = lines
        return lines


def trace_line(call: Call) -> bytes:
    """The header line that tells a client which span its request has in its own trace."""
    told = trace_context.traceresponse(call.traceparent, call.request_id, call.exchange.received_s)
    return b"" if told is None else b"traceresponse: %b\r\n" % told

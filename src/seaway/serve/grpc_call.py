"""One gRPC call from its head to its status: request id, caller, deadline, errors to statuses, counting."""

from __future__ import annotations

import threading
import urllib.parse
from collections.abc import Callable
from typing import Final, TypeAlias

import grpc

from seaway.core.errors import SeawayError, TemporaryError
from seaway.core.records import Chosen
from seaway.core.tensors import Tensors
from seaway.engine.jobs import Job
from seaway.engine.pool import Handle
from seaway.serve import error_log
from seaway.serve.loop_bridge import LoopBridge
from seaway.serve.plane import DataPlane
from seaway.wire import identity, oip_grpc, status, trace_context

Context: TypeAlias = grpc.ServicerContext

DOOR: Final = "grpc"
_CODES: Final = {code.name: code for code in grpc.StatusCode}


class GrpcCall:
    """One call, seen from its own thread and from the event loop's.

    `endpoint` is "" until one was found, so that metric labels stay bounded; `size` is that of its message, in bytes.
    `inside` is written on the loop alone: its handle counts the call.
    """

    __slots__ = (
        "_context",
        "_lock",
        "_metadata",
        "_named",
        "chosen",
        "endpoint",
        "error",
        "handle",
        "inside",
        "job",
        "message",
        "outputs",
        "request_id",
        "size",
        "started_s",
    )

    def __init__(self, context: Context, started_s: float, size: int) -> None:
        self._context = context
        self.started_s = started_s
        self.size = size
        self.endpoint = ""
        self.chosen: Chosen = Chosen.ONLY
        self.handle: Handle | None = None
        self.inside = False
        self.job: GrpcJob | None = None
        self.message: oip_grpc.Request | None = None
        self.outputs: Tensors | None = None
        self.error: Exception | None = None
        self._lock = threading.Lock()
        self._lock.acquire()
        self._metadata: dict[str, object] = dict(context.invocation_metadata() or ())
        given = identity.request_id(self._said("x-request-id"))
        self._named = given is not None
        self.request_id: bytes = given or identity.new_request_id()

    def understood(self, protocol_id: str) -> None:
        """Take the message's own `id`, which names the request where the metadata do not."""
        named = None if self._named else identity.protocol_id(protocol_id)
        if named is not None:
            self.request_id = named

    def _said(self, key: str) -> bytes | None:
        """What the call's metadata say; keys that end in -bin, whose values are bytes, are not asked for."""
        value = self._metadata.get(key)
        return value.encode("utf-8", "replace") if isinstance(value, str) else None

    @property
    def picked(self) -> Handle:
        """The revision that answers; one was found."""
        assert self.handle is not None, "no revision was picked"
        return self.handle

    def watch(self, bridge: LoopBridge, leave: Callable[[GrpcCall], None]) -> None:
        """Have `leave` called on the loop if the call ends before it was answered. Raises where it has ended already."""

        def ended() -> None:
            if self.outputs is None and self.error is None:
                bridge.post(lambda: leave(self))

        if not self._context.add_callback(ended):
            raise TemporaryError("cancelled", "the client went away before the answer was complete")

    def wait(self) -> None:
        """On the call's thread: until the loop has released it once more."""
        self._lock.acquire()

    def release(self) -> None:
        """On the loop: the call's thread goes on."""
        if self._lock.locked():
            self._lock.release()

    def fail(self, error: Exception) -> None:
        """On the loop: the call's thread goes on, and raises this."""
        self.error = error
        self.release()

    def caller(self) -> str:
        """Whom fairness counts the call for: what it says of itself, else the address it comes from."""
        named = identity.caller(self._said("seaway-caller"))
        if named is not None:
            return named
        _, _, address = self._context.peer().partition(":")
        return urllib.parse.unquote(address.rpartition(":")[0]).strip("[]")

    def remaining_s(self) -> float | None:
        """What is left of the call's own deadline; None where it has none."""
        left_s: float | None = self._context.time_remaining()
        return left_s

    @property
    def trace_id(self) -> str | None:
        """The trace that the client's `traceparent` names."""
        found = trace_context.parse_traceparent(self.traceparent)
        return None if found is None else found.trace_id

    @property
    def traceparent(self) -> bytes | None:
        """As the client sent it."""
        return self._said("traceparent")

    def header(self, name: str) -> bytes | None:
        """What the call's metadata say under a name in lower case. HTTP/2 may send cookies apart (RFC 9113, 8.2.3)."""
        if name == "cookie":
            said = [value for key, value in self._context.invocation_metadata() or () if key == name]
            return "; ".join(said).encode("utf-8", "replace") if said else None
        return self._said(name)

    def metadata(self, traced: bool) -> tuple[tuple[str, str], ...]:
        """What every answer says; with `traced`, also which span a sampled client's call has."""
        request_id = self.request_id.decode("ascii")
        if self.handle is None:
            return (("x-request-id", request_id),)
        revision = self.handle.revision
        found = (
            ("x-request-id", request_id),
            ("seaway-revision", str(revision.number)),
            ("seaway-digest", revision.digest),
        )
        told = (
            trace_context.traceresponse(self.traceparent, self.request_id, self.started_s) if traced else None
        )
        return found if told is None else (*found, ("traceresponse", told.decode("ascii")))


class GrpcJob(Job):
    """A call's job, and what is recorded of the call (`core.records.Answered`)."""

    __slots__ = ("call", "chosen", "code", "ended_s", "endpoint")

    def __init__(self, call: GrpcCall, tensors: Tensors, done: Callable[[Job], None]) -> None:
        super().__init__(tensors, call.started_s, done, call.caller())
        self.call = call
        self.code = ""
        self.ended_s = 0.0
        self.endpoint = call.endpoint
        self.chosen: Chosen = call.chosen

    @property
    def door(self) -> str:
        return DOOR

    @property
    def size(self) -> int:
        return self.call.size

    @property
    def request_id(self) -> bytes:
        return self.call.request_id

    @property
    def traceparent(self) -> bytes | None:
        return self.call.traceparent

    def header(self, name: str) -> bytes | None:
        return self.call.header(name)


def answered(
    plane: DataPlane,
    bridge: LoopBridge,
    handler: Callable[[bytes, GrpcCall], bytes],
    data: bytes,
    context: Context,
) -> bytes:
    """Run the handler; whatever happens inside, one status leaves, and it is counted. On the call's thread."""
    call = GrpcCall(context, plane.clock.monotonic_s(), len(data))
    code = "OK"
    try:
        answer = handler(data, call)
        context.set_trailing_metadata(call.metadata(plane.traced))
        return answer
    except SeawayError as error:
        code = error.code
        return refused(error, call, context, plane)
    except Exception as fault:  # noqa: BLE001 - the process edge: any fault becomes one plain INTERNAL
        code = "internal"
        return refused(error_log.fault(fault), call, context, plane)
    finally:
        ended_s = plane.clock.monotonic_s()
        bridge.post(lambda: _record(plane, call, code, ended_s))


def _record(plane: DataPlane, call: GrpcCall, code: str, ended_s: float) -> None:
    """On the loop."""
    if call.handle is None:
        plane.recorder.unrouted(DOOR, call.endpoint, code, ended_s - call.started_s)
        return
    job = call.job or GrpcJob(call, {}, unanswered)
    job.code, job.ended_s = code, ended_s
    plane.recorder.answered(call.handle, job, DOOR)
    if call.job is not None and code == "OK" and plane.mirrors is not None and plane.mirrors.routes:
        plane.mirrors.answered(job, call.handle)


def unanswered(job: Job) -> None:
    """The `done` of a job that is never submitted."""
    raise AssertionError("a call that was refused unrun has no answer to come")


def refused(error: SeawayError, call: GrpcCall, context: Context, plane: DataPlane) -> bytes:
    """Set the status of an error; grpcio drops the bytes that a handler returns with one."""
    found = status.STATUS[error.code]
    if found.http == 500:
        error_log.write(error, call, plane.clock)
    metadata = (*call.metadata(plane.traced), ("seaway-code", error.code))
    retry_s = status.retry_after_s(error)
    if retry_s is not None:
        metadata = (*metadata, ("retry-after", str(retry_s)))
    context.set_trailing_metadata(metadata)
    context.set_code(_CODES[found.grpc])
    text = error.message if error.hint is None else f"{error.message}: {error.hint}"
    context.set_details(text.encode("utf-8", "replace").decode())
    return b""

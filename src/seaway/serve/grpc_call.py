"""One gRPC call from its head to its status: request id, caller, deadline, errors to statuses, counting."""

from __future__ import annotations

import itertools
import math
import os
import re
import threading
import urllib.parse
from collections.abc import Callable
from typing import Final, TypeAlias

import grpc

from seaway.core.errors import SeawayError, TemporaryError
from seaway.core.tensors import Tensors
from seaway.engine.jobs import Job
from seaway.engine.pool import Handle
from seaway.serve import error_log
from seaway.serve.counters import Key
from seaway.serve.loop_bridge import LoopBridge
from seaway.serve.plane import DataPlane
from seaway.wire import status

Context: TypeAlias = grpc.ServicerContext

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}\Z")
_CALLER: Final = re.compile(r"[\x21-\x7e]{1,128}\Z")
_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}\Z")
_CODES: Final = {code.name: code for code in grpc.StatusCode}
_prefix = os.urandom(8).hex()
_numbers = itertools.count(1)


class GrpcCall:
    """One call, seen from its own thread and from the event loop's.

    `key` is the request id, by which traffic is split; `endpoint` is "" until one was found, so that metric labels stay
    bounded. `inside` is written on the loop alone: its handle counts the call.
    """

    __slots__ = (
        "_context",
        "_lock",
        "_metadata",
        "endpoint",
        "error",
        "handle",
        "inside",
        "job",
        "key",
        "outputs",
        "started_s",
    )

    def __init__(self, context: Context, started_s: float) -> None:
        self._context = context
        self.started_s = started_s
        self.endpoint = ""
        self.handle: Handle | None = None
        self.inside = False
        self.job: Job | None = None
        self.outputs: Tensors | None = None
        self.error: Exception | None = None
        self._lock = threading.Lock()
        self._lock.acquire()
        self._metadata: dict[str, object] = dict(context.invocation_metadata() or ())
        given = self._metadata.get("x-request-id")
        named = isinstance(given, str) and _REQUEST_ID.match(given) is not None
        self.key = str(given) if named else f"{_prefix}-g{next(_numbers):x}"

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
        named = self._metadata.get("seaway-caller")
        if isinstance(named, str) and _CALLER.match(named):
            return named
        _, _, address = self._context.peer().partition(":")
        return urllib.parse.unquote(address.rpartition(":")[0]).strip("[]")

    def remaining_s(self) -> float | None:
        """What is left of the call's own deadline; None where it has none."""
        left_s: float | None = self._context.time_remaining()
        return left_s

    @property
    def request_id(self) -> bytes:
        """`key` as the error log takes it."""
        return self.key.encode("ascii")

    @property
    def trace_id(self) -> str | None:
        """The trace that the client's `traceparent` names (W3C Trace Context)."""
        given = self._metadata.get("traceparent")
        found = _TRACEPARENT.match(given) if isinstance(given, str) else None
        return None if found is None else found.group(1)

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What every answer says."""
        if self.handle is None:
            return (("x-request-id", self.key),)
        revision = self.handle.revision
        return (
            ("x-request-id", self.key),
            ("seaway-revision", str(revision.number)),
            ("seaway-digest", revision.digest),
        )


def answered(
    plane: DataPlane,
    bridge: LoopBridge,
    handler: Callable[[bytes, GrpcCall], bytes],
    data: bytes,
    context: Context,
) -> bytes:
    """Run the handler; whatever happens inside, one status leaves, and it is counted. On the call's thread."""
    call = GrpcCall(context, plane.clock.monotonic_s())
    code = "OK"
    try:
        answer = handler(data, call)
        context.set_trailing_metadata(call.metadata())
        return answer
    except SeawayError as error:
        code = error.code
        return refused(error, call, context, plane)
    except Exception as fault:  # noqa: BLE001 - the process edge: any fault becomes one plain INTERNAL
        code = "internal"
        return refused(error_log.fault(fault), call, context, plane)
    finally:
        revision = "" if call.handle is None else str(call.handle.revision.number)
        key = Key("grpc", call.endpoint, revision, code)
        took_s = plane.clock.monotonic_s() - call.started_s
        bridge.post(lambda: plane.counters.record(key, took_s))


def refused(error: SeawayError, call: GrpcCall, context: Context, plane: DataPlane) -> bytes:
    """Set the status of an error; grpcio drops the bytes that a handler returns with one."""
    found = status.STATUS[error.code]
    if found.http == 500:
        error_log.write(error, call, plane.clock)
    metadata = (*call.metadata(), ("seaway-code", error.code))
    if isinstance(error, TemporaryError) and found.http in (429, 503):
        metadata = (*metadata, ("retry-after", str(max(1, math.ceil(error.retry_after_s)))))
    context.set_trailing_metadata(metadata)
    context.set_code(_CODES[found.grpc])
    text = error.message if error.hint is None else f"{error.message}: {error.hint}"
    context.set_details(text.encode("utf-8", "replace").decode())
    return b""

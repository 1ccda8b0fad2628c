"""The stable revision answers what another one could not: the same for every door.

A failure that is passed on is recorded at once, as a request of its own against the revision that failed; what the other
one then answers is recorded as `fallback`, so that no verdict counts it. One request is passed on once at most.
"""

from __future__ import annotations

from typing import Final

from seaway.core.errors import SeawayError
from seaway.core.records import Answered, Chosen
from seaway.core.tensors import Tensors
from seaway.engine.pool import Handle
from seaway.engine.router import RevisionNotReady
from seaway.serve import error_log
from seaway.serve.plane import DataPlane
from seaway.wire import status

CODES: Final = frozenset({"execution_failed", "internal", "engine_crashed", "not_ready"})
"""What is the revision's own fault, so that another one may do better; overload and deadlines are the machine's."""


class Attempt:
    """`core.records.Answered`: what a revision made of a request that another one then answers."""

    __slots__ = (
        "_request",
        "batch_rows",
        "caller",
        "chosen",
        "code",
        "cpu_s",
        "door",
        "ended_s",
        "endpoint",
        "outputs",
        "queue_s",
        "received_s",
        "request_id",
        "rows",
        "run_s",
        "size",
        "tensors",
        "traceparent",
    )

    def __init__(self, request: Answered, code: str, ended_s: float) -> None:
        """Copied, since the request goes on."""
        self._request = request
        self.code = code
        self.received_s: float = request.received_s
        self.ended_s = ended_s
        self.endpoint: str = request.endpoint
        self.caller: str = request.caller
        self.chosen: Chosen = request.chosen
        self.tensors: Tensors = request.tensors
        self.outputs: Tensors | None = None
        self.rows: int = request.rows
        self.batch_rows: int = request.batch_rows
        self.queue_s: float = request.queue_s
        self.run_s: float = request.run_s
        self.cpu_s = request.cpu_s
        self.size = request.size
        self.door = request.door
        self.request_id = request.request_id
        self.traceparent = request.traceparent

    def header(self, name: str) -> bytes | None:
        return self._request.header(name)


class Fallback:
    """Says which revision stands in, and records what it stands in for. On the event loop's thread only."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane
        self._now_s = plane.clock.monotonic_s

    def instead_of(self, failed: Handle, chosen: Chosen, code: str, deadline_s: float) -> Handle | None:
        """The revision that is to answer in place of one whose run ended with `code`; None where that is the answer.

        `deadline_s` is the request's, on the monotonic scale, 0 where it has none.
        """
        if code not in CODES or 0 < deadline_s <= self._now_s():
            return None
        return self._plane.router.stand_in(failed, chosen)

    def at_once(self, error: RevisionNotReady, request: Answered, call: error_log.Failed) -> Handle:
        """The revision that answers where the request's own was not ready, which is recorded. Raises `error` where there
        is none."""
        handle = self._plane.router.stand_in(error.handle, request.chosen)
        if handle is None:
            raise error
        self.note(error.handle, self.attempt(request, error), error, call)
        return handle

    def attempt(self, request: Answered, error: SeawayError) -> Attempt:
        """What is recorded of a failure now, if the request is passed on; to be made before the request is changed."""
        return Attempt(request, error.code, self._now_s())

    def note(self, failed: Handle, attempt: Attempt, error: SeawayError, call: error_log.Failed) -> None:
        """The request is passed on: count the failure. A fault goes to the log, as if it were answered; `call.handle` is
        still the one that failed."""
        plane = self._plane
        if status.STATUS[error.code].http == 500:
            error_log.write(error, call, plane.clock)
        plane.recorder.answered(failed, attempt, attempt.door)
        plane.fallbacks[failed.endpoint, str(failed.revision.number), error.code] += 1

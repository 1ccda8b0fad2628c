"""Faults of the server and of models, as one line of JSON each (Elastic Common Schema) in the worker's log."""

from __future__ import annotations

import datetime
import traceback
from typing import Protocol

import msgspec

from seaway.core.errors import PermanentError, SeawayError
from seaway.core.ports import Clock
from seaway.engine.pool import Handle
from seaway.serve import log


class Failed(Protocol):
    """What is said of a request that failed, over whatever protocol it came."""

    endpoint: str
    handle: Handle | None

    @property
    def request_id(self) -> bytes: ...

    @property
    def trace_id(self) -> str | None: ...


def fault(cause: Exception) -> PermanentError:
    """What a client is told of any exception that is no `SeawayError`; `write` tells the log the rest."""
    found = PermanentError("internal", "a fault in Seaway itself", "see the server's log for this request id")
    found.__cause__ = cause
    return found


def write(error: SeawayError, call: Failed, clock: Clock) -> None:
    """One line; the stack of what raised it goes here and never into an answer."""
    cause = error.__cause__
    handle = call.handle
    line: dict[str, object] = {
        "@timestamp": datetime.datetime.fromtimestamp(clock.now_s(), tz=datetime.UTC).isoformat(),
        "log.level": "error",
        "message": error.message,
        "ecs.version": "8.11.0",
        "event.dataset": "seaway.worker",
        "http.request.id": call.request_id.decode("ascii"),
        "error.code": error.code,
        "seaway.endpoint": call.endpoint,
        "seaway.revision": None if handle is None else handle.revision.number,
    }
    if call.trace_id is not None:
        line["trace.id"] = call.trace_id
    if cause is not None:
        line["error.type"] = type(cause).__name__
        line["error.stack_trace"] = "".join(traceback.format_exception(cause))
    log.write_line(msgspec.json.encode(line).decode())

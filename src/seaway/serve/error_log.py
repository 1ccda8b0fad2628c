"""Faults of the server and of models, as one line of JSON each (Elastic Common Schema) in the worker's log."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from typing import Final, Protocol

from seaway.core.errors import PermanentError, SeawayError
from seaway.core.ports import Clock
from seaway.engine.pool import Handle
from seaway.serve import log
from seaway.wire import ecs

_DATASET: Final = "seaway.worker"
_CHAIN: Final = 10


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
    """One line; the stack of what raised it goes here and never into an answer.

    Of the exceptions behind it the types and the stack are told, not the texts: those may hold what a caller sent.
    """
    cause = error.__cause__
    handle = call.handle
    line = ecs.Line(
        at=ecs.Timestamps().text(clock.now_s()),
        level="error",
        message=error.message,
        version=ecs.VERSION,
        service=ecs.SERVICE,
        dataset=_DATASET,
        request_id=call.request_id.decode("ascii"),
        trace_id=call.trace_id,
        error_code=error.code,
        error_type=None if cause is None else type(cause).__name__,
        error_stack_trace=None if cause is None else "".join(_stack(cause)),
        endpoint=call.endpoint or None,
        revision=None if handle is None else handle.revision.number,
    )
    log.write_line(ecs.encode(line).decode())


def _stack(cause: BaseException) -> Iterator[str]:
    """The frames of an exception and of those that led to it, the outermost first."""
    found: BaseException | None = cause
    for _ in range(_CHAIN):
        if found is None:
            return
        yield f"{type(found).__module__}.{type(found).__qualname__}\n"
        yield from traceback.format_tb(found.__traceback__)
        hidden = found.__suppress_context__
        found = found.__cause__ or (None if hidden else found.__context__)

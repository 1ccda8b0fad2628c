"""The outermost layer of the data plane: request ids, headers on every answer, errors to statuses, counting, error log."""

from __future__ import annotations

import asyncio
import datetime
import math
import traceback
from collections.abc import Callable
from typing import Final

import msgspec
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from seaway.core.errors import PermanentError, SeawayError, TemporaryError
from seaway.core.ports import Clock
from seaway.serve import context as contexts
from seaway.serve import log
from seaway.serve.context import Context
from seaway.serve.counters import Counters, Key
from seaway.wire import status

_LINGER_BYTES: Final = 64 * 1024 * 1024
_LINGER_S: Final = 2.0


class Envelope:
    """ASGI middleware; whatever happens inside, one answer leaves, and it says which request it is for."""

    def __init__(self, app: ASGIApp, counters: Counters, clock: Clock, closing: Callable[[], bool]) -> None:
        """While `closing()`, every answer asks the client to open a new connection for its next request."""
        self._app = app
        self._counters = counters
        self._clock = clock
        self._closing = closing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        context = contexts.attach(scope, self._clock.monotonic_s())
        started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message.get("headers", ()), *self._headers(context)]
                context.code = context.code or str(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except ClientDisconnect:
            context.code = "client_closed"
        except SeawayError as error:
            await self._refuse(error, context, started, scope, receive, send_with_headers)
        except Exception as error:  # noqa: BLE001 - the process edge: any fault becomes one plain 500
            fault = PermanentError(
                "internal", "a fault in Seaway itself", "see the server's log for this request id"
            )
            fault.__cause__ = error
            await self._refuse(fault, context, started, scope, receive, send_with_headers)
        revision = "" if context.revision is None else str(context.revision)
        self._counters.record(
            Key(context.door, context.endpoint, revision, context.code),
            self._clock.monotonic_s() - context.started_s,
        )

    def _headers(self, context: Context) -> list[tuple[bytes, bytes]]:
        headers = [(b"x-request-id", context.request_id.encode())]
        if context.revision is not None:
            headers.append((b"seaway-revision", str(context.revision).encode()))
            headers.append((b"seaway-digest", context.digest.encode()))
        if self._closing():
            headers.append((b"connection", b"close"))
        return headers

    async def _refuse(
        self, error: SeawayError, context: Context, started: bool, scope: Scope, receive: Receive, send: Send
    ) -> None:
        context.code = error.code
        if status.STATUS[error.code].http == 500:
            self._log(error, context)
        if started:
            return
        answer = response(error, context.request_id)
        if error.code == "body_too_large":
            await _linger(answer, scope, receive, send)
        else:
            await answer(scope, receive, send)

    def _log(self, error: SeawayError, context: Context) -> None:
        """One line of JSON in Elastic Common Schema fields, to stderr."""
        cause = error.__cause__
        line: dict[str, object] = {
            "@timestamp": datetime.datetime.fromtimestamp(self._clock.now_s(), tz=datetime.UTC).isoformat(),
            "log.level": "error",
            "message": error.message,
            "ecs.version": "8.11.0",
            "event.dataset": "seaway.worker",
            "http.request.id": context.request_id,
            "error.code": error.code,
            "seaway.endpoint": context.endpoint,
            "seaway.revision": context.revision,
        }
        if context.traceparent is not None:
            line["trace.id"] = context.traceparent.split("-")[1]
        if cause is not None:
            line["error.type"] = type(cause).__name__
            line["error.stack_trace"] = "".join(traceback.format_exception(cause))
        log.write_line(msgspec.json.encode(line).decode())


def response(error: SeawayError, request_id: str) -> Response:
    """The answer to a refused request."""
    headers: dict[str, str] = {}
    if isinstance(error, TemporaryError) and status.STATUS[error.code].http in (429, 503):
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after_s)))
    return Response(
        status.error_body(error, request_id), status.STATUS[error.code].http, headers, "application/json"
    )


async def _linger(answer: Response, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer at once, then read and drop the rest of the body for a while before the connection closes.

    Closing with unread bytes makes the kernel send a reset, which can reach the client before the answer does.
    """
    answer.headers["connection"] = "close"
    await send({"type": "http.response.start", "status": answer.status_code, "headers": answer.raw_headers})
    await send({"type": "http.response.body", "body": answer.body, "more_body": True})
    dropped = 0
    try:
        async with asyncio.timeout(_LINGER_S):
            while dropped < _LINGER_BYTES:
                message = await receive()
                dropped += len(message.get("body", b""))
                if message["type"] != "http.request" or not message.get("more_body", False):
                    break
    except TimeoutError:
        pass  # the client neither sends nor closes: the connection closes without it
    await send({"type": "http.response.body", "body": b"", "more_body": False})

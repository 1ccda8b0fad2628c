"""The worker's Application on the transport: every request comes in here, and every answer leaves from here.

Predictions go the short way: route, door, engine, answer, all by callbacks and without a task. Everything else is
handed to the Starlette application of `serve.app`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from seaway.core.errors import PermanentError, SeawayError, TemporaryError, UserError
from seaway.serve import error_log
from seaway.serve.call import Call
from seaway.serve.counters import Key
from seaway.serve.door import Door
from seaway.serve.plane import DataPlane
from seaway.serve.predictions import Predictions
from seaway.serve.routes import Routes, WrongMethod
from seaway.transport.asgi import AsgiApp, AsgiBridge
from seaway.transport.exchange import Exchange
from seaway.wire import status

_SLOW_BODY_BYTES: Final = 64 * 1024
_METHODS: Final = "POST, OPTIONS"


class Front:
    """`transport.ports.Application`."""

    def __init__(self, plane: DataPlane, doors: Sequence[Door], slow: AsgiApp) -> None:
        self._plane = plane
        self._routes = Routes(doors)
        self._predictions = Predictions(plane, self)
        self._slow = AsgiBridge(slow, self)

    def head(self, exchange: Exchange) -> int:
        """Refuse by path and headers what can be refused without the body; the body's limit is the endpoint's."""
        call = Call(exchange, self._predictions.done)
        exchange.state = call
        target = self._routes.find(exchange.path)
        if target is None:
            return _SLOW_BODY_BYTES
        call.label = target.door.name
        if exchange.method != "POST":
            return _SLOW_BODY_BYTES
        call.door = target.door
        call.version = target.version
        route = self._plane.router.route(target.endpoint)
        call.endpoint = route.endpoint
        _check_media(call)
        return route.limits.body_bytes

    def request(self, exchange: Exchange) -> None:
        """The body is whole."""
        call = exchange.state
        assert isinstance(call, Call)
        if call.door is not None:
            self._predictions.start(call)
        elif exchange.method == "OPTIONS" and (call.label != "other" or exchange.target == b"*"):
            call.code = "204"
            exchange.respond(204, b"allow: %b\r\n" % _METHODS.encode() + self.head_lines(call), b"")
        elif call.label != "other":
            raise WrongMethod(exchange.method, _METHODS)
        else:
            self._slow.answer(exchange)

    def refuse(self, exchange: Exchange, error: SeawayError) -> None:
        """Turn an error into its status: the one place where that happens."""
        call = exchange.state
        if not isinstance(call, Call):
            call = exchange.state = Call(exchange, self._predictions.done)
        call.code = error.code
        code = status.STATUS[error.code]
        if code.http == 500:
            error_log.write(error, call, self._plane.clock)
        lines = b"content-type: application/json\r\n" + self.head_lines(call)
        if isinstance(error, TemporaryError) and code.http in (429, 503):
            lines += b"retry-after: %d\r\n" % max(1, math.ceil(error.retry_after_s))
        if isinstance(error, WrongMethod):
            lines += b"allow: %b\r\n" % error.allow.encode()
        exchange.respond(code.http, lines, status.error_body(error, call.request_id.decode("ascii")))

    def fault(self, exchange: Exchange, error: Exception) -> None:
        """Any other exception: a plain 500; its trace goes to the log."""
        fault = PermanentError(
            "internal", "a fault in Seaway itself", "see the server's log for this request id"
        )
        fault.__cause__ = error
        self.refuse(exchange, fault)

    def finished(self, exchange: Exchange) -> None:
        """Count it."""
        call = exchange.state
        assert isinstance(call, Call)
        if exchange.gone and not call.code:
            call.code = "cancelled"
        handle = call.handle
        self._plane.counters.record(
            Key(
                call.label,
                call.endpoint,
                "" if handle is None else str(handle.revision.number),
                call.code or "200",
            ),
            self._plane.clock.monotonic_s() - exchange.received_s,
        )

    def head_lines(self, call: Call) -> bytes:
        """The header lines that every answer carries."""
        if call.handle is None:
            return b"x-request-id: %b\r\n" % call.request_id
        return b"x-request-id: %b\r\n%b" % (call.request_id, self._predictions.revision_lines(call.handle))


def _check_media(call: Call) -> None:
    """Raises `UserError("unsupported_media_type")` for what the door does not take."""
    headers, door = call.headers, call.door
    assert door is not None
    given = headers.get(b"content-type")
    if given is not None and given not in door.media_types:
        plain = given.partition(b";")[0].strip().lower()
        if plain not in door.media_types:
            shown = plain[:80].decode("latin-1")
            raise UserError(
                "unsupported_media_type",
                f"content-type {shown!r} is not taken",
                f"send JSON with the header content-type: {door.media_types[0].decode()}",
            )
    encoding = headers.get(b"content-encoding")
    if encoding is not None and encoding.strip().lower() not in (b"", b"identity"):
        shown = encoding[:40].decode("latin-1")
        raise UserError(
            "unsupported_media_type", f"content-encoding {shown!r} is not taken", "send the body as it is"
        )

"""The worker's Application on the transport: every request comes in here, and every answer leaves from here.

Predictions go the short way: route, door, engine, answer, all by callbacks and without a task. Everything else is
handed to the Starlette application of `serve.app`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from seaway.core.errors import SeawayError
from seaway.core.feedback import MAX_BODY_BYTES
from seaway.serve import error_log, media, predictions
from seaway.serve.call import Call, Head
from seaway.serve.door import Door
from seaway.serve.plane import DataPlane
from seaway.serve.predictions import Predictions
from seaway.serve.routes import Routes, WrongMethod
from seaway.transport.asgi import AsgiApp, AsgiBridge
from seaway.transport.exchange import Exchange
from seaway.wire import status

_SLOW_BODY_BYTES: Final = 64 * 1024
_FEEDBACK: Final = b"/feedback"
_METHODS: Final = "POST, OPTIONS"


class Front:
    """`transport.ports.Application`."""

    def __init__(self, plane: DataPlane, doors: Sequence[Door], slow: AsgiApp) -> None:
        self._plane = plane
        self._routes = Routes(doors)
        self._predictions = Predictions(plane, self)
        self._done = self._predictions.done
        self._route = plane.router.route
        self._recorder = plane.recorder
        self._now_s = plane.clock.monotonic_s
        self._slow = AsgiBridge(slow, self)

    def head(self, exchange: Exchange) -> int:
        """Refuse by path and headers what can be refused without the body; the body's limit is the endpoint's."""
        head = exchange.memo
        if head is None:
            head = exchange.memo = Head(exchange, self._routes.find(exchange.path))
        assert isinstance(head, Head)
        call = Call(exchange, head, self._done)
        exchange.state = call
        door = head.door
        if door is None:
            return MAX_BODY_BYTES if exchange.path == _FEEDBACK else _SLOW_BODY_BYTES
        route = self._route(head.endpoint)
        call.endpoint = route.endpoint
        if not head.taken:
            refusal = media.refusal(head.headers, door)
            assert refusal is not None
            raise refusal
        # Who closes after a time-out is not told apart from who only stops sending: nothing is run for either.
        exchange.ends_at_eof = True
        return route.limits.body_bytes

    def request(self, exchange: Exchange) -> None:
        """The body is whole."""
        call = exchange.state
        assert isinstance(call, Call)
        head = call.head
        if head.door is not None:
            self._predictions.start(call, head.door)
        elif exchange.method == "OPTIONS" and (head.label != "other" or exchange.target == b"*"):
            call.code = "204"
            exchange.respond(204, b"allow: %b\r\n" % _METHODS.encode() + self.head_lines(call), b"")
        elif head.label != "other":
            raise WrongMethod(exchange.method, _METHODS)
        else:
            self._slow.answer(exchange)

    def refuse(self, exchange: Exchange, error: SeawayError) -> None:
        """Turn an error into its status: the one place where that happens."""
        call = exchange.state
        if not isinstance(call, Call):
            call = exchange.state = Call(exchange, Head(exchange, None), self._done)
        call.code = error.code
        code = status.STATUS[error.code]
        if code.http == 500:
            error_log.write(error, call, self._plane.clock)
        lines = b"content-type: application/json\r\n" + self.head_lines(call)
        retry_s = status.retry_after_s(error)
        if retry_s is not None:
            lines += b"retry-after: %d\r\n" % retry_s
        if isinstance(error, WrongMethod):
            lines += b"allow: %b\r\n" % error.allow.encode()
        exchange.respond(code.http, lines, status.error_body(error, call.request_id.decode("ascii")))

    def fault(self, exchange: Exchange, error: Exception) -> None:
        """Any other exception: a plain 500; its trace goes to the log."""
        self.refuse(exchange, error_log.fault(error))

    def finished(self, exchange: Exchange) -> None:
        """Tell the recorder."""
        call = exchange.state
        assert isinstance(call, Call)
        if exchange.gone:
            call.code = call.code or "cancelled"
            if call.running:
                self._predictions.cancel(call)
        elif not call.code:
            call.code = "200"
        call.ended_s = self._now_s()
        # Measured from the first bytes of the head on, though the time for an answer begins when the body is whole.
        call.received_s = exchange.received_s
        handle, call.handle = call.handle, None  # a record must not keep a retired model in memory
        if handle is None:
            self._recorder.unrouted(call.head.label, call.endpoint, call.code, call.ended_s - call.received_s)
        else:
            self._recorder.answered(handle, call, call.head.label)

    def head_lines(self, call: Call) -> bytes:
        """The header lines that every answer carries."""
        lines = b"x-request-id: %b\r\n" % call.request_id
        if call.handle is not None:
            lines += self._predictions.revision_lines(call.handle)
            if self._plane.traced:
                lines += predictions.trace_line(call)
        return lines

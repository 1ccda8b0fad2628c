"""POST /feedback on the data plane: handed on as it is to the control process, which alone keeps outcomes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final, NamedTuple, Protocol

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from seaway.core.errors import TemporaryError, UserError
from seaway.core.feedback import FeedbackAnswer
from seaway.serve.call import Call
from seaway.wire import feedback_json

MOST_WAITING_BYTES: Final = 64 * 1024 * 1024
"""Of bodies that wait for the control process; beyond, feedback is refused: its memory and this worker's stay bounded."""
_TOLD: Final = ("content-type", "retry-after")


class Forwarded(NamedTuple):
    """The control process's answer; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Forward(Protocol):
    """The way to the control process."""

    async def __call__(self, body: bytes, headers: Mapping[str, str]) -> Forwarded:
        """Post a body of feedback. Raises `TemporaryError("control_unavailable")` where no whole answer came: it may
        have been taken or not, and sending it again is safe."""


class FeedbackDoor:
    """The handler of the route; `forward` is None where no control process runs beside the workers."""

    def __init__(self, forward: Forward | None, counts: Counter[str]) -> None:
        """`counts` is added to, by what became of the outcomes."""
        self._forward = forward
        self._counts = counts
        self._waiting_bytes = 0

    async def post(self, request: Request) -> Response:
        """Answers what the control process answers, with the same request id."""
        if self._forward is None:
            raise UserError(
                "not_available",
                "`seaway serve` keeps no outcomes",
                "run the model by `seaway up` and `seaway deploy`: its workers take feedback",
            )
        call: Call = request.scope["state"]["exchange"].state
        headers = {
            "content-type": feedback_json.media_of(request.headers.get("content-type")),
            "x-request-id": call.request_id.decode("ascii"),
        }
        feedback_json.refuse_encoding(request.headers.get("content-encoding"))
        body = await request.body()
        if self._waiting_bytes and self._waiting_bytes + len(body) > MOST_WAITING_BYTES:
            raise TemporaryError(
                "overloaded", "more feedback waits than can be written", "send it again later"
            )
        self._waiting_bytes += len(body)
        try:
            answer = await self._forward(body, headers)
        finally:
            self._waiting_bytes -= len(body)
        if answer.status == 200:
            taken = msgspec.json.decode(answer.body, type=FeedbackAnswer)
            for outcome in ("accepted", "duplicates", "conflicting"):
                self._counts[outcome] += getattr(taken, outcome)
        told = {name: answer.headers[name] for name in _TOLD if name in answer.headers}
        return Response(answer.body, answer.status, headers=told)

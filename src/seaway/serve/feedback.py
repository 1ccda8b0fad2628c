"""POST /feedback on the data plane: handed on as it is to the control process, which alone keeps outcomes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final, NamedTuple, Protocol

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from seaway.core.errors import UserError
from seaway.core.feedback import FeedbackAnswer
from seaway.serve.call import Call
from seaway.wire import feedback_json

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
        answer = await self._forward(await request.body(), headers)
        if answer.status == 200:
            taken = msgspec.json.decode(answer.body, type=FeedbackAnswer)
            for outcome in ("accepted", "duplicates", "conflicting"):
                self._counts[outcome] += getattr(taken, outcome)
        told = {name: answer.headers[name] for name in _TOLD if name in answer.headers}
        return Response(answer.body, answer.status, headers=told)

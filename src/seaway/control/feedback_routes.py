"""Routes of feedback: POST /feedback, GET /endpoints/NAME/quality?since=&until=&by=&revision=&slice=."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from seaway.control import auth
from seaway.control.auth import Action, Principal
from seaway.control.feedback import DEFAULT_SINCE, RESOURCE, Feedback
from seaway.control.routes import Parts, json_response
from seaway.core.errors import UserError
from seaway.core.feedback import MAX_BODY_BYTES
from seaway.monitor.feedback.quality import BY_REVISION
from seaway.wire import feedback_json


async def take(parts: Parts, principal: Principal, request: Request) -> Response:
    """Keep rows of feedback; a `core.feedback.FeedbackAnswer` once they are durable."""
    try:
        auth.authorize(principal, Action.FEEDBACK, RESOURCE)
    except UserError as error:
        refusal = parts.deployments.record_refusal
        await asyncio.to_thread(refusal, principal, Action.FEEDBACK, None, error.code, error.message)
        raise
    feedback = _feedback(parts)
    feedback_json.refuse_encoding(request.headers.get("content-encoding"))
    body = await _body(request)
    return json_response(await feedback.take(principal, body, request.headers.get("content-type")))


async def quality(parts: Parts, principal: Principal, request: Request) -> Response:
    """A `core.quality.Quality` of an endpoint."""
    name, asked = request.path_params["name"], request.query_params
    await asyncio.to_thread(parts.deployments.get, principal, name)
    found = await _feedback(parts).quality(
        principal,
        name,
        since=asked.get("since", DEFAULT_SINCE),
        until=asked.get("until"),
        by=asked.get("by", BY_REVISION),
        revision=asked.get("revision"),
        slice=asked.get("slice"),
    )
    return json_response(found)


def _feedback(parts: Parts) -> Feedback:
    if parts.feedback is None:
        raise UserError("not_available", "this process keeps no outcomes", "send them to `seaway up`")
    return parts.feedback


async def _body(request: Request) -> bytes:
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > MAX_BODY_BYTES:
            raise UserError(
                "body_too_large", f"the body is larger than {MAX_BODY_BYTES} bytes", "send it in parts"
            )
    return bytes(data)

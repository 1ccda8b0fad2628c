"""What every route of the control API is made of; the routes themselves are in `api` and in the modules that it names."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from seaway.control.auth import Action, Principal
from seaway.control.bell import Bell
from seaway.control.deployments import Deployments
from seaway.control.effects import Effects
from seaway.control.erasing import Erasing
from seaway.control.feedback import Feedback
from seaway.control.rollouts.metrics import RolloutMetrics
from seaway.control.rollouts.requests import Rollouts
from seaway.control.webhooks import Webhooks
from seaway.core.errors import SeawayError, TemporaryError, UserError
from seaway.core.ports import Clock
from seaway.wire import status

_BODY_BYTES: Final = 1024 * 1024
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,100}\Z")

T = TypeVar("T", bound=msgspec.Struct)


class Parts(NamedTuple):
    """What the routes work with."""

    deployments: Deployments
    rollouts: Rollouts
    effects: Effects
    bell: Bell
    deploying: Executor
    """Threads for deploys alone: a gate may take minutes, and nothing else may wait behind it."""
    records: Path
    """HOME/records: what the workers and this process keep of answered requests."""
    clock: Clock
    metrics: RolloutMetrics
    feedback: Feedback | None = None
    """None where nothing keeps outcomes: then nothing is taken."""
    erasing: Erasing | None = None
    """None where nothing is kept that could be erased."""
    webhooks: Webhooks | None = None
    """None where events are posted nowhere."""


Handler = Callable[[Parts, Principal, Request], Awaitable[Response]]


class ControlRoute(NamedTuple):
    """One route, and what a caller must be allowed to do; None for what anybody may ask."""

    method: str
    path: str
    action: Action | None
    handler: Handler


async def change_body(
    parts: Parts, principal: Principal, action: Action, request: Request, kind: type[T]
) -> T:
    """The body of a change; one that cannot be read is a refused change, and leaves its event."""
    try:
        return await read_body(request, kind)
    except UserError as error:
        name, refusal = request.path_params["name"][:63], parts.deployments.record_refusal
        await asyncio.to_thread(refusal, principal, action, name, error.code, error.message)
        raise


async def read_body(request: Request, kind: type[T]) -> T:
    """The JSON body as a value. Raises `UserError` (`body_too_large`, `unsupported_media_type`, `invalid_json` …)."""
    media = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if media != "application/json":
        raise UserError("unsupported_media_type", f"{media[:100]} is not taken here", "send application/json")
    data = b""
    async for chunk in request.stream():
        data += chunk
        if len(data) > _BODY_BYTES:
            raise UserError("body_too_large", f"the body is larger than {_BODY_BYTES} bytes")
    try:
        return msgspec.json.decode(data or b"{}", type=kind)
    except msgspec.ValidationError as error:
        code = "invalid_spec" if "`$.spec" in str(error) else "invalid_request"
        raise UserError(code, str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError("invalid_json", f"the body is not JSON: {error}") from error


def json_response(value: object, code: int = 200) -> Response:
    """A value as JSON."""
    return Response(msgspec.json.encode(value), code, media_type="application/json")


def error_response(error: SeawayError, request: Request) -> Response:
    """An error in the contract's form."""
    given = request.headers.get("x-request-id", "")
    request_id = given if _REQUEST_ID.match(given) else secrets.token_hex(8)
    headers = {"x-request-id": request_id}
    if isinstance(error, TemporaryError):
        headers["retry-after"] = str(max(1, round(error.retry_after_s)))
    if error.code == "unauthenticated":
        headers["www-authenticate"] = "Bearer"
    return Response(
        status.error_body(error, request_id),
        status.STATUS[error.code].http,
        headers=headers,
        media_type="application/json",
    )

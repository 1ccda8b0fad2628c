"""POST /erase: `views.EraseRequest`, answered by `views.Erased` once it is done."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from seaway.control import auth, views
from seaway.control.auth import Action, Principal
from seaway.control.routes import Parts, json_response, read_body
from seaway.core.errors import UserError


async def erase(parts: Parts, principal: Principal, request: Request) -> Response:
    """Erase a subject; a body that cannot be read is a refused change, and leaves its event."""
    try:
        auth.authorize(principal, Action.ERASE, "records")
        asked = await read_body(request, views.EraseRequest)
    except UserError as error:
        refusal = parts.deployments.record_refusal
        await asyncio.to_thread(refusal, principal, Action.ERASE, None, error.code, error.message)
        raise
    if parts.erasing is None:
        raise UserError("not_available", "this process erases nothing", "send it to `seaway up`")
    return json_response(await parts.erasing.erase(principal, asked))

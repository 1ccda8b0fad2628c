"""GET /requests/ID: what is known of one request (`core.provenance.Explained`)."""

from __future__ import annotations

import asyncio
import functools
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from seaway.control import auth
from seaway.control.auth import Action, Principal
from seaway.control.routes import ControlRoute, Parts, json_response
from seaway.monitor.feedback import reading as outcomes_read
from seaway.monitor.provenance import explanations

RESOURCE: Final = "requests"


async def _explain(parts: Parts, principal: Principal, request: Request) -> Response:
    auth.authorize(principal, Action.READ, RESOURCE)
    outcomes = functools.partial(outcomes_read.outcomes_of, parts.records)
    return json_response(
        await asyncio.to_thread(explanations.explain, parts.records, request.path_params["id"], outcomes)
    )


ROUTES: Final = (ControlRoute("GET", "/requests/{id:path}", Action.READ, _explain),)

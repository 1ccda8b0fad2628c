"""GET /requests/ID: what is known of one request (`core.provenance.Explained`)."""

from __future__ import annotations

import asyncio
import functools
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from seaway.control import auth
from seaway.control.auth import Action, Principal
from seaway.control.rollouts import shares
from seaway.control.routes import ControlRoute, Parts, json_response
from seaway.core.provenance import Explained
from seaway.monitor.feedback import reading as outcomes_read
from seaway.monitor.provenance import explanations

RESOURCE: Final = "requests"


async def _explain(parts: Parts, principal: Principal, request: Request) -> Response:
    auth.authorize(principal, Action.READ, RESOURCE)
    return json_response(await asyncio.to_thread(_explained, parts, principal, request.path_params["id"]))


def _explained(parts: Parts, principal: Principal, request_id: str) -> Explained:
    outcomes = functools.partial(outcomes_read.outcomes_of, parts.records)
    found = explanations.explain(parts.records, request_id, outcomes)
    return shares.with_rollouts(
        found,
        functools.partial(parts.deployments.history, principal),
        lambda endpoint, number: parts.rollouts.record(principal, endpoint, number).spec,
    )


ROUTES: Final = (ControlRoute("GET", "/requests/{id:path}", Action.READ, _explain),)

"""The routes of rollouts: GET /endpoints/NAME/rollout, GET /endpoints/NAME/rollouts/N, GET /metrics, and a POST for each move
of a person."""

from __future__ import annotations

import asyncio
import functools
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from seaway.control.auth import Action, Principal
from seaway.control.rollouts import views, waiting
from seaway.control.rollouts.requests import ACTIONS
from seaway.control.routes import ControlRoute, Handler, Parts, change_body, json_response
from seaway.core.errors import UserError
from seaway.wire import prometheus

_LARGEST: Final = 9


async def _status(parts: Parts, principal: Principal, request: Request) -> Response:
    name = request.path_params["name"]
    found = await asyncio.to_thread(parts.rollouts.status, principal, name)
    unmirrored = parts.effects.unmirrored(name, found.candidate.number)
    return json_response(waiting.as_seen(found, parts.effects.opening(name), unmirrored))


async def _record(parts: Parts, principal: Principal, request: Request) -> Response:
    name, text = request.path_params["name"], request.path_params["number"]
    if not text.isascii() or not text.isdigit() or len(text) > _LARGEST:
        raise UserError("invalid_request", f"{text[:40]!r} is no number of a revision", "such as 5")
    return json_response(await asyncio.to_thread(parts.rollouts.record, principal, name, int(text)))


async def _metrics(parts: Parts, principal: Principal, _request: Request) -> Response:
    text = await parts.metrics.text(principal, parts.effects.seen)
    return Response(text, media_type=prometheus.CONTENT_TYPE)


def _moved(kind: type[views.Move], action: Action) -> Handler:
    async def handle(parts: Parts, principal: Principal, request: Request) -> Response:
        body = await change_body(parts, principal, action, request, kind)
        name, key = request.path_params["name"], request.headers.get("idempotency-key")
        move = functools.partial(parts.rollouts.move, principal, name, body, key)
        accepted = await asyncio.to_thread(move)
        return json_response(accepted, 202 if accepted.changed else 200)

    return handle


ROUTES: Final = (
    ControlRoute("GET", "/metrics", Action.READ, _metrics),
    ControlRoute("GET", "/endpoints/{name}/rollout", Action.READ, _status),
    ControlRoute("GET", "/endpoints/{name}/rollouts/{number}", Action.READ, _record),
    *(
        ControlRoute("POST", f"/endpoints/{{name}}/rollout/{action}", action, _moved(kind, action))
        for kind, action in ACTIONS.items()
    ),
)

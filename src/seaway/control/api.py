"""The control API: HTTP routes over the use cases, on HOME/control.sock and, if wished, on TCP.

| route | body | answer |
|---|---|---|
| GET /healthz | | `{"status": "ok"}` |
| GET /status | | `views.Status` |
| GET /metrics | | Prometheus text: `rollouts.metrics` |
| GET /endpoints/NAME | | `views.EndpointStatus` |
| PUT /endpoints/NAME | `views.DeployRequest` | `views.Accepted` |
| POST /endpoints/NAME/rollback | `views.RollbackRequest` | `views.Accepted` |
| DELETE /endpoints/NAME | | `views.Accepted` |
| GET /endpoints/NAME/rollout | | `rollouts.views.RolloutStatus` |
| GET /endpoints/NAME/rollouts/N | | `rollouts.views.RolloutRecord` of revision N |
| POST /endpoints/NAME/rollout/MOVE | `rollouts.views.Promote` … `Traffic` | `views.Accepted` |
| GET /history, /endpoints/NAME/history | | events, or with `?at=TIME` what was live |
| GET /endpoints/NAME/seconds?after=N | | `views.Seconds` |
| GET /endpoints/NAME/quality?since=… | | `core.quality.Quality` |
| GET /requests/ID | | `core.provenance.Explained` |
| POST /feedback | rows, see `wire.feedback_json` | `core.feedback.FeedbackAnswer` |
| POST /erase | `views.EraseRequest` | `views.Erased` |
| GET /events?after=N | | Server-Sent Events, without end |

Changes take an `Idempotency-Key`. Every route but /healthz passes `auth.authorize`; each refused change leaves one
event.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from seaway.control import auth, erasing_routes, explaining, feedback_routes, views, watching
from seaway.control.auth import Action, Principal
from seaway.control.doors import Door
from seaway.control.rollouts import routes as rollout_routes
from seaway.control.routes import ControlRoute, Parts, change_body, error_response, json_response
from seaway.core.errors import PermanentError, SeawayError, UserError
from seaway.core.events import Event

_HEARTBEAT_S: Final = 15.0
_log = logging.getLogger(__name__)


async def _healthz(_parts: Parts, _principal: Principal, _request: Request) -> Response:
    return json_response({"status": "ok"})


async def _status(parts: Parts, principal: Principal, _request: Request) -> Response:
    endpoints = await asyncio.to_thread(parts.deployments.status, principal)
    endpoints = tuple(watching.with_opening(parts, one) for one in endpoints)
    seen = tuple(watching.worker_status(one) for one in parts.effects.observed)
    webhooks = () if parts.webhooks is None else parts.webhooks.status
    return json_response(views.Status(endpoints, seen, webhooks))


async def _get(parts: Parts, principal: Principal, request: Request) -> Response:
    found = await asyncio.to_thread(parts.deployments.get, principal, request.path_params["name"])
    return json_response(watching.with_opening(parts, found))


async def _deploy(parts: Parts, principal: Principal, request: Request) -> Response:
    body = await change_body(parts, principal, Action.DEPLOY, request, views.DeployRequest)
    name, key = request.path_params["name"], request.headers.get("idempotency-key")
    deploy = functools.partial(parts.deployments.deploy, principal, name, body, key)
    return _accepted(await asyncio.get_running_loop().run_in_executor(parts.deploying, deploy))


async def _rollback(parts: Parts, principal: Principal, request: Request) -> Response:
    body = await change_body(parts, principal, Action.ROLLBACK, request, views.RollbackRequest)
    name, key = request.path_params["name"], request.headers.get("idempotency-key")
    rollback = functools.partial(parts.deployments.rollback, principal, name, body.to, key, body.reason)
    return _accepted(await asyncio.to_thread(rollback))


async def _delete(parts: Parts, principal: Principal, request: Request) -> Response:
    name, key = request.path_params["name"], request.headers.get("idempotency-key")
    return _accepted(await asyncio.to_thread(parts.deployments.delete, principal, name, key))


async def _history(parts: Parts, principal: Principal, request: Request) -> Response:
    name, at = request.path_params.get("name"), request.query_params.get("at")
    if at is None:
        return json_response(await asyncio.to_thread(parts.deployments.history, principal, name))
    return json_response(await asyncio.to_thread(parts.deployments.live_at, principal, at, name))


async def _events(parts: Parts, principal: Principal, request: Request) -> Response:
    text = request.headers.get("last-event-id") or request.query_params.get("after", "0")
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise UserError(
            "invalid_request", f"after={text[:40]!r} is not the number of an event", "such as after=17"
        )
    after = int(text)
    first = await asyncio.to_thread(parts.deployments.events, principal, after)
    return StreamingResponse(_follow(parts, principal, after, first), media_type="text/event-stream")


async def _follow(
    parts: Parts, principal: Principal, after: int, page: tuple[Event, ...]
) -> AsyncIterator[bytes]:
    yield b": seaway events\n\n"
    while True:
        rings = parts.bell.rings
        for event in page:
            after = event.seq
            yield b"id: %d\ndata: %b\n\n" % (after, msgspec.json.encode(event))
        page = await asyncio.to_thread(parts.deployments.events, principal, after)
        if not page:
            await parts.bell.wait(rings, _HEARTBEAT_S)
            yield b": still here\n\n"


ROUTES: Final = (
    ControlRoute("GET", "/healthz", None, _healthz),
    ControlRoute("GET", "/status", Action.READ, _status),
    ControlRoute("GET", "/history", Action.READ, _history),
    ControlRoute("GET", "/events", Action.READ, _events),
    ControlRoute("GET", "/endpoints/{name}", Action.READ, _get),
    ControlRoute("PUT", "/endpoints/{name}", Action.DEPLOY, _deploy),
    ControlRoute("DELETE", "/endpoints/{name}", Action.DELETE, _delete),
    ControlRoute("POST", "/endpoints/{name}/rollback", Action.ROLLBACK, _rollback),
    ControlRoute("GET", "/endpoints/{name}/history", Action.READ, _history),
    ControlRoute("GET", "/endpoints/{name}/seconds", Action.READ, watching.seconds),
    ControlRoute("GET", "/endpoints/{name}/quality", Action.READ, feedback_routes.quality),
    ControlRoute("POST", "/feedback", Action.FEEDBACK, feedback_routes.take),
    ControlRoute("POST", "/erase", Action.ERASE, erasing_routes.erase),
    *rollout_routes.ROUTES,
    *explaining.ROUTES,
)


def create_app(parts: Parts, door: Door) -> Starlette:
    """The API behind one door."""
    routes: dict[str, dict[str, ControlRoute]] = {}
    for route in ROUTES:
        routes.setdefault(route.path, {})[route.method] = route
    return Starlette(
        routes=[
            Route(path, _endpoint(parts, door, methods), methods=list(methods))
            for path, methods in routes.items()
        ],
        exception_handlers={HTTPException: _http_error, Exception: _fault},
    )


def _endpoint(
    parts: Parts, door: Door, methods: dict[str, ControlRoute]
) -> Callable[[Request], Awaitable[Response]]:
    async def call(request: Request) -> Response:
        route = methods.get(request.method) or methods["GET"]  # HEAD is a GET whose body is not sent
        try:
            principal = await _admit(parts, door, route, request)
            return await route.handler(parts, principal, request)
        except ClientDisconnect:
            return Response(status_code=499)  # nobody is left to read it
        except SeawayError as error:
            return error_response(error, request)

    return call


async def _admit(parts: Parts, door: Door, route: ControlRoute, request: Request) -> Principal:
    """Who calls, once the door lets the call in; a change that is refused here leaves its event here."""
    try:
        door.admit(request)
        if route.action is None:
            return Principal("anybody", auth.Role.STRANGER)
        return door.principal(request)
    except UserError as error:
        if route.action not in (None, Action.READ):
            client = request.client.host if request.client else "unknown"
            stranger = Principal(f"stranger at {client}", auth.Role.STRANGER)
            name = request.path_params.get("name")
            refusal = functools.partial(parts.deployments.record_refusal, stranger, route.action)
            await asyncio.to_thread(refusal, name and name[:63], error.code, error.message)
        raise


def _accepted(accepted: views.Accepted) -> Response:
    return json_response(accepted, 202 if accepted.changed else 200)


async def _http_error(request: Request, error: Exception) -> Response:
    method = isinstance(error, HTTPException) and error.status_code == 405
    code = "method_not_allowed" if method else "route_not_found"
    return error_response(UserError(code, f"there is no {request.method} {request.url.path[:100]}"), request)


async def _fault(request: Request, error: Exception) -> Response:
    _log.error("a fault while answering %s %s", request.method, request.url.path, exc_info=error)
    return error_response(
        PermanentError("internal", "a fault in Seaway itself", "see the server's log"), request
    )

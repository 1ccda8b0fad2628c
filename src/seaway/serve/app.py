"""The routes that are not predictions, as a Starlette application behind `serve.front`."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from seaway.core.errors import UserError
from seaway.serve.call import Call
from seaway.serve.feedback import FeedbackDoor, Forward
from seaway.serve.health import Health
from seaway.serve.pages import Pages
from seaway.serve.plane import DataPlane
from seaway.serve.routes import WrongMethod


def create_app(plane: DataPlane, forward: Forward | None = None) -> ASGIApp:
    """Whatever a handler raises as `SeawayError` is answered by the front, like a prediction's error.

    `forward` is the way of feedback to the control process, None where there is none.
    """
    health = Health(plane)
    pages = Pages(plane, takes_feedback=forward is not None)
    routes = [
        Route("/", pages.index),
        Route("/v2", health.server),
        Route("/v2/health/live", health.live),
        Route("/v2/health/ready", health.ready),
        Route("/v2/models/{endpoint}", health.model),
        Route("/v2/models/{endpoint}/ready", health.model_ready),
        Route("/v2/models/{endpoint}/versions/{version}", health.model),
        Route("/v2/models/{endpoint}/versions/{version}/ready", health.model_ready),
        Route("/feedback", FeedbackDoor(forward, plane.feedback).post, methods=["POST"]),
        Route("/metrics", pages.metrics),
        Route("/openapi.json", pages.openapi),
        Route("/docs", pages.docs),
    ]
    router = Router(routes, redirect_slashes=False)
    guarded = ExceptionMiddleware(router, handlers={HTTPException: _no_route})

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        # Inside an application Starlette raises its 404 and 405 instead of writing them.
        scope["app"] = router
        call: Call = scope["state"]["exchange"].state

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", call.request_id)]
                call.code = str(message["status"])
            await send(message)

        await guarded(scope, receive, send_with_id)

    return application


async def _no_route(request: Request, error: Exception) -> Response:
    """Starlette's own 404 and 405 in our words; OPTIONS is answered from what it knows of the path."""
    assert isinstance(error, HTTPException)
    allow = (error.headers or {}).get("Allow")
    if allow is None:
        raise UserError("route_not_found", "there is no such route", "see /docs")
    if request.method == "OPTIONS":
        return Response(status_code=204, headers={"allow": f"{allow}, OPTIONS"})
    raise WrongMethod(request.method, f"{allow}, OPTIONS")

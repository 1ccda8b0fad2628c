"""The data plane's HTTP application, composed here and nowhere else."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from seaway.core.errors import SeawayError, UserError
from seaway.serve import context as contexts
from seaway.serve import envelope
from seaway.serve import old_doors as doors
from seaway.serve.old_doors import Health, Predictions
from seaway.serve.envelope import Envelope
from seaway.serve.pages import Pages
from seaway.serve.plane import DataPlane


def create_app(plane: DataPlane) -> ASGIApp:
    """Every route that a worker answers, inside the envelope that makes every answer alike."""
    oip = Predictions(plane, "oip", doors.decode_oip)
    rows = Predictions(plane, "predict", doors.decode_rows)
    health = Health(plane)
    pages = Pages(plane)
    routes = [
        Route("/", pages.index),
        Route("/predict/{endpoint}", rows.answer, methods=["POST"]),
        Route("/v2", health.server),
        Route("/v2/health/live", health.live),
        Route("/v2/health/ready", health.ready),
        Route("/v2/models/{endpoint}", health.model),
        Route("/v2/models/{endpoint}/ready", health.model_ready),
        Route("/v2/models/{endpoint}/infer", oip.answer, methods=["POST"]),
        Route("/v2/models/{endpoint}/versions/{version}", health.model),
        Route("/v2/models/{endpoint}/versions/{version}/ready", health.model_ready),
        Route("/v2/models/{endpoint}/versions/{version}/infer", oip.answer, methods=["POST"]),
        Route("/metrics", pages.metrics),
        Route("/openapi.json", pages.openapi),
        Route("/docs", pages.docs),
    ]
    router = Router(routes, redirect_slashes=False)
    guarded = ExceptionMiddleware(router, handlers={HTTPException: _no_route})

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        scope["app"] = (
            router  # inside an application Starlette raises its 404 and 405 instead of writing them
        )
        await guarded(scope, receive, send)

    return Envelope(application, plane.counters, plane.clock, lambda: plane.draining)


async def _no_route(request: Request, error: Exception) -> Response:
    """Starlette's own 404 and 405 in our words."""
    assert isinstance(error, HTTPException)
    allow = (error.headers or {}).get("Allow")
    refusal: SeawayError
    if allow is not None:
        refusal = UserError(
            "method_not_allowed", f"{request.method[:20]} is not for this route", f"allowed: {allow}"
        )
    else:
        refusal = UserError("route_not_found", "there is no such route", "see /docs")
    context = contexts.of(request.scope)
    context.code = refusal.code
    answer = envelope.response(refusal, context.request_id)
    if allow is not None:
        answer.headers["allow"] = allow
    return answer

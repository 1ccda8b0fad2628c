"""Everything that is read and not predicted: the index, metrics, the API's description and its page."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from seaway.serve.plane import DataPlane
from seaway.wire import openapi, prometheus

_EXAMPLE_ROWS: Final = 2
_PAGE: Final = Path(__file__).with_name("docs.html")
# The page may run its own script and talk to this server; nothing from outside can be loaded.
_POLICY: Final = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class Pages:
    """Handlers for `/`, `/metrics`, `/openapi.json` and `/docs`."""

    def __init__(self, plane: DataPlane, takes_feedback: bool) -> None:
        self._plane = plane
        self._takes_feedback = takes_feedback

    async def index(self, request: Request) -> Response:
        """Which endpoints there are, and where to read on."""
        endpoints = [
            {
                "endpoint": route.endpoint,
                "ready": handle is not None,
                "revisions": [
                    {"revision": r.number, "version": r.ref, "digest": r.digest, "percent": r.percent}
                    for r in route.revisions
                ],
                "predict": f"/predict/{route.endpoint}",
            }
            for route, handle in self._plane.router.serving()
        ]
        body = {"name": "seaway", "version": self._plane.version, "endpoints": endpoints, "docs": "/docs"}
        return JSONResponse(body)

    async def metrics(self, request: Request) -> Response:
        """The metrics of all workers, each under its own `worker` label."""
        return Response(await self._plane.metrics(), media_type=prometheus.CONTENT_TYPE)

    async def openapi(self, request: Request) -> Response:
        """OpenAPI 3.1 of the endpoints that can answer now."""
        found = [
            openapi.Endpoint(
                name=route.endpoint,
                ref=handle.revision.ref,
                signature=handle.signature,
                sample={name: array[:_EXAMPLE_ROWS] for name, array in handle.sample.items()}
                if handle.signature.batched
                else handle.sample,
                streams=handle.streams,
            )
            for route, handle in self._plane.router.serving()
            if handle is not None
        ]
        return JSONResponse(openapi.document(self._plane.version, found, feedback=self._takes_feedback))

    async def docs(self, request: Request) -> Response:
        """A page that renders /openapi.json and sends its examples."""
        return HTMLResponse(_PAGE.read_bytes(), headers={"content-security-policy": _POLICY})

"""Metadata and health by the Open Inference Protocol v2; gRPC gives the same answers from `serve.grpc_door`."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from seaway.core.errors import TemporaryError
from seaway.serve import routes
from seaway.serve.call import Call
from seaway.serve.plane import DataPlane
from seaway.wire import oip_json

EXTENSIONS = ("binary_tensor_data", "generate")


class Health:
    """Handlers for `/v2` and below, save predictions."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane

    async def server(self, request: Request) -> Response:
        """The server's name and version."""
        return JSONResponse(
            {"name": "seaway", "version": self._plane.version, "extensions": list(EXTENSIONS)}
        )

    async def live(self, request: Request) -> Response:
        """Whether the process answers: it does."""
        return JSONResponse({"live": True})

    async def ready(self, request: Request) -> Response:
        """Ready means that every revision with traffic has made a real prediction."""
        if self._plane.draining:
            raise TemporaryError("draining", "the server is shutting down")
        if not self._plane.router.ready:
            raise TemporaryError("not_ready", "a revision that takes traffic is not ready")
        return JSONResponse({"ready": True})

    async def model(self, request: Request) -> Response:
        """Inputs, outputs and revisions of an endpoint."""
        router = self._plane.router
        route = router.route(request.path_params["endpoint"])
        handle = router.find(route.endpoint, _call(request), _version(request))
        numbers = sorted(revision.number for revision in route.revisions)
        return JSONResponse(oip_json.model_metadata(route.endpoint, numbers, handle.signature))

    async def model_ready(self, request: Request) -> Response:
        """Whether an endpoint, or one revision of it, can answer."""
        name = request.path_params["endpoint"]
        self._plane.router.find(name, _call(request), _version(request))
        return JSONResponse({"name": name, "ready": True})


def _call(request: Request) -> Call:
    call: Call = request.scope["state"]["exchange"].state
    return call


def _version(request: Request) -> int | None:
    text = request.path_params.get("version")
    return routes.parse_version(None if text is None else text.encode())

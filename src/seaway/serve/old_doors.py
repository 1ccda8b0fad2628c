"""The doors for predictions: how each turns bytes into tensors and back. Behind them there is one path."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, NamedTuple

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from seaway.core.errors import TemporaryError, UserError
from seaway.core.tensors import Signature, Tensors
from seaway.serve import bodies
from seaway.serve import context as contexts
from seaway.serve.plane import DataPlane
from seaway.wire import oip_json, predict_json

_LARGE_BODY_BYTES: Final = 256 * 1024


class Decoded(NamedTuple):
    """A request behind its door: the tensors, and how its answer is written for one endpoint and revision."""

    tensors: Tensors
    encode: Callable[[Tensors, str, int], bytes]


def decode_oip(body: bytes, signature: Signature) -> Decoded:
    """Open Inference Protocol v2, JSON."""
    request = oip_json.decode_request(body, signature)
    return Decoded(
        request.tensors,
        lambda outputs, endpoint, number: oip_json.encode_response(
            request, outputs, signature, endpoint, number
        ),
    )


def decode_rows(body: bytes, signature: Signature) -> Decoded:
    """Rows as objects or arrays."""
    tensors = predict_json.decode_rows(body, signature)
    return Decoded(
        tensors, lambda outputs, endpoint, number: predict_json.encode_predictions(outputs, signature)
    )


class Predictions:
    """One door: `POST` with `endpoint`, and perhaps `version`, in the path."""

    def __init__(self, plane: DataPlane, door: str, decode: Callable[[bytes, Signature], Decoded]) -> None:
        self._plane = plane
        self._door = door
        self._decode = decode

    async def answer(self, request: Request) -> Response:
        """Read, pick a revision, decode, predict, encode; the request is counted in before the first await after it."""
        context = contexts.of(request.scope)
        context.door = self._door
        router = self._plane.router
        route = router.route(request.path_params["endpoint"])
        context.endpoint = route.endpoint
        number = version(request)
        body = await bodies.read_json(request, route.limits.body_bytes)
        received_s = self._plane.clock.monotonic_s()
        handle = router.pick(route.endpoint, context.request_id, number)
        with handle:
            context.revision, context.digest = handle.revision.number, handle.revision.digest
            decoded = await self._decoded(body, handle.signature)
            outputs = await handle.predictor.predict(decoded.tensors, received_s)
            encoded = decoded.encode(outputs, route.endpoint, handle.revision.number)
        return Response(encoded, media_type="application/json")

    async def _decoded(self, body: bytes, signature: Signature) -> Decoded:
        """Large bodies are decoded beside the event loop, so that they hold up nobody else's small ones for long."""
        if len(body) < _LARGE_BODY_BYTES:
            return self._decode(body, signature)
        return await asyncio.to_thread(self._decode, body, signature)


def version(request: Request) -> int | None:
    """The revision that the path names. Raises `UserError("revision_not_found")` where it is no number."""
    text = request.path_params.get("version")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise UserError(
            "revision_not_found", f"{text[:40]!r} is no revision", "a revision is a number, such as 3"
        )
    return int(text)


class Health:
    """Metadata and health by the Open Inference Protocol v2."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane

    async def server(self, request: Request) -> Response:
        """The server's name and version."""
        return JSONResponse({"name": "seaway", "version": self._plane.version, "extensions": []})

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
        handle = router.pick(route.endpoint, contexts.of(request.scope).request_id, version(request))
        numbers = sorted(revision.number for revision in route.revisions)
        return JSONResponse(oip_json.model_metadata(route.endpoint, numbers, handle.signature))

    async def model_ready(self, request: Request) -> Response:
        """Whether an endpoint, or one revision of it, can answer."""
        name = request.path_params["endpoint"]
        self._plane.router.pick(name, contexts.of(request.scope).request_id, version(request))
        return JSONResponse({"name": name, "ready": True})

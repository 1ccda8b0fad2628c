"""The gRPC door: the Open Inference Protocol v2 and the standard health service, by grpcio on the worker's loop.

The worker starts one `GrpcServer`. Handlers get and give bytes, so that `wire.oip_grpc` alone knows the messages. An
answer's metadata (request id, revision, digest, error code) is trailing: initial metadata would cost a write of its
own for every call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, ParamSpec, TypeVar

import grpc
import grpc.aio

from seaway.core.errors import TemporaryError, UserError
from seaway.core.tensors import Tensors
from seaway.engine.jobs import Job
from seaway.engine.pool import Handle
from seaway.serve import routes
from seaway.serve.grpc_call import Context, GrpcCall, Handler, answered
from seaway.serve.plane import DataPlane
from seaway.wire import health_pb2, oip_grpc, oip_pb2

P = ParamSpec("P")
T = TypeVar("T")

MAX_MESSAGE_BYTES: Final = 16 * 1024 * 1024
MAX_METADATA_BYTES: Final = 16 * 1024
MAX_CALLS: Final = 1024
_SPARE_CALLS: Final = 64
"""For health and metadata, which must be answered while all `MAX_CALLS` are taken; beyond them grpcio refuses."""
_LARGE_BYTES: Final = 256 * 1024
_SERVICE: Final = "inference.GRPCInferenceService"
_HEALTH: Final = "grpc.health.v1.Health"
# protobuf makes the message classes as these modules are imported, so no type checker sees them.
_oip: Final[Any] = oip_pb2
_health: Final[Any] = health_pb2


class GrpcServer:
    """Built before the loop runs, started on it; its address may be shared with other processes (SO_REUSEPORT)."""

    def __init__(
        self, plane: DataPlane, max_message_bytes: int = MAX_MESSAGE_BYTES, max_calls: int = MAX_CALLS
    ) -> None:
        """`max_calls` is how many ModelInfer may be under way; more are refused at once."""
        self._plane = plane
        self._max_message_bytes = max_message_bytes
        self._max_calls = max_calls
        self._server: grpc.aio.Server | None = None

    async def start(self, address: str) -> int:
        """Listen on HOST:PORT and serve; returns the port. Raises `UserError("address_in_use")`."""
        options = [
            ("grpc.so_reuseport", 1),
            ("grpc.max_receive_message_length", self._max_message_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.max_metadata_size", MAX_METADATA_BYTES),
            ("grpc.absolute_max_metadata_size", MAX_METADATA_BYTES),
            ("grpc.max_concurrent_streams", self._max_calls + _SPARE_CALLS),
            ("grpc.keepalive_time_ms", 60_000),
            ("grpc.keepalive_timeout_ms", 20_000),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
        ]
        server = grpc.aio.server(
            handlers=[_Methods(self._plane, self._max_calls)],
            options=options,
            maximum_concurrent_rpcs=self._max_calls + _SPARE_CALLS,
        )
        try:
            port: int = server.add_insecure_port(address)
        except RuntimeError as error:
            raise UserError(
                "address_in_use", f"gRPC cannot listen on {address}", "choose another address"
            ) from error
        await server.start()
        self._server = server
        return port

    async def drain(self, seconds: float) -> None:
        """Take no new calls; those under way have so many seconds to end. Idempotent."""
        server, self._server = self._server, None
        if server is not None:
            await server.stop(seconds)


class _Methods(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Which function answers a method; also the count of predictions under way."""

    def __init__(self, plane: DataPlane, max_calls: int) -> None:
        self._plane = plane
        self._max_calls = max_calls
        self._calls = 0
        methods: dict[str, Handler] = {
            f"/{_SERVICE}/ModelInfer": self._infer,
            f"/{_SERVICE}/ServerLive": self._live,
            f"/{_SERVICE}/ServerReady": self._ready,
            f"/{_SERVICE}/ModelReady": self._model_ready,
            f"/{_SERVICE}/ServerMetadata": self._server_metadata,
            f"/{_SERVICE}/ModelMetadata": self._model_metadata,
            f"/{_HEALTH}/Check": self._check,
        }
        self._handlers = {
            path: grpc.unary_unary_rpc_method_handler(_behaviour(plane, handler))
            for path, handler in methods.items()
        }

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        return self._handlers.get(handler_call_details.method)

    async def _infer(self, data: bytes, call: GrpcCall) -> bytes:
        if self._calls >= self._max_calls:
            raise TemporaryError(
                "overloaded", f"{self._max_calls} gRPC calls are under way", "try again later"
            )
        self._calls += 1
        try:
            request = await _aside(len(data), oip_grpc.Request, data)
            router = self._plane.router
            route = router.route(request.model_name)
            call.endpoint = route.endpoint
            if len(data) > route.limits.body_bytes:
                raise UserError(
                    "body_too_large",
                    f"the message is larger than {route.limits.body_bytes:,} bytes",
                    "send fewer rows at once",
                )
            handle = router.pick(route.endpoint, call.key, _version(request.model_version))
            with handle:
                call.handle = handle
                tensors = await _aside(len(data), request.tensors, handle.signature)
                outputs = await self._predict(handle, tensors, call)
                size = sum(array.size for array in outputs.values()) * 8
                return await _aside(
                    size, request.answer, outputs, handle.signature, route.endpoint, handle.revision.number
                )
        finally:
            self._calls -= 1

    async def _predict(self, handle: Handle, tensors: Tensors, call: GrpcCall) -> Tensors:
        """Outputs; the client's deadline counts where it is earlier than the endpoint's, and its leaving drops the job."""
        future: asyncio.Future[Tensors] = asyncio.get_running_loop().create_future()

        def done(job: Job) -> None:
            if future.done():
                return
            if job.error is not None:
                future.set_exception(job.error)
            elif job.outputs is not None:
                future.set_result(job.outputs)

        left_s = call.remaining_s()
        if left_s is not None and left_s <= 0:
            raise TemporaryError("deadline_exceeded", "the call's deadline is over")
        job = Job(tensors, call.started_s, done, call.caller())
        if left_s is not None:
            job.deadline_s = self._plane.clock.monotonic_s() + left_s
        handle.predictor.submit(job)
        try:
            return await future
        finally:
            if not future.done() or future.cancelled():
                job.cancel()

    async def _live(self, data: bytes, call: GrpcCall) -> bytes:
        return _encoded(_oip.ServerLiveResponse(live=True))

    async def _ready(self, data: bytes, call: GrpcCall) -> bytes:
        return _encoded(_oip.ServerReadyResponse(ready=self._is_ready()))

    def _is_ready(self) -> bool:
        return self._plane.router.ready and not self._plane.draining

    async def _model_ready(self, data: bytes, call: GrpcCall) -> bytes:
        message = _oip.ModelReadyRequest()
        oip_grpc.parse(message, data)
        ready = True
        try:
            self._plane.router.pick(message.name, call.key, _version(message.version))
        except TemporaryError:
            ready = False
        return _encoded(_oip.ModelReadyResponse(ready=ready))

    async def _server_metadata(self, data: bytes, call: GrpcCall) -> bytes:
        return _encoded(_oip.ServerMetadataResponse(name="seaway", version=self._plane.version))

    async def _model_metadata(self, data: bytes, call: GrpcCall) -> bytes:
        message = _oip.ModelMetadataRequest()
        oip_grpc.parse(message, data)
        router = self._plane.router
        route = router.route(message.name)
        handle = router.pick(route.endpoint, call.key, _version(message.version))
        numbers = sorted(revision.number for revision in route.revisions)
        return oip_grpc.model_metadata(route.endpoint, numbers, handle.signature)

    async def _check(self, data: bytes, call: GrpcCall) -> bytes:
        message = _health.HealthCheckRequest()
        oip_grpc.parse(message, data)
        if message.service not in ("", _SERVICE):
            raise UserError("endpoint_not_found", f"there is no service {message.service[:80]!r}")
        return _encoded(_health.HealthCheckResponse(status=1 if self._is_ready() else 2))


def _behaviour(plane: DataPlane, handler: Handler) -> Callable[[bytes, Context], Awaitable[bytes]]:
    async def behave(data: bytes, context: Context) -> bytes:
        return await answered(plane, handler, data, context)

    return behave


async def _aside(size: int, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Large work beside the event loop, so that it holds up nobody else's small calls for long."""
    if size < _LARGE_BYTES:
        return function(*args, **kwargs)
    return await asyncio.to_thread(function, *args, **kwargs)


def _version(text: str) -> int | None:
    return routes.parse_version(text.encode()) if text else None


def _encoded(message: Any) -> bytes:
    encoded: bytes = message.SerializeToString()
    return encoded

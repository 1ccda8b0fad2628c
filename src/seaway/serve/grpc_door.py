"""The gRPC door: the Open Inference Protocol v2 and the standard health service, on grpcio's threads.

The worker starts one `GrpcServer`. grpcio's server with threads takes about half the time per call of its asyncio
one. A call's thread reads and writes the messages; everything between, from the choice of the revision on, happens on
the worker's event loop, where the HTTP doors are too. Handlers get and give bytes, so that `wire.oip_grpc` alone knows
the messages. An answer's metadata (request id, revision, digest, error code) is trailing: initial metadata would cost a
write of its own for every call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import grpc

from seaway.core.errors import SeawayError, TemporaryError, UserError
from seaway.core.records import Chosen
from seaway.core.tensors import Tensors
from seaway.engine.jobs import Job
from seaway.engine.pool import Handle
from seaway.engine.router import RevisionNotReady
from seaway.serve.fallback import Attempt, Fallback
from seaway.serve.grpc_call import Context, GrpcCall, GrpcJob, answered, unanswered
from seaway.serve.loop_bridge import LoopBridge
from seaway.serve.plane import DataPlane
from seaway.serve.routes import parse_version
from seaway.wire import health_pb2, oip_grpc, oip_pb2

MAX_MESSAGE_BYTES: Final = 16 * 1024 * 1024
MAX_METADATA_BYTES: Final = 16 * 1024
MAX_CALLS: Final = 256
"""Each holds a thread while it is under way."""
_SPARE_CALLS: Final = 16
"""For health and metadata, which must be answered while all `MAX_CALLS` are taken; beyond them grpcio refuses."""
_LARGE_BYTES: Final = 256 * 1024
_SERVICE: Final = "inference.GRPCInferenceService"
_HEALTH: Final = "grpc.health.v1.Health"
# protobuf makes the message classes as these modules are imported, so no type checker sees them.
_oip: Final[Any] = oip_pb2
_health: Final[Any] = health_pb2


class GrpcServer:
    """Built and started on the worker's loop; its address may be shared with other processes (SO_REUSEPORT)."""

    def __init__(
        self,
        plane: DataPlane,
        tls: tuple[Path, Path] | None = None,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        max_calls: int = MAX_CALLS,
    ) -> None:
        """`tls` are the files of certificate chain and key, taken in again when they change; `max_calls` is how many
        ModelInfer may be under way, more are refused at once."""
        self._tls = tls
        self._plane = plane
        self._max_message_bytes = max_message_bytes
        self._max_calls = max_calls
        self._server: grpc.Server | None = None
        self._threads: ThreadPoolExecutor | None = None

    async def start(self, address: str) -> int:
        """Listen on HOST:PORT and serve; returns the port. Raises `UserError("address_in_use")`."""
        most = self._max_calls + _SPARE_CALLS
        options = [
            ("grpc.so_reuseport", 1),
            ("grpc.max_receive_message_length", self._max_message_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.max_metadata_size", MAX_METADATA_BYTES),
            ("grpc.absolute_max_metadata_size", MAX_METADATA_BYTES),
            ("grpc.keepalive_time_ms", 60_000),
            ("grpc.keepalive_timeout_ms", 20_000),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
        ]
        self._threads = ThreadPoolExecutor(most, thread_name_prefix="seaway-grpc")
        bridge = LoopBridge(asyncio.get_running_loop())
        server = grpc.server(
            self._threads,
            handlers=[_Methods(self._plane, bridge, self._max_calls)],
            options=options,
            maximum_concurrent_rpcs=most,
        )
        try:
            port: int = (
                server.add_insecure_port(address)
                if self._tls is None
                else server.add_secure_port(address, _credentials(*self._tls))
            )
        except RuntimeError as error:
            raise UserError(
                "address_in_use", f"gRPC cannot listen on {address}", "choose another address"
            ) from error
        server.start()
        self._server = server
        return port

    async def drain(self, seconds: float) -> None:
        """Take no new calls; those under way have so many seconds to end. Idempotent."""
        server, self._server = self._server, None
        if server is not None:
            await asyncio.to_thread(server.stop(seconds).wait)
        if self._threads is not None:
            self._threads.shutdown(wait=False)


class _Methods(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Which function answers a method; also the count of predictions under way."""

    def __init__(self, plane: DataPlane, bridge: LoopBridge, max_calls: int) -> None:
        self._plane = plane
        self._bridge = bridge
        self._max_calls = max_calls
        self._calls = 0
        self._fallback = Fallback(plane)
        self._tasks: set[asyncio.Task[None]] = set()
        small: dict[str, Callable[[bytes, GrpcCall], bytes]] = {
            f"/{_SERVICE}/ServerLive": self._live,
            f"/{_SERVICE}/ServerReady": self._ready,
            f"/{_SERVICE}/ModelReady": self._model_ready,
            f"/{_SERVICE}/ServerMetadata": self._server_metadata,
            f"/{_SERVICE}/ModelMetadata": self._model_metadata,
            f"/{_HEALTH}/Check": self._check,
        }
        methods = {path: self._on_loop(handler) for path, handler in small.items()}
        methods[f"/{_SERVICE}/ModelInfer"] = self._infer
        self._handlers = {
            path: grpc.unary_unary_rpc_method_handler(self._behaviour(handler))
            for path, handler in methods.items()
        }

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        return self._handlers.get(handler_call_details.method)

    def _behaviour(self, handler: Callable[[bytes, GrpcCall], bytes]) -> Callable[[bytes, Context], bytes]:
        def behave(data: bytes, context: Context) -> bytes:
            return answered(self._plane, self._bridge, handler, data, context)

        return behave

    def _on_loop(self, handler: Callable[[bytes, GrpcCall], bytes]) -> Callable[[bytes, GrpcCall], bytes]:
        return lambda data, call: self._bridge.call(lambda: handler(data, call))

    # ModelInfer: on the call's thread, save for what says that it is on the loop's

    def _infer(self, data: bytes, call: GrpcCall) -> bytes:
        request = call.message = oip_grpc.Request(data)
        call.understood(request.id)
        call.watch(self._bridge, self._leave)
        large = len(data) >= _LARGE_BYTES
        self._bridge.post(lambda: self._begin(call, request, len(data), large))
        call.wait()
        if large and call.error is None:
            # Beside the loop, so that it holds up nobody else's small calls for long.
            try:
                tensors = request.tensors(call.picked.signature)
            except BaseException:
                self._bridge.post(lambda: self._leave(call))
                raise
            self._bridge.post(lambda: self._submit(call, tensors))
            call.wait()
        if call.error is not None:
            raise call.error
        assert call.outputs is not None
        handle = call.picked
        return request.answer(call.outputs, handle.signature, call.endpoint, handle.revision.number)

    def _begin(self, call: GrpcCall, request: oip_grpc.Request, size: int, large: bool) -> None:
        """On the loop: choose the revision, count the call in, and submit it, unless its message is large."""
        try:
            if self._calls >= self._max_calls:
                raise TemporaryError(
                    "overloaded", f"{self._max_calls} gRPC calls are under way", "try again later"
                )
            route = self._plane.router.route(request.model_name)
            call.endpoint = route.endpoint
            if size > route.limits.body_bytes:
                raise UserError(
                    "body_too_large",
                    f"the message is larger than {route.limits.body_bytes:,} bytes",
                    "send fewer rows at once",
                )
            handle = call.handle = self._pick(call, request.model_version)
            tensors = None if large else request.tensors(handle.signature)
        except Exception as error:  # noqa: BLE001 - it goes on to the call's thread, which is the edge
            call.fail(error)
            return
        handle.enter()
        self._calls += 1
        call.inside = True
        if tensors is None:
            call.release()
        else:
            self._submit(call, tensors)

    def _pick(self, call: GrpcCall, version: str) -> Handle:
        """On the loop."""
        try:
            return self._plane.router.pick(call.endpoint, call, parse_version(version.encode() or None))
        except RevisionNotReady as error:
            call.handle = error.handle
            handle = self._fallback.at_once(error, GrpcJob(call, {}, unanswered), call)
            call.chosen = Chosen.FALLBACK
            return handle

    def _submit(self, call: GrpcCall, tensors: Tensors) -> None:
        """On the loop: the client's deadline counts where it is earlier than the endpoint's."""
        if not call.inside:
            return  # its client has left
        job = GrpcJob(call, tensors, self._done)
        try:
            left_s = call.remaining_s()
            if left_s is not None and left_s <= 0:
                raise TemporaryError("deadline_exceeded", "the call's deadline is over")
            if left_s is not None:
                job.deadline_s = self._plane.clock.monotonic_s() + left_s
            call.picked.predictor.submit(job)
            call.job = job
        except Exception as error:  # noqa: BLE001 - as in _begin
            if isinstance(error, SeawayError) and self._pass_on(job, error):
                return
            self._count_out(call)
            call.fail(error)

    def _done(self, job: Job) -> None:
        assert isinstance(job, GrpcJob)
        call = job.call
        if job.error is not None and self._pass_on(job, job.error):
            return
        self._count_out(call)
        if job.error is not None:
            call.fail(job.error)
        else:
            call.outputs = job.outputs
            call.release()

    def _pass_on(self, job: GrpcJob, error: SeawayError) -> bool:
        """Have another revision answer what this one could not; False where its error is the answer."""
        call = job.call
        other = self._fallback.instead_of(call.picked, call.chosen, error.code, job.deadline_s)
        if other is None or call.message is None:
            return False
        attempt = self._fallback.attempt(job, error)
        if other.signature == call.picked.signature:
            return self._submit_again(job, other, job.tensors, attempt, error)
        other.enter()
        task = asyncio.get_running_loop().create_task(self._read_again(job, other, attempt, error))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    def _submit_again(
        self, job: GrpcJob, other: Handle, tensors: Tensors, attempt: Attempt, error: SeawayError
    ) -> bool:
        call, failed = job.call, job.call.picked
        again = GrpcJob(call, tensors, self._done)
        again.deadline_s = job.deadline_s
        try:
            other.predictor.submit(again)
        except SeawayError:
            return False  # what the first one said is nearer to the cause
        self._fallback.note(failed, attempt, error, call)
        other.enter()
        failed.leave()
        call.handle, call.job = other, again
        call.chosen = again.chosen = Chosen.FALLBACK
        return True

    async def _read_again(self, job: GrpcJob, other: Handle, attempt: Attempt, error: SeawayError) -> None:
        """Another Signature reads the message in its own way. Leaves `other`, which counts the call already."""
        call = job.call
        assert call.message is not None
        found: Exception = error
        try:
            tensors = await asyncio.to_thread(call.message.tensors, other.signature)
            if not call.inside or self._submit_again(job, other, tensors, attempt, error):
                return
        except SeawayError:  # it fits the one that failed alone
            pass
        except Exception as fault:  # noqa: BLE001 - it goes on to the call's thread, which is the edge
            found = fault
        finally:
            other.leave()
        if call.inside:  # else its client has left meanwhile
            self._count_out(call)
            call.fail(found)

    def _leave(self, call: GrpcCall) -> None:
        """On the loop: the client has left, or the message could not be read."""
        if not call.inside:
            return
        if call.job is not None:
            call.job.cancel()
        self._count_out(call)
        call.fail(TemporaryError("cancelled", "the client went away before the answer was complete"))

    def _count_out(self, call: GrpcCall) -> None:
        call.inside = False
        self._calls -= 1
        call.picked.leave()

    # the small methods, on the loop

    def _live(self, data: bytes, call: GrpcCall) -> bytes:
        return _encoded(_oip.ServerLiveResponse(live=True))

    def _ready(self, data: bytes, call: GrpcCall) -> bytes:
        return _encoded(_oip.ServerReadyResponse(ready=self._is_ready()))

    def _is_ready(self) -> bool:
        return self._plane.router.ready and not self._plane.draining

    def _model_ready(self, data: bytes, call: GrpcCall) -> bytes:
        message = _oip.ModelReadyRequest()
        oip_grpc.parse(message, data)
        ready = True
        try:
            self._plane.router.find(message.name, call, parse_version(message.version.encode() or None))
        except TemporaryError:
            ready = False
        return _encoded(_oip.ModelReadyResponse(ready=ready))

    def _server_metadata(self, data: bytes, call: GrpcCall) -> bytes:
        return _encoded(_oip.ServerMetadataResponse(name="seaway", version=self._plane.version))

    def _model_metadata(self, data: bytes, call: GrpcCall) -> bytes:
        message = _oip.ModelMetadataRequest()
        oip_grpc.parse(message, data)
        router = self._plane.router
        route = router.route(message.name)
        handle = router.find(route.endpoint, call, parse_version(message.version.encode() or None))
        numbers = sorted(revision.number for revision in route.revisions)
        return oip_grpc.model_metadata(route.endpoint, numbers, handle.signature)

    def _check(self, data: bytes, call: GrpcCall) -> bytes:
        message = _health.HealthCheckRequest()
        oip_grpc.parse(message, data)
        if message.service not in ("", _SERVICE):
            raise UserError("endpoint_not_found", f"there is no service {message.service[:80]!r}")
        return _encoded(_health.HealthCheckResponse(status=1 if self._is_ready() else 2))


def _credentials(chain: Path, key: Path) -> grpc.ServerCredentials:
    """Read again at each handshake; a pair that cannot be read leaves the last one in place."""

    def read() -> grpc.ServerCertificateConfiguration | None:
        try:
            return grpc.ssl_server_certificate_configuration([(key.read_bytes(), chain.read_bytes())])
        except OSError:
            return None

    first = read()
    if first is None:
        raise UserError("invalid_config", f"{chain.name} or {key.name} cannot be read", "check the files")
    return grpc.dynamic_ssl_server_credentials(first, read)


def _encoded(message: Any) -> bytes:
    encoded: bytes = message.SerializeToString()
    return encoded

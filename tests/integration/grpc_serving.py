"""A GrpcServer on a loop of its own, in this process, over real models; and the smallest client for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

import grpc
import uvloop

from seaway.core.traffic import RoutingTable
from seaway.engine.pool import Pool, Sources
from seaway.engine.router import Router
from seaway.serve.grpc_door import GrpcServer
from seaway.serve.plane import DataPlane
from seaway.testing.recorder import MemoryRecorder
from seaway.wire import health_pb2, oip_pb2
from seaway.wiring import adapters, worker
from seaway.wiring.clock import SystemClock

T = TypeVar("T")
OIP: Any = oip_pb2
HEALTH: Any = health_pb2


async def _no_metrics() -> str:
    return ""


class Serving:
    """Started when made; `port` is where it listens."""

    def __init__(self, table: RoutingTable, **limits: int) -> None:
        clock = SystemClock()
        self._others = set(threading.enumerate())
        self._pool = pool = Pool(Sources(worker.open_bundle, adapters.runtime, worker.sample), clock)
        for route in table.routes:
            for revision in route.revisions:
                pool.load(route.endpoint, revision, route.limits)
        self.recorder = MemoryRecorder()
        self.plane = DataPlane(Router(pool, table), self.recorder, clock, _no_metrics, "1.2.3")
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.server = GrpcServer(self.plane, **limits)
        self.port = self.run(self.server.start("127.0.0.1:0"))
        self.address = f"127.0.0.1:{self.port}"

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(60)

    async def _retire(self) -> None:
        for handle in self._pool.handles():
            self._pool.retire(handle.endpoint, handle.revision.number)

    def stop(self) -> None:
        """Also waits for runs that their callers left: one that met the end of this process inside ONNX Runtime would
        abort it (exit code 134), since Python ends its thread within C++."""
        self.run(self.server.drain(2.0))
        self.run(self._retire())
        for thread in set(threading.enumerate()) - self._others:
            if thread.name == "seaway-predict":
                thread.join(60)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(60)
        self._loop.close()


class Client:
    """Calls methods with messages or with bytes."""

    def __init__(self, address: str) -> None:
        self.channel = grpc.insecure_channel(address, [("grpc.max_receive_message_length", -1)])

    def call(
        self, method: str, request: Any, timeout: float | None = 60.0, metadata: Any = ()
    ) -> tuple[bytes, dict[str, str]]:
        """The answer's bytes and its trailing metadata; raises `grpc.RpcError`."""
        data = request if isinstance(request, bytes) else request.SerializeToString()
        answer, call = self._method(method).with_call(data, timeout=timeout, metadata=metadata)
        return answer, dict(call.trailing_metadata())

    def future(self, method: str, request: Any, timeout: float | None = 60.0) -> Any:
        return self._method(method).future(request.SerializeToString(), timeout=timeout)

    def _method(self, method: str) -> Any:
        path = method if method.startswith("/") else f"/inference.GRPCInferenceService/{method}"
        return self.channel.unary_unary(path)

    def infer(self, request: Any, **options: Any) -> tuple[Any, dict[str, str]]:
        data, metadata = self.call("ModelInfer", request, **options)
        return OIP.ModelInferResponse.FromString(data), metadata

    def answers(self, request: Any) -> bool:
        """Whether it is answered now."""
        try:
            self.infer(request)
        except grpc.RpcError:
            return False
        return True

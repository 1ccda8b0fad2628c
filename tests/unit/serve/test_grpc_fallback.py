"""S9 over gRPC: the same as over HTTP, also where the stable revision reads the message in its own way."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import grpc
import pytest
from rollout_front import BROKEN, CANDIDATE, CRASHED, STABLE, WIDER, Rollout, in_flight

from seaway.core.errors import SeawayError, TemporaryError, UserError
from seaway.core.tensors import Signature, Tensors
from seaway.serve.grpc_door import GrpcServer
from seaway.wire import oip_grpc, oip_pb2

OIP: Any = oip_pb2


def message(values: int = 2, version: str = "") -> bytes:
    made = OIP.ModelInferRequest(model_name="e", model_version=version)
    contents = made.inputs.add(name="x", datatype="FP32", shape=[values]).contents
    contents.fp32_contents.extend([1.0] * values)
    encoded: bytes = made.SerializeToString()
    return encoded


class Called:
    """One ModelInfer: its status and metadata, and its outputs by name."""

    def __init__(self, address: str, data: bytes, metadata: tuple[tuple[str, str], ...] = ()) -> None:
        with grpc.insecure_channel(address) as channel:
            method = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
            try:
                answer, call = method.with_call(data, timeout=60, metadata=metadata)
                self.code = "OK"
                outputs = OIP.ModelInferResponse.FromString(answer).outputs
                self.outputs = {output.name: list(output.contents.fp32_contents[:2]) for output in outputs}
            except grpc.RpcError as error:
                call, self.outputs = error, {}
                self.code = dict(call.trailing_metadata())["seaway-code"]
            self.revision = dict(call.trailing_metadata())["seaway-revision"]


def run(rollout: Rollout, test: Callable[[str], Coroutine[None, None, None]]) -> None:
    async def scenario() -> None:
        server = GrpcServer(rollout.plane)
        port = await server.start("127.0.0.1:0")
        try:
            async with asyncio.timeout(60):
                await test(f"127.0.0.1:{port}")
        finally:
            await server.drain(2.0)
        assert in_flight(rollout) == 0

    asyncio.run(scenario())


async def recorded(rollout: Rollout, count: int) -> list[tuple[str, str]]:
    while len(rollout.recorder.requests) < count:
        await asyncio.sleep(0.001)
    return rollout.told()


@pytest.mark.parametrize("wider", [False, True])
@pytest.mark.parametrize("values", [2, 100_000])
def test_s09_the_stable_revision_answers_and_is_named(wider: bool, values: int) -> None:
    rollout = Rollout(wider=wider)
    rollout.arms.fault = BROKEN

    async def scenario(address: str) -> None:
        called = await asyncio.to_thread(Called, address, message(values))
        assert (called.code, called.revision, called.outputs) == ("OK", "1", {"y": [2.0, 2.0]})
        assert await recorded(rollout, 2) == [("execution_failed", "split"), ("OK", "fallback")]
        failed, answered = rollout.recorder.requests
        assert failed.request_id == answered.request_id and failed.size == answered.size > 0
        assert rollout.plane.fallbacks == {("e", "2", "execution_failed"): 1}

    run(rollout, scenario)


def test_s09_a_candidate_that_is_not_ready_fails_over_at_once() -> None:
    rollout = Rollout(ready=False)

    async def scenario(address: str) -> None:
        called = await asyncio.to_thread(Called, address, message())
        assert (called.code, called.revision) == ("OK", "1")
        assert await recorded(rollout, 2) == [("not_ready", "split"), ("OK", "fallback")]

    run(rollout, scenario)


@pytest.mark.parametrize(
    ("fault", "version", "chosen"),
    [
        (BROKEN, "2", "named"),
        (UserError("invalid_value", "not this one"), "", "split"),
        (TemporaryError("overloaded", "too many"), "", "split"),
    ],
)
def test_what_another_revision_would_not_do_better_stays_where_it_is(
    fault: SeawayError, version: str, chosen: str
) -> None:
    rollout = Rollout()
    rollout.arms.fault = fault

    async def scenario(address: str) -> None:
        called = await asyncio.to_thread(Called, address, message(version=version))
        assert (called.code, called.revision) == (fault.code, "2")
        assert await recorded(rollout, 1) == [(fault.code, chosen)]

    run(rollout, scenario)


@pytest.mark.parametrize("wider", [False, True])
def test_where_the_stable_one_does_not_take_it_the_first_error_is_the_answer(wider: bool) -> None:
    rollout = Rollout(wider=wider)
    rollout.arms.fault = CRASHED
    rollout.handle(STABLE).predictor.close()

    async def scenario(address: str) -> None:
        called = await asyncio.to_thread(Called, address, message())
        assert (called.code, called.revision) == ("engine_crashed", "2")
        assert await recorded(rollout, 1) == [("engine_crashed", "split")]

    run(rollout, scenario)


def test_flags_read_metadata_and_cookies_that_came_apart() -> None:
    """HTTP/2 may send each cookie as a field of its own (RFC 9113, section 8.2.3)."""
    rollout = Rollout(percent=0.0001)

    async def scenario(address: str) -> None:
        for metadata in (
            (("x-beta", "yes"),),
            (("cookie", "a=b"), ("cookie", "beta=yes"), ("cookie", "c=d")),
        ):
            called = await asyncio.to_thread(Called, address, message(), metadata)
            assert (called.code, called.revision) == ("OK", "2")
        assert {chosen for _, chosen in await recorded(rollout, 2)} == {"flag"}

    run(rollout, scenario)


def test_a_client_that_leaves_while_the_stable_one_answers() -> None:
    rollout = Rollout()
    rollout.arms.fault = BROKEN
    gate = rollout.arms.stable.gate = threading.Event()  # type: ignore[attr-defined]

    async def scenario(address: str) -> None:
        with grpc.insecure_channel(address) as channel:
            future = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer").future(message())
            await recorded(rollout, 1)
            assert rollout.handle(STABLE).in_flight == 1
            future.cancel()
            assert await recorded(rollout, 2) == [("execution_failed", "split"), ("cancelled", "fallback")]
        gate.set()

    run(rollout, scenario)


def test_a_client_that_leaves_while_its_message_is_read_again_is_counted_out_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where the stable revision then does not take it."""
    rollout = Rollout(wider=True)
    rollout.arms.fault = BROKEN
    gate, reading = threading.Event(), threading.Event()
    read = oip_grpc.Request.tensors

    def tensors(request: oip_grpc.Request, signature: Signature) -> Tensors:
        if signature == WIDER:
            return read(request, signature)
        reading.set()
        gate.wait(60)
        raise UserError("wrong_shape", "not this one")

    monkeypatch.setattr(oip_grpc.Request, "tensors", tensors)

    async def scenario(address: str) -> None:
        with grpc.insecure_channel(address) as channel:
            future = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer").future(message())
            assert await asyncio.to_thread(reading.wait, 60)
            future.cancel()
            assert await recorded(rollout, 1) == [("cancelled", "split")]
        gate.set()
        while rollout.handle(STABLE).in_flight:
            await asyncio.sleep(0.001)
        assert [rollout.handle(number).in_flight for number in (STABLE, CANDIDATE)] == [0, 0]

    run(rollout, scenario)

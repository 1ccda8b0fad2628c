"""An open loop over gRPC, for the overload proof: the same outcomes as over HTTP."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio
import numpy as np

from overload_server import FEATURES, ROWS, Questions
from seaway.testing.load import Failure, Outcome
from seaway.wire import oip_pb2

OIP: Any = oip_pb2
_CHANNELS = 4
_HTTP = {"OK": 200, "RESOURCE_EXHAUSTED": 503, "UNAVAILABLE": 503, "DEADLINE_EXCEEDED": 504}


async def drive(
    address: str, questions: Questions, rate_per_s: float, seconds: float, deadline_s: float
) -> list[Outcome]:
    """Poisson arrivals; each call carries the deadline, counted from when it is sent."""
    gaps = np.random.default_rng(0).exponential(1 / rate_per_s, round(rate_per_s * seconds))
    requests = [_request(row) for row in questions.rows]
    loop = asyncio.get_running_loop()
    channels = [
        grpc.aio.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) for _ in range(_CHANNELS)
    ]
    methods = [channel.unary_unary("/inference.GRPCInferenceService/ModelInfer") for channel in channels]
    start = loop.time()

    async def ask(index: int, due_s: float) -> Outcome:
        call = methods[index % _CHANNELS](requests[index % ROWS], timeout=deadline_s)
        failure: Failure | None = None
        try:
            answer = OIP.ModelInferResponse.FromString(await call)
            if not questions.right(index, float(_values(answer)[0])):
                failure = Failure.WRONG
        except grpc.aio.AioRpcError:
            failure = Failure.STATUS
        done_s = loop.time() - start
        status = _HTTP.get((await call.code()).name)
        after = dict(await call.trailing_metadata() or ()).get("retry-after", "")
        return Outcome(
            index, due_s, done_s, status, None, failure, int(after) if str(after).isdigit() else None
        )

    tasks = []
    for index, due_s in enumerate(np.cumsum(gaps).tolist()):
        wait_s = start + due_s - loop.time()
        if wait_s > 0:
            await asyncio.sleep(wait_s)
        tasks.append(loop.create_task(ask(index, due_s)))
    outcomes = list(await asyncio.gather(*tasks))
    for channel in channels:
        await channel.close()
    return outcomes


async def peak(address: str, questions: Questions, callers: int, seconds: float) -> float:
    """Answers/s of a closed loop of so many callers."""
    request = _request(questions.rows[0])
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    answered = 0
    async with grpc.aio.insecure_channel(address) as channel:
        method = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")

        async def ask() -> None:
            nonlocal answered
            while loop.time() < end:
                try:
                    await method(request)
                    answered += 1
                except grpc.aio.AioRpcError:
                    continue  # refused: it is only not counted

        await asyncio.gather(*(ask() for _ in range(callers)))
    assert answered, "nothing was answered"
    return answered / seconds


def _request(row: Any) -> bytes:
    tensor = OIP.ModelInferRequest.InferInputTensor(name="x", datatype="FP32", shape=[1, FEATURES])
    request = OIP.ModelInferRequest(model_name="model", inputs=[tensor], raw_input_contents=[row.tobytes()])
    return bytes(request.SerializeToString())


def _values(answer: Any) -> Any:
    if answer.raw_output_contents:
        return np.frombuffer(answer.raw_output_contents[0], np.float32)
    return answer.outputs[0].contents.fp32_contents

"""KServe's own clients against a running server; run by its own environment, prints what they were answered.

Arguments: HTTP address, gRPC address, endpoint. The endpoint takes `x` FP32 [N,3].
"""

import asyncio
import json
import sys

import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import InferOutput


def request(endpoint: str, rows: np.ndarray, *, binary: bool) -> InferRequest:
    """An infer request for the rows."""
    tensor = InferInput("x", list(rows.shape), "FP32")
    tensor.set_data_from_numpy(rows, binary_data=binary)
    return InferRequest(model_name=endpoint, infer_inputs=[tensor])


def values(outputs: list[InferOutput]) -> dict[str, list[float]]:
    """The numbers of each output."""
    return {output.name: output.as_numpy().ravel().tolist() for output in outputs}


async def main(http: str, grpc: str, endpoint: str) -> None:
    """Health and one prediction through each client and encoding."""
    rows = np.arange(6, dtype=np.float32).reshape(2, 3)
    rest = InferenceRESTClient(RESTConfig(protocol="v2", retries=0))
    found: dict[str, object] = {
        "live": await rest.is_server_live(f"http://{http}"),
        "ready": await rest.is_server_ready(f"http://{http}"),
        "model_ready": await rest.is_model_ready(f"http://{http}", endpoint),
    }
    for binary in (False, True):
        answer = await rest.infer(
            f"http://{http}", request(endpoint, rows, binary=binary), model_name=endpoint
        )
        found["rest binary" if binary else "rest json"] = values(answer.outputs)
    await rest.close()
    calls = InferenceGRPCClient(grpc, retries=0)
    found["grpc live"] = await calls.is_server_live()
    found["grpc model_ready"] = await calls.is_model_ready(endpoint)
    for binary in (False, True):
        answer = await calls.infer(request(endpoint, rows, binary=binary))
        found["grpc raw" if binary else "grpc typed"] = values(answer.outputs)
    await calls.close()
    print(json.dumps(found))


asyncio.run(main(*sys.argv[1:]))

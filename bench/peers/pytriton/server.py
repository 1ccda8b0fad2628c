"""PyTriton with Triton's dynamic batcher and no added queue delay."""

import os
from typing import Any

import numpy as np
import onnx_session
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

session, name, tail = onnx_session.load()
output = session.get_outputs()[-1]


@batch
def infer(**inputs: np.ndarray) -> list[np.ndarray]:
    """The last output of the model."""
    (rows,) = inputs.values()
    return [np.ascontiguousarray(session.run(None, {name: rows})[-1])]


if __name__ == "__main__":
    port = int(os.environ["PORT"])
    addresses: dict[str, Any] = {
        "http_address": "127.0.0.1",
        "http_port": port,
        "grpc_address": "127.0.0.1",
        "grpc_port": int(os.environ["GRPC_PORT"]),
        "metrics_address": "127.0.0.1",
        "metrics_port": port + 2,
        "allow_sagemaker": False,
    }
    with Triton(config=TritonConfig(**addresses)) as triton:
        triton.bind(
            model_name="m",
            infer_func=infer,
            inputs=[Tensor(name=name, dtype=np.float32, shape=tuple(tail))],
            outputs=[Tensor(name="probabilities", dtype=np.float32, shape=(output.shape[-1],))],
            config=ModelConfig(max_batch_size=64, batcher=DynamicBatcher(max_queue_delay_microseconds=0)),
            strict=False,
        )
        triton.serve()

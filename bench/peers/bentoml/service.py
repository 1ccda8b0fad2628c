"""A BentoML service with adaptive batching, as its documentation writes one."""

import os

import bentoml
import numpy as np
import onnx_session


@bentoml.service(
    workers=1, traffic={"timeout": 30, "max_concurrency": 1000}, logging={"access": {"enabled": False}}
)
class Service:
    """Answers with the last output of the model."""

    def __init__(self) -> None:
        self.session, self.input, _ = onnx_session.load()

    @bentoml.api(batchable=True, max_batch_size=int(os.environ["BATCH"]), max_latency_ms=1000)
    def predict(self, x: np.ndarray) -> np.ndarray:
        return self.session.run(None, {self.input: x.astype(np.float32)})[-1]

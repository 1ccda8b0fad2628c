"""Ray Serve with one replica: `@serve.batch` for a model that gains by it, else the plain call."""

import os
import time
from typing import Any

import numpy as np
import onnx_session
import ray
from ray import serve
from starlette.requests import Request

BATCH = int(os.environ["BATCH"])


@serve.deployment(num_replicas=1, max_ongoing_requests=200, ray_actor_options={"num_cpus": 0.5})
class Onnx:
    """Answers with the last output of the model."""

    def __init__(self) -> None:
        self.session, self.input, _ = onnx_session.load()

    @serve.batch(max_batch_size=32, batch_wait_timeout_s=0.001)
    async def batched(self, requests: list[np.ndarray]) -> list[np.ndarray]:
        output = self.session.run(None, {self.input: np.concatenate(requests)})[-1]
        return [output[i : i + 1] for i in range(len(requests))]

    async def __call__(self, request: Request) -> dict[str, Any]:
        rows = np.asarray((await request.json())["inputs"], dtype=np.float32)
        if BATCH > 1:
            output = await self.batched(rows)
        else:
            output = self.session.run(None, {self.input: rows})[-1]
        return {"predictions": output.tolist()}


if __name__ == "__main__":
    passed = {name: os.environ[name] for name in ("PYTHONPATH", "MODEL", "BATCH")}
    ray.init(
        num_cpus=1,
        include_dashboard=False,
        runtime_env={"env_vars": passed},
        log_to_driver=False,
        object_store_memory=200_000_000,
        _temp_dir=os.environ["RAY_FILES"],
        _node_ip_address="127.0.0.1",
    )
    serve.start(http_options={"host": "127.0.0.1", "port": int(os.environ["PORT"])})
    serve.run(Onnx.bind(), route_prefix="/predict")
    while True:
        time.sleep(3600)

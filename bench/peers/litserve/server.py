"""LitServe with its own batching and its faster queue, as its documentation advises for high request rates."""

import os
from typing import Any

import litserve
import numpy as np
import onnx_session


class Onnx(litserve.LitAPI):
    """Rows of several requests are one batch."""

    def setup(self, device: str) -> None:
        self.session, self.input, _ = onnx_session.load()

    def decode_request(self, request: dict[str, Any]) -> np.ndarray:
        return np.asarray(request["inputs"], dtype=np.float32)

    def batch(self, inputs: list[np.ndarray]) -> np.ndarray:
        return np.concatenate(inputs)

    def predict(self, rows: np.ndarray) -> np.ndarray:
        return self.session.run(None, {self.input: rows})[-1]

    def unbatch(self, output: np.ndarray) -> list[np.ndarray]:
        return [output[i : i + 1] for i in range(len(output))]

    def encode_response(self, output: np.ndarray) -> dict[str, Any]:
        return {"predictions": output.tolist()}


if __name__ == "__main__":
    server = litserve.LitServer(
        Onnx(max_batch_size=int(os.environ["BATCH"]), batch_timeout=0.001),
        accelerator="cpu",
        workers_per_device=1,
        fast_queue=True,
        restart_workers=False,
    )
    server.run(
        host="127.0.0.1",
        port=int(os.environ["PORT"]),
        num_api_servers=1,
        log_level="warning",
        generate_client_file=False,
    )

"""A custom TorchServe handler for ONNX; TorchServe gathers the batch and gives it here as a list."""

import json
from typing import Any

import numpy as np
import onnx_session


class Onnx:
    """One row per request, one list of probabilities per answer."""

    def __init__(self) -> None:
        self.session, self.input, self.tail = onnx_session.load()

    def handle(self, requests: list[dict[str, Any]]) -> list[list[float]]:
        rows = np.stack([self._row(request) for request in requests])
        return self.session.run(None, {self.input: rows})[-1].tolist()

    def _row(self, request: dict[str, Any]) -> np.ndarray:
        body = request.get("body")
        if isinstance(body, (bytes, bytearray)):
            body = json.loads(body)
        return np.asarray(body["data"], dtype=np.float32).reshape(self.tail)


_model: list[Onnx] = []


def handle(data: list[dict[str, Any]] | None, context: Any) -> list[list[float]] | None:
    """What TorchServe calls: once without data when the worker starts, then per batch."""
    if not _model:
        _model.append(Onnx())
    return None if data is None else _model[0].handle(data)

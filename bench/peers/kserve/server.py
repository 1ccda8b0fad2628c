"""A custom KServe predictor for ONNX, on the loopback interface only (KServe itself listens on all)."""

import logging
import os
from typing import Any

import grpc
import onnx_session
import uvicorn
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer

_configure = uvicorn.Config.__init__
_listen = grpc.aio.Server.add_insecure_port


def _configure_loopback(self: uvicorn.Config, *words: Any, **options: Any) -> None:
    _configure(self, *words, **{**options, "host": "127.0.0.1"})


def _listen_loopback(self: grpc.aio.Server, address: str) -> int:
    return _listen(self, address.replace("[::]", "127.0.0.1"))


uvicorn.Config.__init__ = _configure_loopback
grpc.aio.Server.add_insecure_port = _listen_loopback


class Onnx(Model):
    """Answers with the last output of the model, in binary where the request asks for it."""

    def __init__(self) -> None:
        super().__init__("m")
        self.session, self.input, _ = onnx_session.load()
        self.ready = True

    async def predict(
        self, payload: InferRequest, headers: Any = None, response_headers: Any = None
    ) -> InferResponse:
        output = self.session.run(None, {self.input: payload.inputs[0].as_numpy()})[-1]
        encoded = InferOutput("probabilities", list(output.shape), "FP32")
        encoded.set_data_from_numpy(output, binary_data=bool(getattr(payload, "use_binary_outputs", False)))
        return InferResponse(response_id=payload.id, model_name="m", infer_outputs=[encoded])


if __name__ == "__main__":
    ports = {"http_port": int(os.environ["PORT"]), "grpc_port": int(os.environ["GRPC_PORT"])}
    server = ModelServer(**ports, workers=1, enable_latency_logging=False)
    for logger in ("kserve", "kserve.trace", "uvicorn.access"):  # else it writes two lines per request
        logging.getLogger(logger).setLevel(logging.WARNING)
    server.start([Onnx()])

"""A custom MLServer runtime for ONNX; its settings are written by `bench.catalogue`."""

import numpy as np
import onnx_session
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Onnx(MLModel):
    """Answers with the last output of the model."""

    async def load(self) -> bool:
        self.session, self.input, _ = onnx_session.load()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        rows = NumpyCodec.decode_input(payload.inputs[0]).astype(np.float32)
        output = self.session.run(None, {self.input: rows})[-1]
        encoded = NumpyCodec.encode_output("probabilities", output)
        return InferenceResponse(model_name=self.name, outputs=[encoded])

"""Rows as people and data frames have them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from seaway.core.tensors import Signature, Tensors
from seaway.serve.door import Answer, Decoded, Door
from seaway.wire import predict_json


class Predict:
    """`POST /predict/{endpoint}`."""

    name = "predict"
    paths: Sequence[str] = ("/predict/{endpoint}",)
    media_types: Sequence[bytes] = (b"application/json",)
    streams = False

    def aside(self, headers: Mapping[bytes, bytes], size: int, signature: Signature) -> bool:
        """JSON always is."""
        return True

    def decode(self, headers: Mapping[bytes, bytes], body: bytes, signature: Signature) -> Decoded:
        """Rows as objects or arrays."""

        def encode(outputs: Tensors, endpoint: str, number: int) -> Answer:
            return Answer(predict_json.encode_predictions(outputs, signature))

        return Decoded(predict_json.decode_rows(body, signature), encode, True)


PREDICT: Final[Door] = Predict()

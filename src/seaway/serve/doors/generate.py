"""One row in, and the model's replies as Server-Sent Events while it makes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from seaway.core.tensors import Signature, Tensors
from seaway.serve.door import Answer, Decoded, Door
from seaway.wire import events_sse, generate_json


class Generate:
    """`POST /v2/models/{endpoint}[/versions/{version}]/generate_stream`."""

    name = "generate"
    paths: Sequence[str] = (
        "/v2/models/{endpoint}/generate_stream",
        "/v2/models/{endpoint}/versions/{version}/generate_stream",
    )
    media_types: Sequence[bytes] = (b"application/json",)
    streams = True

    def aside(self, headers: Mapping[bytes, bytes], size: int, signature: Signature) -> bool:
        """JSON always is."""
        return True

    def decode(self, headers: Mapping[bytes, bytes], body: bytes, signature: Signature) -> Decoded:
        """An object of input names to values."""

        def encode(outputs: Tensors, endpoint: str, number: int) -> Answer:
            reply = generate_json.encode(outputs, signature, endpoint, number)
            return Answer(events_sse.event(reply), events_sse.CONTENT_TYPE)

        return Decoded(generate_json.decode(body, signature), encode, True)


GENERATE: Final[Door] = Generate()

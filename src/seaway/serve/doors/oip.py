"""Open Inference Protocol v2 over HTTP: JSON, and tensors as binary data beside it, each way by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from seaway.core.errors import UserError
from seaway.core.tensors import DType, Signature, Tensors
from seaway.serve.door import Answer, Decoded, Door
from seaway.wire import identity, oip_binary, oip_json
from seaway.wire.oip_requests import InferRequest

_LENGTH: Final = b"inference-header-content-length"
_SHORT_DIGITS: Final = 6  # the JSON beside the data has less than 100,000 bytes


class Oip:
    """`POST /v2/models/{endpoint}[/versions/{version}]/infer`."""

    name = "oip"
    paths: Sequence[str] = ("/v2/models/{endpoint}/infer", "/v2/models/{endpoint}/versions/{version}/infer")
    media_types: Sequence[bytes] = (b"application/json", b"application/octet-stream")
    streams = False

    def aside(self, headers: Mapping[bytes, bytes], size: int, signature: Signature) -> bool:
        """Numbers as binary data are read where they lie."""
        binary = _LENGTH in headers and len(headers[_LENGTH]) < _SHORT_DIGITS
        return not binary or any(spec.dtype is DType.BYTES for spec in signature.inputs)

    def decode(self, headers: Mapping[bytes, bytes], body: bytes, signature: Signature) -> Decoded:
        """JSON alone, or with binary data where the header Inference-Header-Content-Length divides them."""
        length = headers.get(_LENGTH)
        if length is None:
            if headers.get(b"content-type", b"").lstrip()[:24].lower() == b"application/octet-stream":
                raise UserError(
                    "unsupported_media_type",
                    "content-type application/octet-stream without the header inference-header-content-length",
                    "send that header with the length of the JSON, or JSON alone as application/json",
                )
            request = oip_json.decode_request(body, signature)
        else:
            request = oip_binary.decode_request(length, body, signature)
        named = None if request.id is None else identity.protocol_id(request.id)
        if request.binary:
            return Decoded(request.tensors, _binary_answer(request, signature), request.checked, named)

        def encode(outputs: Tensors, endpoint: str, number: int) -> Answer:
            return Answer(oip_json.encode_response(request, outputs, signature, endpoint, number))

        return Decoded(request.tensors, encode, request.checked, named)


def _binary_answer(request: InferRequest, signature: Signature) -> Callable[[Tensors, str, int], Answer]:
    def encode(outputs: Tensors, endpoint: str, number: int) -> Answer:
        body, length = oip_binary.encode_response(request, outputs, signature, endpoint, number)
        return Answer(body, b"application/octet-stream", b"Inference-Header-Content-Length: %d\r\n" % length)

    return encode


OIP: Final[Door] = Oip()

"""`generate_stream`, after Triton's generate extension: one row in, and a JSON object for each reply.

The body is an object of input names to values, which is a row as `/predict` takes it; `{"instances": [row]}` with
one row is taken too. A reply is `{"model_name", "model_version", OUTPUT: value, …}`.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Final

import msgspec

from seaway.core.errors import UserError
from seaway.core.tensors import Signature, Tensors
from seaway.wire import json_values, predict_json

_DECODER: Final = msgspec.json.Decoder()
_ENCODER: Final = msgspec.json.Encoder()
_HINT: Final = "send one object of input names to values"


def decode(body: bytes, signature: Signature) -> Tensors:
    """The input tensors, of one row each. Raises `UserError`."""
    found = json_values.decode(body, _DECODER)
    json_values.refuse_duplicate_keys(body, json_values.count_keys(found))
    row = found
    if type(found) is dict and list(found) == ["instances"] and signature.input("instances") is None:
        rows = found["instances"]
        if type(rows) is not list or len(rows) != 1:
            raise UserError("invalid_request", "a stream answers exactly one row", _HINT)
        row = rows[0]
    elif type(found) is not dict:
        raise UserError("invalid_request", f"the body is {json_values.kind(found)}, not an object", _HINT)
    return predict_json.rows_to_tensors([row], one_row(signature, row if type(row) is dict else ()))


def one_row(signature: Signature, named: Container[str]) -> Signature:
    """The Signature as one row sees it: its first axis may be fixed, and of the optional inputs it has those `named`."""
    return Signature(
        tuple(
            msgspec.structs.replace(spec, shape=(-1, *spec.shape[1:])) if spec.shape[:1] == (1,) else spec
            for spec in signature.inputs
            if not spec.optional or spec.name in named
        ),
        signature.outputs,
    )


def encode(outputs: Tensors, signature: Signature, endpoint: str, revision: int) -> bytes:
    """One reply. An output of one value is plain; NaN and infinite values are null."""
    reply: dict[str, object] = {"model_name": endpoint, "model_version": str(revision)}
    for spec in signature.outputs:
        array = outputs[spec.name]
        if spec.shape[:1] == (-1,) and array.shape[0] == 1:
            array = array[0]
        reply[spec.name] = (
            array.reshape(()).tolist() if array.size == 1 and array.ndim <= 1 else array.tolist()
        )
    return _ENCODER.encode(reply)

"""The data plane's OpenAPI 3.1 document, with each endpoint's real inputs and an example that works.

The schemas are as strict as the doors, save for what JSON Schema cannot say: that a tensor's data fills its shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from seaway.core.tensors import Signature, Tensors, describe
from seaway.wire import generate_json, oip_json, openapi_feedback, openapi_schemas, predict_json
from seaway.wire.openapi_schemas import Json

_ERROR: Final[Json] = {
    "description": "Refused; the body says why and what to do.",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
}
_COMPONENTS: Final[Json] = {
    "schemas": {
        "Error": {
            "type": "object",
            "required": ["error", "code", "request_id"],
            "properties": {
                "error": {"type": "string", "description": "What was found, as a sentence."},
                "code": {"type": "string", "description": "Stable; programs read this."},
                "hint": {"type": "string", "description": "What to do."},
                "request_id": {"type": "string"},
            },
            "additionalProperties": False,
        }
    }
}


_REQUEST_ID: Final[Json] = {
    "x-request-id": {
        "description": "The client's own, where it sent one (here, or as the protocol's id).",
        "schema": {"type": "string"},
    }
}
_EVENTS: Final[Json] = {
    "type": "object",
    "description": "Server-Sent Events, of this form each. Where the stream breaks off, the last is named `error`.",
    "properties": {
        "event": {"type": "string"},
        "data": {"type": "string", "description": "A reply as a JSON object, or an Error."},
    },
    "required": ["data"],
}
_LENGTH: Final = "Inference-Header-Content-Length"
_LENGTH_TEXT: Final = "Where binary tensor data follows the JSON: how many bytes the JSON has."
_BINARY: Final[Json] = {
    "schema": {
        "type": "string",
        "format": "binary",
        "description": f"The JSON, {_LENGTH} bytes long, and then the bytes of each tensor whose parameter "
        "binary_data_size says how many they are (Triton's binary tensor data extension).",
    }
}


class Endpoint(msgspec.Struct, frozen=True):
    """What the document says of one endpoint; `sample` becomes its example. `streams`: it can answer piece by piece."""

    name: str
    ref: str
    signature: Signature
    sample: Tensors
    streams: bool = False


def document(version: str, endpoints: Sequence[Endpoint], *, feedback: bool) -> Json:
    """The whole document as JSON values; `feedback`: the server takes it."""
    paths: Json = {}
    for endpoint in endpoints:
        if endpoint.signature.batched:
            paths[f"/predict/{endpoint.name}"] = {"post": _predict(endpoint)}
        paths[f"/v2/models/{endpoint.name}/infer"] = {"post": _infer(endpoint)}
        if endpoint.streams:
            paths[f"/v2/models/{endpoint.name}/generate_stream"] = {"post": _generate(endpoint)}
        paths[f"/v2/models/{endpoint.name}"] = {
            "get": _plain(f"Inputs and outputs of {endpoint.name}", endpoint.name)
        }
        paths[f"/v2/models/{endpoint.name}/ready"] = {
            "get": _plain(f"Whether {endpoint.name} can answer", endpoint.name)
        }
    if feedback:
        paths["/feedback"] = {"post": openapi_feedback.operation(_REQUEST_ID, _ERROR)}
    paths["/v2"] = {"get": _plain("The server's name and version", "server")}
    paths["/v2/health/live"] = {"get": _plain("Whether the process answers", "server")}
    paths["/v2/health/ready"] = {"get": _plain("Whether every revision with traffic can answer", "server")}
    paths["/metrics"] = {"get": _plain("Counters in Prometheus text", "server", "text/plain")}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Seaway",
            "version": version,
            "description": "Predictions of the deployed endpoints. Every path below /v2/models/NAME is also there "
            "below /v2/models/NAME/versions/NUMBER, for one revision.",
        },
        "paths": paths,
        "components": _COMPONENTS,
    }


def _plain(summary: str, tag: str, media_type: str = "application/json") -> Json:
    content = {media_type: {"schema": {"type": "object" if media_type == "application/json" else "string"}}}
    return {
        "summary": summary,
        "tags": [tag],
        "responses": {
            "200": {"description": "OK", "headers": _REQUEST_ID, "content": content},
            "default": _ERROR,
        },
    }


def _operation(
    endpoint: Endpoint,
    summary: str,
    request: Json,
    example: object,
    answer: Json,
    media_type: str = "application/json",
) -> Json:
    return {
        "summary": summary,
        "description": f"Answered by {endpoint.ref}.",
        "tags": [endpoint.name],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": request, "example": example}},
        },
        "responses": {
            "200": {"description": "OK", "headers": _REQUEST_ID, "content": {media_type: {"schema": answer}}},
            "default": _ERROR,
        },
    }


def _predict(endpoint: Endpoint) -> Json:
    parts = predict_json.features(endpoint.signature)
    named, _ = openapi_schemas.row(parts)
    row: Json = {"anyOf": [named, openapi_schemas.listed_row(parts)]}
    rows: Json = {"type": "array", "items": row, "minItems": 1}
    request: Json = {
        "anyOf": [
            {
                "type": "object",
                "properties": {"instances": rows},
                "required": ["instances"],
                "additionalProperties": False,
            },
            rows,
        ]
    }
    outputs = {spec.name: openapi_schemas.output(spec) for spec in endpoint.signature.outputs}
    prediction: object = (
        next(iter(outputs.values())) if len(outputs) == 1 else {"type": "object", "properties": outputs}
    )
    answer: Json = {
        "type": "object",
        "properties": {"predictions": {"type": "array", "items": prediction}},
        "required": ["predictions"],
        "additionalProperties": False,
    }
    example = {"instances": predict_json.tensors_to_rows(endpoint.sample, endpoint.signature)}
    return _operation(endpoint, f"Predict with {endpoint.name}", request, example, answer)


def _generate(endpoint: Endpoint) -> Json:
    sample, signature = endpoint.sample, endpoint.signature
    parts = predict_json.features(generate_json.one_row(signature, [spec.name for spec in signature.inputs]))
    row, _ = openapi_schemas.row(parts)
    first = {name: array[:1] for name, array in sample.items()}
    (example,) = predict_json.tensors_to_rows(first, generate_json.one_row(signature, sample))
    summary = f"The replies of {endpoint.name} as it makes them"
    return _operation(endpoint, summary, row, example, _EVENTS, "text/event-stream")


def _infer(endpoint: Endpoint) -> Json:
    tensors = [openapi_schemas.tensor(spec) for spec in endpoint.signature.inputs]
    names: Json = {"enum": [spec.name for spec in endpoint.signature.outputs]}
    wanted: Json = {
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": names,
            "parameters": _parameters("binary_data"),
        },
        "additionalProperties": False,
    }
    shapes = ", ".join(f"{spec.name}: {describe(spec)}" for spec in endpoint.signature.inputs)
    request: Json = {
        "type": "object",
        "description": f"Inputs: {shapes}. The data of each must fill its shape.",
        "required": ["inputs"],
        "properties": {
            "id": {"type": ["string", "null"]},
            "inputs": {"type": "array", "items": {"anyOf": tensors}, "maxItems": len(tensors)},
            "outputs": {"anyOf": [{"type": "array", "items": wanted}, {"type": "null"}]},
            "parameters": _parameters("binary_data_output"),
        },
        "additionalProperties": False,
    }
    output: Json = {
        "type": "object",
        "required": ["name", "datatype", "shape"],
        "properties": {
            "name": names,
            "datatype": {"type": "string"},
            "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
            "data": {"type": "array", "description": "Flat, in row-major order; null for NaN and infinity."},
            "parameters": {"type": "object"},
        },
        "additionalProperties": False,
    }
    answer: Json = {
        "type": "object",
        "required": ["model_name", "model_version", "outputs"],
        "properties": {
            "model_name": {"const": endpoint.name},
            "model_version": {"type": "string", "description": "The revision's number."},
            "id": {"type": "string"},
            "outputs": {"type": "array", "items": output},
        },
        "additionalProperties": False,
    }
    example = msgspec.json.decode(oip_json.encode_request(endpoint.sample))
    summary = f"Infer with {endpoint.name} (Open Inference Protocol v2)"
    found = _operation(endpoint, summary, request, example, answer)
    length: Json = {"description": _LENGTH_TEXT, "schema": {"type": "integer", "minimum": 0}}
    found["parameters"] = [{"name": _LENGTH, "in": "header", "required": False, **length}]
    body: Any = found["requestBody"]
    body["content"]["application/octet-stream"] = _BINARY
    answered: Any = found["responses"]
    answered["200"]["content"]["application/octet-stream"] = _BINARY
    answered["200"]["headers"] = _REQUEST_ID | {_LENGTH: length}
    return found


def _parameters(flag: str) -> Json:
    return {"type": ["object", "null"], "properties": {flag: {"type": "boolean"}}}

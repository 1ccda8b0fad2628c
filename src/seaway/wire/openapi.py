"""The data plane's OpenAPI 3.1 document, with each endpoint's real inputs and an example that works."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

import msgspec

from seaway.core.tensors import DType, Signature, Tensors, TensorSpec, describe
from seaway.wire import generate_json, oip_json, predict_json

Json: TypeAlias = dict[str, object]

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
        }
    }
}


class Endpoint(msgspec.Struct, frozen=True):
    """What the document says of one endpoint; `sample` becomes its example. `streams`: it can answer piece by piece."""

    name: str
    ref: str
    signature: Signature
    sample: Tensors
    streams: bool = False


def document(version: str, endpoints: Sequence[Endpoint]) -> Json:
    """The whole document as JSON values."""
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
    paths["/v2"] = {"get": _plain("The server's name and version", "server")}
    paths["/v2/health/live"] = {"get": _plain("Whether the process answers", "server")}
    paths["/v2/health/ready"] = {"get": _plain("Whether every revision with traffic can answer", "server")}
    paths["/metrics"] = {"get": _plain("Counters in Prometheus text", "server", "text/plain")}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Seaway",
            "version": version,
            "description": "Predictions of the deployed endpoints.",
        },
        "paths": paths,
        "components": _COMPONENTS,
    }


def _plain(summary: str, tag: str, media_type: str = "application/json") -> Json:
    content = {media_type: {"schema": {"type": "object" if media_type == "application/json" else "string"}}}
    return {
        "summary": summary,
        "tags": [tag],
        "responses": {"200": {"description": "OK", "content": content}},
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
            "200": {"description": "OK", "content": {media_type: {"schema": answer}}},
            "default": _ERROR,
        },
    }


def _predict(endpoint: Endpoint) -> Json:
    parts = predict_json.features(endpoint.signature)
    named, values = _row(parts)
    listed: Json = {
        "type": "array",
        "prefixItems": list(values.values()),
        "minItems": len(values),
        "items": False,
    }
    rows: Json = {"type": "array", "items": {"anyOf": [named, listed]}, "minItems": 1}
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
    outputs = {spec.name: _output(spec) for spec in endpoint.signature.outputs}
    prediction: object = (
        next(iter(outputs.values())) if len(outputs) == 1 else {"type": "object", "properties": outputs}
    )
    answer: Json = {
        "type": "object",
        "properties": {"predictions": {"type": "array", "items": prediction}},
        "required": ["predictions"],
    }
    example = {"instances": predict_json.tensors_to_rows(endpoint.sample, endpoint.signature)}
    return _operation(endpoint, f"Predict with {endpoint.name}", request, example, answer)


def _row(parts: Sequence[predict_json.Feature]) -> tuple[Json, Json]:
    """A row as an object, and the schemas of its values."""
    values: Json = {part.name: _nested(part.spec, part.shape) for part in parts}
    row: Json = {
        "type": "object",
        "properties": values,
        "required": [part.name for part in parts if not (part.spec.nullable or part.spec.optional)],
        "additionalProperties": False,
    }
    return row, values


def _generate(endpoint: Endpoint) -> Json:
    sample, signature = endpoint.sample, endpoint.signature
    parts = predict_json.features(generate_json.one_row(signature, [spec.name for spec in signature.inputs]))
    row, _ = _row(parts)
    first = {name: array[:1] for name, array in sample.items()}
    (example,) = predict_json.tensors_to_rows(first, generate_json.one_row(signature, sample))
    answer: Json = {"type": "string", "description": "Server-Sent Events: one JSON object for each reply."}
    summary = f"The replies of {endpoint.name} as it makes them"
    return _operation(endpoint, summary, row, example, answer, "text/event-stream")


def _infer(endpoint: Endpoint) -> Json:
    tensor: Json = {
        "type": "object",
        "required": ["name", "shape", "datatype", "data"],
        "properties": {
            "name": {"enum": [spec.name for spec in endpoint.signature.inputs]},
            "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
            "datatype": {"enum": sorted({spec.dtype.value for spec in endpoint.signature.inputs})},
            "data": {"type": "array"},
            "parameters": {"type": "object"},
        },
        "additionalProperties": False,
    }
    shapes = ", ".join(f"{spec.name}: {describe(spec)}" for spec in endpoint.signature.inputs)
    request: Json = {
        "type": "object",
        "description": f"Inputs: {shapes}.",
        "required": ["inputs"],
        "properties": {
            "id": {"type": "string"},
            "inputs": {"type": "array", "items": tensor},
            "outputs": {"type": "array", "items": {"type": "object", "required": ["name"]}},
            "parameters": {"type": "object"},
        },
        "additionalProperties": False,
    }
    answer: Json = {
        "type": "object",
        "required": ["model_name", "model_version", "outputs"],
        "properties": {
            "model_name": {"type": "string"},
            "model_version": {"type": "string", "description": "The revision's number."},
            "id": {"type": "string"},
            "outputs": {"type": "array", "items": {"type": "object"}},
        },
    }
    example = msgspec.json.decode(oip_json.encode_request(endpoint.sample))
    return _operation(
        endpoint, f"Infer with {endpoint.name} (Open Inference Protocol v2)", request, example, answer
    )


def _nested(spec: TensorSpec, shape: Sequence[int]) -> Json:
    schema = _scalar(spec)
    for axis in reversed(shape):
        schema = {"type": "array", "items": schema}
        if axis >= 0:
            schema |= {"minItems": axis, "maxItems": axis}
    return schema


def _output(spec: TensorSpec) -> Json:
    schema = _scalar(spec)
    if spec.dtype.is_float:
        schema = {"type": ["number", "null"], "description": "Null where the model gave NaN or infinity."}
    shape = spec.shape[1:]
    for _ in () if shape == (1,) else shape:
        schema = {"type": "array", "items": schema}
    return schema


def _scalar(spec: TensorSpec) -> Json:
    kind = "number"
    if spec.dtype is DType.BYTES:
        kind = "string"
    elif spec.dtype is DType.BOOL:
        kind = "boolean"
    elif spec.dtype.is_integer:
        kind = "integer"
    nullable = spec.nullable and (spec.dtype.is_float or spec.dtype is DType.BYTES)
    return {"type": [kind, "null"] if nullable else kind, "title": spec.dtype.value}

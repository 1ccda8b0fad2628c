"""JSON Schemas of tensors, rows and values for `openapi`: as strict as the doors that read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import numpy as np

from seaway.core.tensors import DType, TensorSpec
from seaway.wire import predict_json

Json: TypeAlias = dict[str, object]

# The least value that is rounded to infinity: half a step above the largest.
_TOO_LARGE: Final = {DType.FP16: 65520.0, DType.FP32: float(2**128 - 2**103)}


def row(parts: Sequence[predict_json.Feature]) -> tuple[Json, Json]:
    """A row as an object, and the schemas of its values."""
    values: Json = {part.name: nested(part.spec, part.shape) for part in parts}
    found: Json = {
        "type": "object",
        "properties": values,
        "required": [part.name for part in parts if not (part.spec.nullable or part.spec.optional)],
        "additionalProperties": False,
    }
    return found, values


def listed_row(parts: Sequence[predict_json.Feature]) -> Json:
    """A row as an array: of its one feature's own values where that has a shape, else one value for each feature."""
    values = [nested(part.spec, part.shape) for part in parts]
    if len(parts) == 1 and parts[0].shape:
        return values[0]
    return {"type": "array", "prefixItems": values, "minItems": len(values), "items": False}


def tensor(spec: TensorSpec) -> Json:
    """One input of an infer request."""
    values: Json = {"type": "array", "items": scalar(spec)}
    if len(spec.shape) > 1:
        values = {"anyOf": [values, nested(spec, spec.shape)]}
    axes = [{"type": "integer", "minimum": 0} if axis == -1 else {"const": axis} for axis in spec.shape]
    size = {"type": "integer", "minimum": 0, "description": "The tensor's bytes; stands for data."}
    return {
        "type": "object",
        "required": ["name", "shape", "datatype"],
        "properties": {
            "name": {"const": spec.name},
            "shape": {"type": "array", "prefixItems": axes, "minItems": len(axes), "items": False},
            "datatype": {"enum": [dtype.value for dtype in DType if spec.dtype.holds(dtype)]},
            "data": values,
            "parameters": {"type": ["object", "null"], "properties": {"binary_data_size": size}},
        },
        "additionalProperties": False,
    }


def nested(spec: TensorSpec, shape: Sequence[int]) -> Json:
    """Arrays in arrays of this shape."""
    schema = scalar(spec)
    for axis in reversed(shape):
        schema = {"type": "array", "items": schema}
        if axis >= 0:
            schema |= {"minItems": axis, "maxItems": axis}
    return schema


def output(spec: TensorSpec) -> Json:
    """One row's value of an output."""
    schema: Json = {"type": _kind(spec), "title": spec.dtype.value}
    if spec.dtype.is_float:
        schema = {"type": ["number", "null"], "description": "Null where the model gave NaN or infinity."}
    shape = spec.shape[1:]
    for _ in () if shape == (1,) else shape:
        schema = {"type": "array", "items": schema}
    return schema


def scalar(spec: TensorSpec) -> Json:
    """One value of an input, within what its datatype holds."""
    kind = _kind(spec)
    nullable = spec.nullable and (spec.dtype.is_float or spec.dtype is DType.BYTES)
    schema: Json = {"type": [kind, "null"] if nullable else kind, "title": spec.dtype.value}
    dtype: Any = spec.dtype.numpy
    if spec.dtype in _TOO_LARGE:
        schema |= {"exclusiveMinimum": -_TOO_LARGE[spec.dtype], "exclusiveMaximum": _TOO_LARGE[spec.dtype]}
    elif spec.dtype.is_integer:
        schema |= {"minimum": int(np.iinfo(dtype).min), "maximum": int(np.iinfo(dtype).max)}
    return schema


def _kind(spec: TensorSpec) -> str:
    if spec.dtype is DType.BYTES:
        return "string"
    if spec.dtype is DType.BOOL:
        return "boolean"
    return "integer" if spec.dtype.is_integer else "number"

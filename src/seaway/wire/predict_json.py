"""`POST /predict/{endpoint}`: rows as people and data frames have them.

A body is `{"instances": [row, …]}` or the bare list. A row is an object by feature name or an array in the order
of the features. Features are the columns of the one `(batch, k)` input where those are named, else the inputs;
a feature of rank 2 or more beyond the batch takes nested arrays. The answer is `{"predictions": […]}`, one
prediction per row: the plain value where the model has one output, else an object by output name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from seaway.core.errors import UserError
from seaway.core.tensors import Array, Signature, Tensors, TensorSpec
from seaway.wire import json_values, plans, predict_quick

_DECODER: Final = msgspec.json.Decoder()
_ENCODER: Final = msgspec.json.Encoder()
_BODY_HINT: Final = 'send {"instances": [row, …]}'


class Feature(NamedTuple):
    """One thing that a row names: an input, or one column of the input."""

    name: str
    spec: TensorSpec
    shape: tuple[int, ...]


def features(signature: Signature) -> tuple[Feature, ...]:
    """What a row is made of, in order. `shape` is that of one row's value, () for a plain one."""
    if signature.inputs and len(signature.inputs) == 1 and signature.inputs[0].columns:
        spec = signature.inputs[0]
        return tuple(Feature(name, spec, ()) for name in spec.columns)
    return tuple(Feature(spec.name, spec, _row_shape(spec)) for spec in signature.inputs)


def _row_shape(spec: TensorSpec) -> tuple[int, ...]:
    return () if spec.shape[1:] == (1,) else spec.shape[1:]


def decode_rows(body: bytes, signature: Signature) -> Tensors:
    """The input tensors of a body. Raises `UserError` that says which row and feature, what came, what was expected."""
    quick = predict_quick.decode(body, signature)
    if quick is not None:
        return quick
    found = json_values.decode(body, _DECODER)
    rows = found
    if type(found) is dict:
        extra = [key for key in found if key != "instances"]
        if "instances" not in found or extra:
            came = f"the body has the key {extra[0][:80]!r}" if extra else "the body has no key 'instances'"
            raise UserError("invalid_request", came, _BODY_HINT)
        rows = found["instances"]
    if type(rows) is not list:
        raise UserError("invalid_request", f"the rows are {json_values.kind(rows)}, not an array", _BODY_HINT)
    json_values.refuse_duplicate_keys(body, json_values.count_keys(found))
    return rows_to_tensors(rows, signature)


def rows_to_tensors(rows: Sequence[object], signature: Signature) -> Tensors:
    """Decoded rows as the Signature's tensors; raises `UserError` as `decode_rows` does."""
    if not signature.batched:
        raise UserError(
            "invalid_request", "this model takes no rows", "call it by the Open Inference Protocol"
        )
    if not rows:
        raise UserError("invalid_request", "there are no rows", "send at least one")
    parts = features(signature)
    wanted = {feature.name: feature for feature in parts}
    single = len(parts) == 1 and bool(parts[0].shape)
    lists: list[list[object]] = []
    for at, row in enumerate(rows):
        if type(row) is dict:
            lists.append(_by_name(row, wanted, at))
        elif type(row) is list and not single:
            if len(row) != len(parts):
                raise UserError(
                    "wrong_shape", f"row {at} has {len(row)} values, expected {len(parts)}", _names(parts)
                )
            lists.append(row)
        elif len(parts) == 1:
            lists.append([row])
        else:
            raise UserError(
                "invalid_request",
                f"row {at} is {json_values.kind(row)}, not an object or an array",
                _names(parts),
            )
    if not parts[0].shape and parts[0].spec.columns:
        return {parts[0].spec.name: _matrix(lists, parts)}
    return {part.spec.name: _column([row[i] for row in lists], part) for i, part in enumerate(parts)}


def _by_name(row: dict[str, object], wanted: dict[str, Feature], at: int) -> list[object]:
    try:
        values = [row[name] for name in wanted]
    except KeyError:
        values = []
        for name, feature in wanted.items():
            if name not in row and not feature.spec.nullable:
                raise UserError(
                    "missing_input", f"row {at} lacks {name!r}", _names(tuple(wanted.values()))
                ) from None
            values.append(row.get(name))
    if len(row) > len(wanted) or any(name not in wanted for name in row):
        extra = next(name for name in row if name not in wanted)
        raise UserError("unknown_input", f"row {at} names {extra[:80]!r}", _names(tuple(wanted.values())))
    return values


def _names(parts: Sequence[Feature]) -> str:
    names = ", ".join(part.name for part in parts[:30])
    return f"expected: {names}{' …' if len(parts) > 30 else ''}"


def _matrix(rows: list[list[object]], parts: Sequence[Feature]) -> Array:
    width = len(parts)
    flat = [value for row in rows for value in row]
    found = json_values.to_array(
        flat, parts[0].spec, lambda at: f"row {at // width}, {parts[at % width].name!r}"
    )
    return found.reshape(len(rows), width)


def _column(values: list[object], part: Feature) -> Array:
    if not part.shape:
        found = json_values.to_array(values, part.spec, lambda at: f"row {at}, {part.name!r}")
        return found.reshape((-1, *part.spec.shape[1:]))
    shape = _shape_of(values[0], part)
    flat: list[object] = []
    for at, value in enumerate(values):
        flat += json_values.flatten(value, shape, f"row {at}, {part.name!r}")
    size = max(1, len(flat) // len(values))
    found = json_values.to_array(
        flat, part.spec, lambda at: f"row {at // size}, {part.name!r}, value {at % size}"
    )
    return found.reshape((len(values), *shape))


def _shape_of(value: object, part: Feature) -> tuple[int, ...]:
    """The feature's shape, with the lengths that the first row has on free axes."""
    shape: list[int] = []
    for axis in part.shape:
        length = len(value) if type(value) is list else 0
        shape.append(length if axis == -1 else axis)
        value = value[0] if type(value) is list and value else None
    return tuple(shape)


def encode_predictions(tensors: Tensors, signature: Signature) -> bytes:
    """`{"predictions": […]}`; an output of one value per row is plain, NaN and infinite values are null.

    Raises `UserError("invalid_request")` where the outputs are not one per row.
    """
    names = plans.of(signature).output_names
    if len(names) == 1:
        array = tensors[names[0]]
        if array.ndim:
            return b'{"predictions":%b}' % _ENCODER.encode(_per_row(array))
    lengths = {tensors[spec.name].shape[:1] for spec in signature.outputs}
    if len(lengths) != 1 or () in lengths:
        raise UserError(
            "invalid_request",
            "this model does not answer row by row",
            "call it by the Open Inference Protocol",
        )
    columns = [_per_row(tensors[name]) for name in names]
    named = [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]
    return _ENCODER.encode({"predictions": named})


def _per_row(array: Array) -> list[object]:
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    found: list[object] = array.tolist()
    return found


def tensors_to_rows(tensors: Tensors, signature: Signature) -> list[object]:
    """Input tensors as rows by feature name: what `rows_to_tensors` takes; NaN becomes None."""
    parts = features(signature)
    columns: list[list[object]] = []
    for at, part in enumerate(parts):
        array = tensors[part.spec.name]
        if not part.shape and part.spec.columns:
            array = array[:, at]
        elif not part.shape:
            array = array.reshape(-1)
        columns.append([_null_for_nan(value) for value in array.tolist()])
    names = [part.name for part in parts]
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def _null_for_nan(value: object) -> object:
    if isinstance(value, list):
        return [_null_for_nan(item) for item in value]
    return None if isinstance(value, float) and value != value else value

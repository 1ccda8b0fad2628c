"""A Signature read off an ONNX graph: datatypes and shapes as declared, meanings by datatype, shape and name.

Called by `bundle.build` and `bundle.sources`, for models that do not come from a converter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from seaway.bundle.verify_onnx import ProbedTensor, Report
from seaway.core.bundles import Task
from seaway.core.errors import UserError
from seaway.core.tables import Table
from seaway.core.tensors import DType, Meaning, Signature, TensorSpec

_PROBABILITY_NAMES: Final = ("prob", "score", "softmax", "confidence")
_PROBABILITY_OPS: Final = ("Softmax", "Sigmoid", "Normalizer", "TreeEnsembleClassifier", "LinearClassifier")


def infer_signature(report: Report, sample: Table | None = None) -> Signature:
    """The Signature of a probed model.

    The sample names the columns of one `(batch, k)` input, and inputs with missing numbers in it become nullable.
    Raises `UserError("invalid_model")` where a model has no inputs or no outputs.
    """
    if not report.inputs or not report.outputs:
        raise UserError("invalid_model", "the model has no inputs or no outputs")
    inputs = tuple(_input(tensor) for tensor in report.inputs)
    return Signature(with_sample(inputs, sample), _outputs(report.outputs))


def with_sample(inputs: tuple[TensorSpec, ...], sample: Table | None) -> tuple[TensorSpec, ...]:
    """Inputs with what a sample says of them: the names of columns, and where numbers are missing."""
    if sample is None:
        return inputs
    return tuple(_with_sample(spec, sample, alone=len(inputs) == 1) for spec in inputs)


def infer_task(signature: Signature) -> Task:
    """What the outputs say that the model does."""
    meanings = {spec.meaning for spec in signature.outputs}
    if meanings & {Meaning.LABEL, Meaning.PROBABILITY}:
        return Task.CLASSIFICATION
    return Task.REGRESSION if Meaning.VALUE in meanings else Task.OTHER


def _input(tensor: ProbedTensor) -> TensorSpec:
    meaning = Meaning.FEATURE if len(tensor.shape) in (1, 2) else Meaning.TENSOR
    return TensorSpec(tensor.name, DType(tensor.dtype), tuple(tensor.shape), meaning)


def _with_sample(spec: TensorSpec, sample: Table, *, alone: bool) -> TensorSpec:
    columns: tuple[str, ...] = ()
    used: Sequence[str] = [spec.name] if spec.name in sample.columns else []
    if not used and alone and len(spec.shape) == 2 and spec.shape[1] in (-1, len(sample.names)):
        columns, used = sample.names, sample.names
    nullable = any(has_missing(sample, name) for name in used) and (
        spec.dtype.is_float or spec.dtype is DType.BYTES
    )
    return TensorSpec(spec.name, spec.dtype, spec.shape, spec.meaning, columns, nullable)


def has_missing(table: Table, name: str) -> bool:
    """Whether a column lacks a value somewhere."""
    column = table.columns[name]
    if column.dtype == object:
        return any(value is None for value in column.tolist())
    return column.dtype.kind == "f" and bool(np.isnan(column).any())


def _outputs(tensors: Sequence[ProbedTensor]) -> tuple[TensorSpec, ...]:
    dtypes = [DType(tensor.dtype) for tensor in tensors]
    flat = [len(t.shape) == 1 or (len(t.shape) == 2 and t.shape[1] == 1) for t in tensors]
    labelled = any(f and (d.is_integer or d is DType.BYTES) for f, d in zip(flat, dtypes, strict=True))
    specs = []
    for tensor, dtype, one in zip(tensors, dtypes, flat, strict=True):
        likely = (
            any(part in tensor.name.lower() for part in _PROBABILITY_NAMES)
            or tensor.origin in _PROBABILITY_OPS
        )
        if one and (dtype.is_integer or dtype in (DType.BYTES, DType.BOOL)):
            meaning = Meaning.LABEL
        elif dtype.is_float and len(tensor.shape) <= 2 and (likely or (labelled and not one)):
            meaning = Meaning.PROBABILITY
        elif dtype.is_float and one:
            meaning = Meaning.VALUE
        else:
            meaning = Meaning.TENSOR
        specs.append(TensorSpec(tensor.name, dtype, tuple(tensor.shape), meaning))
    return tuple(specs)

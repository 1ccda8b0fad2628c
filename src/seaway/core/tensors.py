"""Named tensors and their specs: what a model takes and gives, whatever wire it came over."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from seaway.core.errors import PermanentError, UserError

Array: TypeAlias = npt.NDArray[np.generic]
Tensors: TypeAlias = Mapping[str, Array]
"""Arrays by tensor name. BYTES tensors are object arrays of `str`."""


class DType(enum.StrEnum):
    """The datatypes of the Open Inference Protocol v2."""

    BOOL = "BOOL"
    UINT8 = "UINT8"
    UINT16 = "UINT16"
    UINT32 = "UINT32"
    UINT64 = "UINT64"
    INT8 = "INT8"
    INT16 = "INT16"
    INT32 = "INT32"
    INT64 = "INT64"
    FP16 = "FP16"
    FP32 = "FP32"
    FP64 = "FP64"
    BYTES = "BYTES"

    @property
    def numpy(self) -> np.dtype[np.generic]:
        """The numpy dtype that holds this datatype; BYTES is `object`."""
        return _NUMPY[self]

    @property
    def is_float(self) -> bool:
        return self in (DType.FP16, DType.FP32, DType.FP64)

    @property
    def is_integer(self) -> bool:
        return self not in (DType.BOOL, DType.BYTES) and not self.is_float

    def holds(self, other: DType) -> bool:
        """Whether every value of `other` is one of this datatype too: the same, or wider and of the same kind."""
        same_kind = self.is_float == other.is_float and self.is_integer == other.is_integer
        return self is other or (same_kind and bool(np.can_cast(other.numpy, self.numpy, "safe")))


_NUMPY: dict[DType, np.dtype[np.generic]] = {
    DType.BOOL: np.dtype(np.bool_),
    DType.UINT8: np.dtype(np.uint8),
    DType.UINT16: np.dtype(np.uint16),
    DType.UINT32: np.dtype(np.uint32),
    DType.UINT64: np.dtype(np.uint64),
    DType.INT8: np.dtype(np.int8),
    DType.INT16: np.dtype(np.int16),
    DType.INT32: np.dtype(np.int32),
    DType.INT64: np.dtype(np.int64),
    DType.FP16: np.dtype(np.float16),
    DType.FP32: np.dtype(np.float32),
    DType.FP64: np.dtype(np.float64),
    DType.BYTES: np.dtype(object),
}


class Meaning(enum.StrEnum):
    """What an output (or input) stands for; golden metrics and the plan read it."""

    FEATURE = "feature"
    LABEL = "label"
    PROBABILITY = "probability"
    VALUE = "value"
    TENSOR = "tensor"


class TensorSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One named tensor.

    `shape` uses -1 for a free axis; `columns` names the features of a `(batch, k)` input, in order;
    `nullable` says that missing values (JSON null, an empty cell) may come and become NaN, or "" for BYTES.
    `optional` (an input that may be left out) is not written where it is not set, so that bundles keep their bytes.
    """

    name: str
    dtype: DType
    shape: tuple[int, ...]
    meaning: Meaning = Meaning.TENSOR
    columns: tuple[str, ...] = ()
    nullable: bool = False
    optional: bool | msgspec.UnsetType = msgspec.UNSET

    def accepts(self, shape: tuple[int, ...]) -> bool:
        """Whether an array of `shape` fits this spec."""
        return len(shape) == len(self.shape) and all(
            want in (-1, got) for want, got in zip(self.shape, shape, strict=True)
        )


class Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The inputs and outputs of a model, by name and in order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @property
    def batched(self) -> bool:
        """Whether the first axis of every input is free, so that rows can be put together."""
        return all(spec.shape[:1] == (-1,) for spec in self.inputs)

    def input(self, name: str) -> TensorSpec | None:
        return next((spec for spec in self.inputs if spec.name == name), None)

    def output(self, name: str) -> TensorSpec | None:
        return next((spec for spec in self.outputs if spec.name == name), None)


def check_inputs(signature: Signature, tensors: Tensors) -> int:
    """Refuse tensors that do not fit the Signature; return the number of rows (1 when not batched).

    Raises `UserError` (`unknown_input`, `missing_input`, `wrong_dtype`, `wrong_shape`) that names the input,
    what was expected and what came.
    """
    for name in tensors:
        if signature.input(name) is None:
            expected = ", ".join(spec.name for spec in signature.inputs)
            raise UserError("unknown_input", f"there is no input {name!r}", f"the inputs are: {expected}")
    rows: int | None = None
    for spec in signature.inputs:
        array = tensors.get(spec.name)
        if array is None:
            if spec.optional:
                continue
            raise UserError("missing_input", f"input {spec.name!r} is missing", f"expected {describe(spec)}")
        if array.dtype != spec.dtype.numpy:
            raise UserError(
                "wrong_dtype", f"input {spec.name!r} has dtype {array.dtype}", f"expected {describe(spec)}"
            )
        if not spec.accepts(array.shape):
            raise UserError(
                "wrong_shape",
                f"input {spec.name!r} has shape {list(array.shape)}",
                f"expected {describe(spec)}",
            )
        if signature.batched:
            if rows is not None and array.shape[0] != rows:
                raise UserError(
                    "wrong_shape",
                    f"input {spec.name!r} has {array.shape[0]} rows, the inputs before it have {rows}",
                    "every input must have the same number of rows",
                )
            rows = array.shape[0]
    return 1 if rows is None else rows


class InputCheck:
    """`check_inputs` and `check_missing` for one Signature, made ready for many requests: same errors, less time."""

    __slots__ = ("_batched", "_names", "_others", "_signature", "_spec", "_watched")

    def __init__(self, signature: Signature) -> None:
        self._signature = signature
        self._batched = signature.batched
        specs = [_FastSpec(spec, self._batched) for spec in signature.inputs]
        self._spec = specs[0] if specs and all(spec.fixed for spec in specs) else None
        self._others = specs[1:]
        self._names = len(specs)
        self._watched = [spec.name for spec in signature.inputs if spec.dtype.is_float and not spec.nullable]

    def rows(self, tensors: Tensors) -> int:
        """See `check_inputs`."""
        first = self._spec
        if first is None or len(tensors) != self._names:
            return check_inputs(self._signature, tensors)
        array = tensors.get(first.name)
        if array is None or array.dtype != first.dtype:
            return check_inputs(self._signature, tensors)
        shape = array.shape
        if not self._batched:
            if shape != first.tail:
                return check_inputs(self._signature, tensors)
        elif not shape or shape[1:] != first.tail:
            return check_inputs(self._signature, tensors)
        for spec in self._others:
            array = tensors.get(spec.name)
            if array is None or array.dtype != spec.dtype:
                return check_inputs(self._signature, tensors)
            fits = array.shape == (shape[:1] + spec.tail if self._batched else spec.tail)
            if not fits:
                return check_inputs(self._signature, tensors)
        return shape[0] if self._batched else 1

    def missing(self, tensors: Tensors) -> None:
        """See `check_missing`."""
        for name in self._watched:
            array = tensors[name]
            if array.size == 0:
                continue
            largest = np.maximum.reduce(array, None)  # NaN where one of them is
            if largest != largest:
                check_missing(self._signature, tensors)


class _FastSpec:
    """A TensorSpec as `InputCheck` compares it: `tail` is the shape, without the first axis where that is the batch."""

    __slots__ = ("dtype", "fixed", "name", "tail")

    def __init__(self, spec: TensorSpec, batched: bool) -> None:
        self.name = spec.name
        self.dtype = spec.dtype.numpy
        self.tail = spec.shape[1:] if batched else spec.shape
        self.fixed = -1 not in self.tail


def describe(spec: TensorSpec) -> str:
    """Such as `FP32[N,30]`: datatype and shape, with N for the batch axis and ? for any other free one."""
    axes = [
        "N" if i == 0 and axis == -1 else "?" if axis == -1 else str(axis)
        for i, axis in enumerate(spec.shape)
    ]
    return f"{spec.dtype.value}[{','.join(axes)}]"


def check_missing(signature: Signature, tensors: Tensors) -> None:
    """Refuse NaN in float inputs that are not nullable; raises `UserError("invalid_value")` with its place.

    JSON cannot carry NaN; the doors that can go through the same check. `tensors` have passed `check_inputs`.
    """
    for spec in signature.inputs:
        if spec.nullable or not spec.dtype.is_float:
            continue
        gone = np.isnan(tensors[spec.name].astype(np.float64, copy=False))
        if gone.any():
            at = [int(i) for i in np.unravel_index(int(np.argmax(gone)), gone.shape)]
            raise UserError("invalid_value", f"input {spec.name!r} is NaN at {at}", "send a number")


def placeholder_inputs(signature: Signature) -> dict[str, Array]:
    """One row of zeros (or "") that fits the Signature; a free axis has length 1. Optional inputs are left out."""
    found: dict[str, Array] = {}
    for spec in signature.inputs:
        if spec.optional:
            continue
        shape = tuple(1 if axis == -1 else axis for axis in spec.shape)
        found[spec.name] = np.full(shape, "" if spec.dtype is DType.BYTES else 0, dtype=spec.dtype.numpy)
    return found


def check_outputs(signature: Signature, tensors: Tensors) -> None:
    """Raises `PermanentError("execution_failed")` where a model's answer does not fit its own Signature."""
    for spec in signature.outputs:
        array = tensors.get(spec.name)
        if array is None or array.dtype != spec.dtype.numpy or not spec.accepts(array.shape):
            came = "nothing" if array is None else f"{array.dtype}{list(array.shape)}"
            raise PermanentError(
                "execution_failed", f"output {spec.name!r} is {came}, the Signature promises {describe(spec)}"
            )

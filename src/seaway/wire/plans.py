"""What a Signature means for the hot paths of the codecs, worked out once per Signature and kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from seaway.core.tensors import DType, Signature, TensorSpec

if TYPE_CHECKING:
    from seaway.wire.oip_binary import Recipe

_MOST_KEPT: Final = 4096
# With "=" before them: the native mode of `struct` lets a value that is too large become infinite.
_PACK_CODES: Final = {DType.FP16: "e", DType.FP32: "f", DType.FP64: "d"}


class InputPlan:
    """One input. `first` and `tail` are its shape; `tail_size` is 0 where `tail` has a free axis.

    `code` is the format of one value for `struct.pack`, "" where the datatype is no float.
    """

    __slots__ = ("code", "datatype", "first", "numpy", "spec", "tail", "tail_size")

    def __init__(self, spec: TensorSpec) -> None:
        self.spec = spec
        self.datatype = spec.dtype.value
        self.numpy = spec.dtype.numpy
        self.code = _PACK_CODES.get(spec.dtype, "")
        self.first = spec.shape[0] if spec.shape else 0
        self.tail = spec.shape[1:]
        self.tail_size = 0
        if spec.shape and -1 not in self.tail:
            self.tail_size = int(np.prod(self.tail, dtype=np.int64))

    def size(self, shape: tuple[int, ...]) -> int:
        """How many values an array of this shape holds, -1 where the input does not take the shape."""
        if self.tail_size and shape[1:] == self.tail:
            first = shape[0] if shape else -1
            if first < 0 or (self.first != -1 and self.first != first):
                return -1
            return first * self.tail_size
        if not self.spec.accepts(shape):
            return -1
        size = 1
        for axis in shape:
            if axis < 0:
                return -1
            size *= axis
        return size


class Table:
    """The one input of a model that takes rows of floats, where its rows have one shape, `tail`.

    `columns` are the names of a row's values, empty where they have none.
    """

    __slots__ = ("code", "columns", "name", "numpy", "tail")

    def __init__(self, spec: TensorSpec) -> None:
        self.name = spec.name
        self.columns = spec.columns
        self.code = _PACK_CODES[spec.dtype]
        self.numpy = spec.dtype.numpy
        self.tail = spec.shape[1:]


class Plan:
    """One Signature.

    `openings` are the JSON of each output up to its shape; `heads` and `recipes` are caches that `oip_json` and
    `oip_binary` fill.
    """

    __slots__ = (
        "all_float",
        "heads",
        "inputs",
        "openings",
        "output_names",
        "outputs",
        "recipes",
        "signature",
        "table",
    )

    def __init__(self, signature: Signature) -> None:
        self.signature = signature
        self.inputs = {spec.name: InputPlan(spec) for spec in signature.inputs}
        self.outputs = {spec.name: spec for spec in signature.outputs}
        self.output_names = tuple(self.outputs)
        self.openings = {spec.name: _opening(spec) for spec in signature.outputs}
        self.all_float = all(plan.code for plan in self.inputs.values())
        self.table = _table(signature)
        self.heads: dict[tuple[str, int], bytes] = {}
        self.recipes: dict[bytes, Recipe] = {}


def _table(signature: Signature) -> Table | None:
    if len(signature.inputs) != 1 or not signature.batched:
        return None
    (spec,) = signature.inputs
    tail = spec.shape[1:]
    # A row of one value, without a name for it, can be that value alone: left to the strict reading.
    if spec.dtype not in _PACK_CODES or not tail or min(tail) < 1 or (tail == (1,) and not spec.columns):
        return None
    if spec.columns and tail != (len(spec.columns),):
        return None
    return Table(spec)


def _opening(spec: TensorSpec) -> bytes:
    return msgspec.json.encode({"name": spec.name, "datatype": spec.dtype.value})[:-1] + b',"shape":'


_plans: dict[int, Plan] = {}


def of(signature: Signature) -> Plan:
    """The plan of this Signature object. Any thread.

    Looked up by identity: hashing a Signature costs more than decoding a small request. A plan holds its Signature,
    so no other object can come to have the same identity while the plan is kept.
    """
    plan = _plans.get(id(signature))
    if plan is None:
        if len(_plans) >= _MOST_KEPT:
            _plans.clear()
        plan = _plans[id(signature)] = Plan(signature)
    return plan

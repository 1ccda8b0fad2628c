"""What a model's answer is: the one class or number of each row that is counted, compared and judged.

Read from the Signature alone, so that every part that speaks of answers (ledger, feedback, rollouts) means the same.
"""

from __future__ import annotations

import enum
import math
from collections import Counter
from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from seaway.core import profiles
from seaway.core.tensors import Array, Meaning, Signature, Tensors, TensorSpec

MISSING: Final = "nan"
INFINITE: Final = "inf"
OTHER: Final = "…"
"""All classes beyond `MAX_CLASSES`."""
_FEW: Final = 32
MAX_CLASSES: Final = 100


class AnswerKind(enum.StrEnum):
    """A class by name, or a number."""

    CLASS = "class"
    NUMBER = "number"


class AnswerSpec(msgspec.Struct, frozen=True):
    """Where a row's answer is. For a class that is only a column of probabilities, `classes` names the columns.

    `confidence` is the output whose largest value in a row is the answer's confidence.
    """

    kind: AnswerKind
    output: str
    argmax: bool = False
    confidence: str | None = None
    classes: tuple[str, ...] = ()


def answer_spec(signature: Signature, classes: Sequence[str | int] = ()) -> AnswerSpec | None:
    """What to read from this model's outputs; None where no output has one answer for each row (an image, an embedding).

    The first label is the answer; else the first value; else the likeliest of several probabilities; else the first
    output of one number for each row.
    """
    sure = next(
        (s.name for s in signature.outputs if s.meaning is Meaning.PROBABILITY and _width(s) > 1), None
    )
    for spec in signature.outputs:
        if spec.meaning is Meaning.LABEL and _width(spec) == 1:
            return AnswerSpec(AnswerKind.CLASS, spec.name, confidence=sure)
    for spec in signature.outputs:
        if spec.meaning is Meaning.VALUE and _width(spec) == 1:
            return AnswerSpec(AnswerKind.NUMBER, spec.name)
    if sure is not None:
        names = tuple(str(name) for name in classes)
        return AnswerSpec(AnswerKind.CLASS, sure, argmax=True, confidence=sure, classes=names)
    for spec in signature.outputs:
        if _width(spec) == 1 and (spec.dtype.is_float or spec.dtype.is_integer):
            return AnswerSpec(AnswerKind.NUMBER, spec.name)
    return None


def _width(spec: TensorSpec) -> int:
    """Values in a row; 0 where that is not fixed, or there are no rows."""
    if spec.shape[:1] != (-1,) or -1 in spec.shape[1:]:
        return 0
    return int(np.prod(spec.shape[1:], dtype=np.int64)) if len(spec.shape) > 1 else 1


def read_answers(spec: AnswerSpec, outputs: Tensors) -> tuple[Array, npt.NDArray[np.float64] | None]:
    """The answers of `(rows,)` (class names as `str` objects, or float64), and their confidences of `(rows,)`.

    A class that is a number reads as its text: 1 and "1" are the same class, NaN is `MISSING`.
    """
    found = outputs[spec.output]
    rows = len(found)
    confidence = None
    if spec.confidence is not None:
        sure = np.asarray(outputs[spec.confidence], dtype=np.float64).reshape(rows, -1)
        confidence = sure.max(axis=1) if sure.shape[1] else None
    if spec.kind is AnswerKind.NUMBER:
        return np.asarray(found, dtype=np.float64).reshape(rows), confidence
    kinds, places = np.unique(_classes(spec, found), return_inverse=True)
    return np.array([_name(spec, kind) for kind in kinds.tolist()], dtype=object)[places], confidence


def count_answers(spec: AnswerSpec, outputs: Tensors) -> tuple[dict[str, int], int]:
    """The rows by answer, as the ledger keeps them, and how many of them are no answer (NaN or infinite)."""
    found = outputs[spec.output]
    if (
        len(found) <= _FEW
        and not spec.argmax
        and (spec.kind is AnswerKind.CLASS or found.dtype.kind in "fiu")
    ):
        return _count_few(spec, found)
    if spec.kind is AnswerKind.NUMBER:
        counts = count_numbers(np.asarray(found, dtype=np.float64).reshape(len(found)))
        return counts, counts.get(MISSING, 0) + counts.get(INFINITE, 0)
    kinds, numbers = np.unique(_classes(spec, found), return_counts=True)
    named: dict[str, int] = {}
    for kind, count in zip(kinds.tolist(), numbers.tolist(), strict=True):
        name = _name(spec, kind)  # two of the kinds may have one: both infinities
        named[name] = named.get(name, 0) + count
    return named, named.get(MISSING, 0)


def _count_few(spec: AnswerSpec, found: Array) -> tuple[dict[str, int], int]:
    """The same one by one: where there is little to count, NumPy takes several times as long."""
    values = found.reshape(len(found)).tolist()
    if spec.kind is AnswerKind.CLASS:
        counts = dict(Counter([_name(spec, value) for value in values]))
        return counts, counts.get(MISSING, 0)
    counts = dict(Counter([_number_name(value) for value in values]))
    return counts, counts.get(MISSING, 0) + counts.get(INFINITE, 0)


def _number_name(value: float) -> str:
    if value != value:
        return MISSING
    if math.isinf(value):
        return INFINITE
    if abs(value) < profiles.SMALLEST:
        return number_key(0, 0)
    return number_key(profiles.bin_of(abs(value)), 1 if value > 0 else -1)


def _classes(spec: AnswerSpec, found: Array) -> Array:
    """The class of each row, as a number or text that `_name` reads."""
    rows = len(found)
    if not spec.argmax:
        return found.reshape(rows)
    table = np.asarray(found, dtype=np.float64).reshape(rows, -1)
    best: npt.NDArray[np.float64] = table.argmax(axis=1).astype(np.float64)
    best[np.isnan(table).any(axis=1)] = np.nan
    return best


def _name(spec: AnswerSpec, kind: object) -> str:
    if isinstance(kind, float):
        if kind != kind:
            return MISSING
        if math.isinf(kind):
            return INFINITE
        kind = int(kind) if kind == int(kind) else kind
    if spec.argmax and isinstance(kind, int) and kind < len(spec.classes):
        return spec.classes[kind]
    return str(kind)


def number_key(index: int, sign: int) -> str:
    """How a bin of numbers is called in the ledger: `+12`, `-3`, and `0` for zero."""
    return "0" if sign == 0 else f"{'+' if sign > 0 else '-'}{index}"


def count_numbers(values: npt.NDArray[np.float64]) -> dict[str, int]:
    """Counts of numbers `(rows,)` by the bins of `core.profiles`; `MISSING` and `INFINITE` have their own."""
    summary = profiles.summarise_numbers(values)
    counts = {number_key(index, 1): count for index, count in summary.positive}
    counts |= {number_key(index, -1): count for index, count in summary.negative}
    for key, count in (("0", summary.zero), (MISSING, summary.missing), (INFINITE, summary.infinite)):
        if count:
            counts[key] = count
    return counts

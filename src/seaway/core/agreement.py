"""Whether two revisions answer the same request alike: what a shadow's pairs and a replay's differences are counted by.

Used by `serve.mirror` for live pairs and by `validate.replay` for recorded ones. One row stands for a request, drawn by the
request's own id, so that pairs are as independent as the requests are, however many rows each has.
"""

from __future__ import annotations

import enum
import hashlib
import math
from typing import Final, Literal, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from seaway.core.answers import AnswerKind, AnswerSpec, read_answers
from seaway.core.tensors import Array, Tensors

By: TypeAlias = Literal["exact", "tolerance", "rank"]
TOLERANCE: Final = 0.01
"""Of the larger of two numbers; so far apart they still agree."""
_LEAST: Final = 1e-9
TAU: Final = 0.9
"""Kendall's tau from which two orders agree."""
_BELOW_ONE: Final = math.nextafter(1.0, 0.0)
_BELOW_HUNDRED: Final = math.nextafter(100.0, 0.0)
MOST_RANKED: Final = 512
"""Rows of one request whose order is compared: spread evenly over it."""


class Agreed(enum.StrEnum):
    """What became of one request that another revision was to answer too.

    `FAILED`: it could not, or not in the form that its Signature promises. `DROPPED`: it was not asked, or what the live
    requests left over was too little for it to answer in time.
    """

    SAME = "same"
    DIFFER = "differ"
    FAILED = "failed"
    DROPPED = "dropped"


class Draw(msgspec.Struct, frozen=True):
    """Two numbers that a request id gives, independent of each other and of the traffic split: `point` in [0, 100) against
    the share that is mirrored, `place` in [0, 1) among its rows."""

    point: float
    place: float

    def row(self, rows: int) -> int:
        """The row that stands for a request of so many."""
        return min(int(self.place * rows), max(rows - 1, 0))


class Rule(msgspec.Struct, frozen=True):
    """When two answers agree: `exact`, within `tolerance` (a share of the larger magnitude), or in the order of a request's
    rows. Without `by`, classes are compared exactly and numbers by tolerance."""

    by: By | None = None
    tolerance: float = TOLERANCE


def draw(request_id: bytes, salt: str = "") -> Draw:
    """The same for the same id and salt, on every worker."""
    found = hashlib.blake2b(
        request_id, digest_size=16, key=salt.encode()[:64], person=b"seaway-mirror"
    ).digest()
    first, second = (int.from_bytes(part, "big") / 2**64 for part in (found[:8], found[8:]))
    # Floats round up to 1 where the hash is next to it.
    return Draw(min(first * 100, _BELOW_HUNDRED), min(second, _BELOW_ONE))


def kept(outputs: Tensors, rows: int, row: int, rule: Rule) -> Tensors:
    """What has to be kept of the first answer to compare it later: copies of the one row, or of all where their order counts.

    An output that has no row for each input row is kept whole.
    """
    if rule.by == "rank" and rows > 1:
        return {name: array.copy() for name, array in outputs.items()}
    return {
        name: (array[row : row + 1] if array.shape[:1] == (rows,) else array).copy()
        for name, array in outputs.items()
    }


def agree(
    one: tuple[AnswerSpec | None, Tensors], other: tuple[AnswerSpec | None, Tensors], rule: Rule
) -> bool:
    """Whether two answers to the same rows agree, each with what its own Signature says an answer is; symmetric.

    Of several rows (only `rank` looks at more than one) the order is compared. Without an answer in the Signature every
    output of the same name must agree. Raises `ValueError`, `TypeError` or `KeyError` where the outputs are not what the
    Signature says.
    """
    (spec, outputs), (other_spec, others) = one, other
    if spec is None or other_spec is None:
        if spec is not other_spec or outputs.keys() != others.keys():
            return False
        return all(same_values(array, others[name], rule) for name, array in outputs.items())
    if spec.kind is not other_spec.kind:
        return False
    if rule.by == "rank" and len(outputs[spec.output]) > 1:
        mine, theirs = scores(spec, outputs), scores(other_spec, others)
        if mine is not None and theirs is not None and mine.shape == theirs.shape:
            return kendall(mine, theirs) >= TAU
    values, chances = read_answers(spec, outputs)
    other_values, other_chances = read_answers(other_spec, others)
    if spec.kind is AnswerKind.NUMBER or rule.by == "exact" or chances is None or other_chances is None:
        return same_values(values, other_values, rule)
    if rule.by is None:
        return same_values(values, other_values, rule)
    return same_values(values, other_values, rule) and same_values(chances, other_chances, rule)


def same_values(one: Array, other: Array, rule: Rule) -> bool:
    """Whether arrays of one shape agree in every value; numbers by tolerance unless `exact` is asked for."""
    if one.shape != other.shape:
        return False
    if one.dtype.kind in "fiu" and other.dtype.kind in "fiu":
        return bool(close(one, other, 0.0 if rule.by == "exact" else rule.tolerance).all())
    return bool(one.tolist() == other.tolist())


def close(one: Array, other: Array, tolerance: float) -> npt.NDArray[np.bool_]:
    """Value by value: within `tolerance` of the larger magnitude, plus 1e-9 where a tolerance is given at all. NaN agrees
    with NaN, an infinity with the same one."""
    mine, theirs = np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64)
    least = _LEAST if tolerance > 0 else 0.0
    with np.errstate(invalid="ignore", over="ignore"):
        apart = np.abs(mine - theirs)
        allowed = tolerance * np.maximum(np.abs(mine), np.abs(theirs)) + least
        near = np.isfinite(mine) & np.isfinite(theirs) & (apart <= allowed)
    return np.asarray(near | (mine == theirs) | (np.isnan(mine) & np.isnan(theirs)), dtype=np.bool_)


def scores(spec: AnswerSpec, outputs: Tensors) -> npt.NDArray[np.float64] | None:
    """By what a model orders rows, `(rows,)`: its number, or the chance of the second of two classes; None with more."""
    if spec.kind is AnswerKind.NUMBER:
        return np.asarray(outputs[spec.output], dtype=np.float64).reshape(len(outputs[spec.output]))
    if spec.confidence is None:
        return None
    chances = np.asarray(outputs[spec.confidence], dtype=np.float64)
    chances = chances.reshape(len(chances), -1)
    if chances.shape[1] != 2:
        return None
    second: npt.NDArray[np.float64] = chances[:, 1]
    return second


def kendall(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> float:
    """Kendall's tau-b of two orders `(rows,)`, of at most `MOST_RANKED` rows; 1 where both tie everything, 0 where one does.

    NaN stands above all numbers, and ties with NaN. Kendall, "The treatment of ties in ranking problems", Biometrika 33, 1945.
    """
    if len(one) > MOST_RANKED:
        places = np.linspace(0, len(one) - 1, MOST_RANKED).astype(np.int64)
        one, other = one[places], other[places]
    signs = []
    for values in (one, other):
        ranks = np.unique(values, return_inverse=True)[1]
        signs.append(np.sign(ranks[:, np.newaxis] - ranks[np.newaxis, :]).astype(np.int64))
    ordered, ordered_too = (int(np.abs(found).sum()) for found in signs)
    if ordered == 0 or ordered_too == 0:
        return 1.0 if ordered == ordered_too else 0.0
    return float((signs[0] * signs[1]).sum() / np.sqrt(float(ordered) * float(ordered_too)))

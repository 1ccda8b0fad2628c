"""From output tensors to answers: which output is the label, the chance or the value; used by the gate and the plan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from seaway.core import tables
from seaway.core.bundles import Manifest
from seaway.core.errors import UserError
from seaway.core.tensors import Array, Meaning, Tensors
from seaway.validate.metrics import ClassAnswers, Floats, Ints, Judged, ValueAnswers


class Labels(msgspec.Struct, frozen=True, eq=False):
    """What a classifier said of n rows: the index of its class, and the chances (n, k) where it gives them."""

    classes: tuple[str, ...]
    predicted: Ints
    scores: Floats | None = None


class Values(msgspec.Struct, frozen=True, eq=False):
    """What a regressor said of n rows, (n,)."""

    predicted: Floats


Answers: TypeAlias = Labels | Values


def read(manifest: Manifest, outputs: Tensors) -> Answers:
    """What the outputs say: labels and chances, or values.

    Chances of shape (n,) or (n, 1) are of the second of two classes. Without a label output the class with the
    highest chance is the label. Raises `UserError("invalid_model")` where no output has such a meaning.
    """
    label = _first(manifest, outputs, Meaning.LABEL)
    chance = _first(manifest, outputs, Meaning.PROBABILITY)
    value = _first(manifest, outputs, Meaning.VALUE)
    if chance is not None or label is not None:
        scores = None if chance is None else _scores(chance)
        classes = _classes(manifest, label, scores)
        if scores is not None and scores.shape[1] != len(classes):
            raise UserError(
                "invalid_model", f"the model gives {scores.shape[1]} chances for {len(classes)} classes"
            )
        if label is not None:
            predicted = class_indices(label.reshape(-1), classes)
            classes, predicted = _with_unknown(label.reshape(-1), classes, predicted)
            scores = _widen(scores, len(classes))
        elif scores is not None:
            predicted = scores.argmax(axis=1).astype(np.int64)
        return Labels(classes, predicted, scores)
    if value is not None:
        return Values(_column(value).astype(np.float64))
    raise UserError(
        "invalid_model",
        "no output is a label, a probability or a value, so there is nothing to measure",
        f"the outputs are {[f'{spec.name} ({spec.meaning})' for spec in manifest.signature.outputs]}",
    )


def judge(answers: Answers, truth: Array) -> Judged:
    """Answers beside the truth. A class that only the truth knows is added with no chance.

    Raises `UserError("invalid_data")` where a row has no truth, or one that is no number for a regressor.
    """
    if isinstance(answers, Values):
        if truth.dtype == object:
            raise UserError("invalid_data", "the golden target is text, and the model answers with numbers")
        numbers = truth.astype(np.float64)
        if not np.isfinite(numbers).all():
            row = int(np.argmin(np.isfinite(numbers)))
            raise UserError("invalid_data", f"the golden target has no value in row {row}")
        return ValueAnswers(numbers, answers.predicted)
    missing = [row for row, value in enumerate(truth.tolist()) if tables.plain(value) is None]
    if missing:
        raise UserError("invalid_data", f"the golden target has no value in row {missing[0]}")
    index = class_indices(truth, answers.classes)
    classes, index = _with_unknown(truth, answers.classes, index)
    return ClassAnswers(classes, index, answers.predicted, _widen(answers.scores, len(classes)))


def in_common(old: Answers, new: Answers) -> tuple[Answers, Answers]:
    """Both with the same classes in the same order: those of `new`, then those that only `old` has."""
    if not (isinstance(old, Labels) and isinstance(new, Labels)) or old.classes == new.classes:
        return old, new
    classes = (*new.classes, *(name for name in old.classes if name not in new.classes))
    place = np.array([classes.index(name) for name in old.classes], dtype=np.int64)
    scores = None
    if old.scores is not None:
        scores = np.zeros((len(old.scores), len(classes)))
        scores[:, place] = old.scores
    return Labels(classes, place[old.predicted], scores), Labels(
        classes, new.predicted, _widen(new.scores, len(classes))
    )


def texts(answers: Answers) -> list[str | float]:
    """Each row's answer, for people: the class, or the value."""
    if isinstance(answers, Values):
        return [float(value) for value in answers.predicted]
    return [answers.classes[index] for index in answers.predicted]


def class_indices(labels: Array, classes: Sequence[str]) -> Ints:
    """The position of each label in `classes`, -1 where it is none of them.

    Labels are compared as people write them: 1, 1.0, True and "1" are one label.
    """
    known = {name: position for position, name in enumerate(classes)}
    found = np.empty(len(labels), dtype=np.int64)
    cache: dict[object, int] = {}
    for row, value in enumerate(labels.tolist()):
        position = cache.get(value)
        if position is None:
            position = known.get(label_text(value), -1)
            if position < 0 and isinstance(value, bool):
                position = known.get(str(value), -1)
            cache[value] = position
        found[row] = position
    return found


def label_text(value: object) -> str:
    """A label as text: whole numbers without a point, True as 1."""
    if isinstance(value, bool | int):
        return str(int(value))
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _first(manifest: Manifest, outputs: Tensors, meaning: Meaning) -> Array | None:
    return next(
        (
            outputs[spec.name]
            for spec in manifest.signature.outputs
            if spec.meaning is meaning and spec.name in outputs
        ),
        None,
    )


def _scores(chance: Array) -> Floats:
    scores = np.asarray(chance, dtype=np.float64)
    if scores.ndim == 1 or scores.shape[1:] == (1,):
        positive = scores.reshape(-1)
        return np.stack([1 - positive, positive], axis=1)
    if scores.ndim != 2:
        raise UserError("invalid_model", f"chances have shape {list(scores.shape)}, expected [N, classes]")
    return scores


def _classes(manifest: Manifest, label: Array | None, scores: Floats | None) -> tuple[str, ...]:
    if manifest.classes:
        return tuple(label_text(name) for name in manifest.classes)
    if scores is not None:
        return tuple(str(position) for position in range(scores.shape[1]))
    seen = set() if label is None else set(label.reshape(-1).tolist())
    return tuple(sorted(label_text(value) for value in seen))


def _with_unknown(
    labels: Array, classes: tuple[str, ...], index: Ints
) -> tuple[tuple[str, ...], npt.NDArray[np.int64]]:
    """Classes extended by the labels that are none of them, and the positions with these filled in."""
    if (index >= 0).all():
        return classes, index
    extra = sorted({label_text(value) for value in labels[index < 0].tolist()})
    wider = (*classes, *extra)
    return wider, class_indices(labels, wider)


def _widen(scores: Floats | None, k: int) -> Floats | None:
    if scores is None or scores.shape[1] == k:
        return scores
    return np.concatenate([scores, np.zeros((len(scores), k - scores.shape[1]))], axis=1)


def _column(value: Array) -> Array:
    if value.ndim > 1 and value.size != len(value):
        raise UserError("invalid_model", f"a value has shape {list(value.shape)}, expected one number a row")
    return value.reshape(-1)

"""The values of one input column, as the texts by which live quality is told apart. Called by the sinks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from seaway.core.tensors import Signature, Tensors


def column_texts(
    signature: Signature, column: str, requests: Sequence[Tensors]
) -> tuple[list[str], npt.NDArray[np.int64]] | None:
    """The kinds of value of a column over requests, and the place of each row's kind `(rows,)`; "" is a missing value.

    A column is an input of one value for each row, or one of the `columns` of an input; None where it is neither, or a
    request left it out.
    """
    place = _place(signature, column)
    if place is None or not requests:
        return None
    name, index = place
    arrays = [array for tensors in requests if (array := tensors.get(name)) is not None]
    if len(arrays) < len(requests) or arrays[0].ndim == 0:
        return None
    values = np.concatenate(arrays)
    if index is not None:
        values = values[:, index]
    if values.size != len(values):
        return None
    values = values.reshape(len(values))
    if values.dtype == object:  # texts: quicker counted than sorted
        kinds: dict[str, int] = {}
        places = [kinds.setdefault(value, len(kinds)) for value in values.tolist()]
        return list(kinds), np.array(places, np.int64)
    found, numbers = np.unique(values, return_inverse=True)
    return [_text(kind) for kind in found], numbers


def _place(signature: Signature, column: str) -> tuple[str, int | None] | None:
    """The input that holds a column, and which of its columns it is; None there for an input that is one."""
    for spec in signature.inputs:
        if column in spec.columns and len(spec.shape) == 2:
            return spec.name, spec.columns.index(column)
        if spec.name == column:
            return spec.name, None
    return None


def _text(kind: object) -> str:
    if isinstance(kind, np.floating):
        if kind != kind:
            return ""
        whole = np.isfinite(kind) and kind == np.floor(kind) and abs(kind) < 2**53
        return str(int(kind)) if whole else str(kind)
    return str(kind)

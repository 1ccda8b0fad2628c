"""A table through a model in memory: for the proof of a conversion, the reference profile, the gate and the plan."""

from __future__ import annotations

from typing import Final

import numpy as np

from seaway.core.errors import UserError
from seaway.core.ports import LoadedModel
from seaway.core.tables import Table, table_to_tensors
from seaway.core.tensors import Array, Signature

ROWS_AT_ONCE: Final = 512


def rows_at_once(signature: Signature) -> int:
    """How many rows one call of the model takes; where it has no free batch axis, exactly so many."""
    if signature.batched:
        return ROWS_AT_ONCE
    return max([spec.shape[0] for spec in signature.inputs if spec.shape], default=1)


def predict(
    model: LoadedModel, signature: Signature, table: Table, timeout_s: float | None = None
) -> dict[str, Array]:
    """The outputs for all rows of a table, asked in parts; `timeout_s` holds for each part.

    Outputs without an axis of rows are left out. Raises what `table_to_tensors` and the model raise, and
    `UserError("wrong_shape")` where the rows do not divide into the parts of a fixed size that the model takes.
    """
    inputs = table_to_tensors(table, signature)
    at_once = rows_at_once(signature)
    if not signature.batched and table.rows % at_once:
        raise UserError(
            "wrong_shape",
            f"the model takes {at_once} rows at a time, and {table.rows} rows do not divide into such parts",
        )
    parts = [
        model.predict({name: array[start : start + at_once] for name, array in inputs.items()}, timeout_s)
        for start in range(0, table.rows, at_once)
    ]
    return {
        spec.name: np.concatenate([np.asarray(part[spec.name]) for part in parts])
        for spec in signature.outputs
        if all(spec.name in part and np.ndim(part[spec.name]) > 0 for part in parts)
    }

"""`seaway.package`: the Python twin of `seaway package`, for models that live in a session."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from seaway import settings
from seaway.bundle import frames
from seaway.bundle import steps as step_rules
from seaway.bundle.build import PackageResult
from seaway.core.bundles import Task, Tolerance
from seaway.core.errors import UserError
from seaway.core.tables import Table
from seaway.wiring import packaging
from seaway.wiring.home import Home


def package(
    model: object,
    *,
    name: str,
    sample: object | None = None,
    golden: tuple[object, object] | None = None,
    require: Sequence[str] = (),
    lineage: Mapping[str, str] | None = None,
    task: str | None = None,
    tolerance: Tolerance | None = None,
    steps: str | Path | Mapping[str, object] | None = None,
    lock: bool = True,
    home: str | Path | None = None,
) -> PackageResult:
    """Package a trained model as the next version of `name`; the same input gives the same version again.

    `model`: a scikit-learn estimator or Pipeline, or the path of an ONNX or `.skops` file. `sample`: inputs
    `(rows, n_features)` as a DataFrame, an array or a list of dicts, on which the conversion is proved; when omitted,
    the golden set's inputs. `golden`: `(X, y)` with y of shape `(rows,)`, kept in the bundle and judged by the gate.
    `require`: thresholds such as `accuracy>=0.80`. `lineage`: as `--lineage`, such as `{"data": "train.csv"}`.
    `task`: `classification`, `regression` or `other`; when omitted, taken from the model. `steps`: how an ONNX file is
    run step by step, as a mapping or the path of a TOML file (docs/guide.md). `lock`: whether to lock the
    environment (the first time in an environment this asks the package index). `home`: else `SEAWAY_HOME`.

    Raises `UserError`: `conversion_refused` with the worst rows where ONNX does not answer like the model,
    `sample_required`, `invalid_data`, `unsupported_model`; `TemporaryError("lock_unavailable")` without an index.
    """
    truth, target = (None, None) if golden is None else _golden(*golden)
    return packaging.package(
        Home(settings.load(home)),
        model,
        name=name,
        sample=None if sample is None else frames.table_from(sample),
        golden=truth,
        target=target,
        requirements=tuple(require),
        lineage_pairs=dict(lineage or {}),
        task=_task(task),
        tolerance=tolerance or Tolerance(),
        rules=None
        if steps is None
        else step_rules.read_rules(Path(steps) if isinstance(steps, str) else steps),
        lock=lock,
        progress=lambda _text: None,
    )


def _golden(inputs: object, truth: object) -> tuple[Table, str]:
    table = frames.table_from(inputs)
    target = str(getattr(truth, "name", None) or "target")
    if target in table.columns:
        raise UserError(
            "invalid_data", f"the truth is named {target!r}, like an input", "rename it: y.rename('truth')"
        )
    column = frames.column_from(target, truth)
    if len(column) != table.rows:
        raise UserError("invalid_data", f"golden has {table.rows} rows of inputs and {len(column)} of truth")
    return Table({**table.columns, target: column}), target


def _task(task: str | None) -> Task | None:
    if task is None:
        return None
    try:
        return Task(task)
    except ValueError as error:
        raise UserError(
            "invalid_request", f"{task!r} is no task", f"one of {[t.value for t in Task]}"
        ) from error

"""scikit-learn models, live or in a `.skops` file, to ONNX by skl2onnx (the extra `sklearn`).

Built by wiring, used by `bundle.build` through `core.ports.Converter`. scikit-learn is imported only once a
source is plainly its own.
"""

from __future__ import annotations

import copy
import importlib
import importlib.metadata
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from seaway.core.bundles import Task
from seaway.core.errors import UserError
from seaway.core.tables import Table
from seaway.core.tensors import Array, DType, Meaning, Signature, Tensors, TensorSpec

LABEL: Final = "label"
PROBABILITIES: Final = "probabilities"
VALUE: Final = "value"
_EXTRA: Final = "pip install 'seaway[sklearn]'"
_OPSET: Final = {"": 18, "ai.onnx.ml": 3}
# What skops does not trust by itself, and fitted scikit-learn models hold: compiled trees, losses, bins, links
_TRUSTED: Final = (
    "sklearn.tree._tree.Tree",
    "sklearn._loss.",
    "sklearn.ensemble._hist_gradient_boosting.",
    "sklearn.compose._column_transformer._RemainderColsList",
    "sklearn.linear_model._sgd_fast.",
    "sklearn.neighbors._",
    "sklearn.svm._",
    "numpy.dtype",
    "numpy.dtypes.",
    "numpy.random._",
    "scipy.sparse.",
)
_CONVERSION_FAULTS: Final = (
    RuntimeError, NotImplementedError, ValueError, TypeError, KeyError, AttributeError, IndexError, AssertionError,
)  # fmt: skip


class SklearnConverter:
    """Opens fitted scikit-learn classifiers and regressors, and whole pipelines that end in one."""

    kind = "sklearn"

    def open(self, source: object) -> SklearnModel | None:
        """A live estimator, or the path of a skops file; None for anything else.

        Raises `UserError` (`format_not_allowed` naming the types, `unparseable`, `unsupported_model`,
        `missing_extra`).
        """
        if isinstance(source, Path):
            return SklearnModel(_load_skops(source), f"{source.name} (skops)")
        if "sklearn.base" not in sys.modules or not isinstance(
            source, sys.modules["sklearn.base"].BaseEstimator
        ):
            return None
        return SklearnModel(source, type(source).__name__)


class SklearnCandidate(msgspec.Struct, frozen=True):
    """One conversion: `label` is its arithmetic."""

    label: str
    onnx: bytes
    signature: Signature


class SklearnModel:
    """A fitted estimator as `core.ports.SourceModel`."""

    kind = "sklearn"

    def __init__(self, model: Any, description: str) -> None:
        self._model = model
        self.description = _describe(model, description)
        self.versions: Mapping[str, str] = {
            name: importlib.metadata.version(name) for name in ("numpy", "scikit-learn", "skl2onnx")
            if _installed(name)
        }  # fmt: skip
        base = importlib.import_module("sklearn.base")
        validation = importlib.import_module("sklearn.utils.validation")
        try:
            validation.check_is_fitted(model)
        except (importlib.import_module("sklearn.exceptions").NotFittedError, TypeError) as error:
            raise UserError(
                "unsupported_model", f"{self.description} is not fitted", "call its fit(X, y) first"
            ) from error
        self.classes: tuple[str | int, ...] = ()
        if base.is_classifier(model):
            self.task = Task.CLASSIFICATION
            classes = model.classes_
            if isinstance(classes, list) or np.asarray(classes).ndim != 1:
                raise UserError("unsupported_model", f"{self.description} gives several labels per row")
            self.classes = tuple(_label(value) for value in np.asarray(classes).tolist())
        elif base.is_regressor(model):
            self.task = Task.REGRESSION
        else:
            raise UserError(
                "unsupported_model",
                f"{self.description} is neither a classifier nor a regressor",
                "package a pipeline that ends in one, or convert it to ONNX yourself",
            )

    def align(self, table: Table) -> Table:
        """The columns by `feature_names_in_`; where no name fits, all columns in order."""
        names = [str(name) for name in getattr(self._model, "feature_names_in_", ())]
        if names and all(name in table.columns for name in names):
            return Table({name: table.columns[name] for name in names})
        known = [name for name in names if name in table.columns]
        if known:
            missing = [name for name in names if name not in table.columns]
            raise UserError(
                "invalid_data", f"the data lacks the columns {missing[:10]}", f"the model takes {names[:30]}"
            )
        width = len(names) or int(getattr(self._model, "n_features_in_", len(table.names)))
        if width != len(table.names):
            raise UserError(
                "invalid_data", f"the model takes {width} columns, the data has {len(table.names)}"
            )
        return Table(dict(zip(names or table.names, table.columns.values(), strict=True)))

    def predict(self, table: Table) -> Tensors:
        """The estimator's own `predict` and `predict_proba`, in float64."""
        data = self._data(table)
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # scikit-learn warns of unseen categories, which are part of the proof
            if self.task is Task.REGRESSION:
                return {
                    VALUE: np.asarray(self._model.predict(data), dtype=np.float64).reshape(table.rows, -1)
                }
            labels = np.empty(table.rows, dtype=object if self._texts else np.int64)
            labels[:] = [_label(value) for value in np.asarray(self._model.predict(data)).tolist()]
            if not hasattr(self._model, "predict_proba"):
                return {LABEL: labels}
            return {
                LABEL: labels,
                PROBABILITIES: np.asarray(self._model.predict_proba(data), dtype=np.float64),
            }

    def candidates(self, sample: Table) -> Iterator[SklearnCandidate]:
        """float32 first, then float64."""
        made = 0
        fault: BaseException | None = None
        for label, dtype in (("float32", DType.FP32), ("float64", DType.FP64)):
            try:
                encoded, signature = self._convert(sample, dtype)
            except _CONVERSION_FAULTS as error:
                fault = error
                continue
            made += 1
            yield SklearnCandidate(label, encoded, signature)
        if not made:
            raise UserError(
                "unsupported_model",
                f"skl2onnx cannot convert {self.description}: {_first_line(fault)}",
                "replace the step that it names, or convert the model to ONNX yourself and package that",
            ) from fault

    @property
    def _texts(self) -> bool:
        return any(isinstance(value, str) for value in self.classes)

    def _data(self, table: Table) -> Any:
        columns = {
            name: _with_nan(column) if column.dtype == object else column
            for name, column in table.columns.items()
        }
        if hasattr(self._model, "feature_names_in_"):
            return _require("pandas").DataFrame(columns)
        if any(column.dtype == object for column in columns.values()):
            return np.stack([column.astype(object) for column in columns.values()], axis=1)
        return np.stack([column.astype(np.float64) for column in columns.values()], axis=1)

    def _convert(self, sample: Table, dtype: DType) -> tuple[bytes, Signature]:
        skl2onnx = _require("skl2onnx")
        onnx_graphs = importlib.import_module("seaway.adapters.converters.sklearn_graphs")
        inputs = self._inputs(sample, dtype)
        options: dict[str, object] = {}
        if self.task is Task.CLASSIFICATION:
            options = {"zipmap": False}
        if dtype is DType.FP64 and any(_splits_on_missing(part) for part in parts(self._model)):
            # skl2onnx 1.20 searches a float64 for each threshold, and for an infinite one it never ends
            raise NotImplementedError("a tree that splits on missing values alone has no float64 conversion")
        model = prepare(copy.deepcopy(self._model))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecations inside skl2onnx are not the user's
            converted = skl2onnx.convert_sklearn(
                model,
                name="seaway",
                initial_types=[(spec.name, onnx_graphs.tensor_type(spec)) for spec in inputs],
                options=options or None,
                target_opset=dict(_OPSET),
                custom_conversion_functions=onnx_graphs.own_conversions(),
            )
        names = [VALUE] if self.task is Task.REGRESSION else [LABEL, PROBABILITIES]
        if self.task is Task.CLASSIFICATION and not hasattr(self._model, "predict_proba"):
            names = [LABEL]
        onnx_graphs.name_inputs(converted, inputs)
        onnx_graphs.name_outputs(converted, names)
        if dtype is DType.FP64:
            onnx_graphs.widen_scores(converted)
        return converted.SerializeToString(), Signature(
            inputs=inputs, outputs=self._outputs(converted, names)
        )

    def _inputs(self, sample: Table, dtype: DType) -> tuple[TensorSpec, ...]:
        texts = [name for name, column in sample.columns.items() if column.dtype == object]
        gaps = {name for name, column in sample.columns.items() if _gaps(column)}
        if not texts and not any(_takes_names(part) for part in parts(self._model)):
            shape = (-1, len(sample.names))
            return (TensorSpec("X", dtype, shape, Meaning.FEATURE, sample.names, nullable=bool(gaps)),)
        return tuple(
            TensorSpec(
                name, DType.BYTES if name in texts else dtype, (-1, 1), Meaning.FEATURE, nullable=name in gaps
            )
            for name in sample.names
        )

    def _outputs(self, converted: Any, names: Sequence[str]) -> tuple[TensorSpec, ...]:
        specs = []
        for name, value in zip(names, converted.graph.output, strict=True):
            kind = {1: DType.FP32, 11: DType.FP64, 7: DType.INT64, 8: DType.BYTES}[
                value.type.tensor_type.elem_type
            ]
            if name == LABEL:
                specs.append(TensorSpec(name, kind, (-1,), Meaning.LABEL))
            elif name == PROBABILITIES:
                specs.append(TensorSpec(name, kind, (-1, len(self.classes)), Meaning.PROBABILITY))
            else:
                width = value.type.tensor_type.shape.dim[1].dim_value or 1
                specs.append(TensorSpec(name, kind, (-1, width), Meaning.VALUE))
        return tuple(specs)


def parts(model: Any) -> Iterator[Any]:
    """A fitted model and the fitted models inside it, itself first."""
    yield model
    inner: list[Any] = []
    for attribute in ("steps", "transformers_", "transformer_list"):
        inner += [entry[1] for entry in getattr(model, attribute, None) or ()]
    for attribute in ("estimator_", "final_estimator_", "regressor_", "best_estimator_"):
        inner.append(getattr(model, attribute, None))
    for attribute in ("estimators_", "calibrated_classifiers_"):
        found = getattr(model, attribute, None)
        inner += np.asarray(found, dtype=object).reshape(-1).tolist() if found is not None else []
    for part in inner:
        if part is not None and not isinstance(part, str):
            yield from parts(part)


def _splits_on_missing(part: Any) -> bool:
    tree = getattr(part, "tree_", None)
    return tree is not None and hasattr(tree, "threshold") and not np.isfinite(tree.threshold).all()


def prepare(model: Any) -> Any:
    """Say "missing" the way ONNX strings can: the empty string, where scikit-learn has NaN or None. Changes `model`."""
    for part in parts(model):
        kind = type(part).__name__
        if kind in ("OneHotEncoder", "OrdinalEncoder"):
            part.categories_ = [_without_nan(categories) for categories in part.categories_]
        if kind == "SimpleImputer" and any(isinstance(value, str) for value in part.statistics_.tolist()):
            part.missing_values = ""
    return model


def _without_nan(categories: Array) -> Array:
    if categories.dtype != object:
        return categories
    out = np.empty(len(categories), dtype=object)
    out[:] = ["" if value is None or value != value else value for value in categories.tolist()]
    return out


def _with_nan(column: Array) -> Array:
    """Missing strings as NaN, which scikit-learn's imputers and encoders look for."""
    out = np.empty(len(column), dtype=object)
    out[:] = [np.nan if value is None else value for value in column.tolist()]
    return out


def _takes_names(part: Any) -> bool:
    return any(_named(entry[2]) for entry in getattr(part, "transformers_", None) or ())


def _named(selector: Any) -> bool:
    return isinstance(selector, str) or (
        not isinstance(selector, slice)
        and any(isinstance(one, str) for one in np.atleast_1d(selector).tolist())
    )


def _gaps(column: Array) -> bool:
    if column.dtype == object:
        return any(value is None for value in column.tolist())
    return column.dtype.kind == "f" and bool(np.isnan(column).any())


def _label(value: object) -> str | int:
    return (
        value
        if isinstance(value, str)
        else int(str(int(value)) if isinstance(value, (bool, int, float)) else str(value))
    )


def _describe(model: Any, description: str) -> str:
    steps = getattr(model, "steps", None)
    inner = " → ".join(type(step[1]).__name__ for step in steps) if steps else ""
    return f"{description}({inner})" if inner else description


def _load_skops(path: Path) -> Any:
    skops = _require("skops.io")
    try:
        untrusted = skops.get_untrusted_types(file=path)
        refused = [name for name in untrusted if not name.startswith(_TRUSTED)]
        if refused:
            raise UserError(
                "format_not_allowed",
                f"{path} holds types that are not scikit-learn's own: {', '.join(sorted(refused)[:10])}",
                "load it where you trust it, then: seaway.package(model, name=…, sample=X)",
            )
        return skops.load(path, trusted=untrusted)
    except UserError:
        raise
    except (*_CONVERSION_FAULTS, OSError, ImportError) as error:
        raise UserError("unparseable", f"{path} is no readable skops file: {_first_line(error)}") from error
    except skops.exceptions.UntrustedTypesFoundException as error:
        raise UserError("format_not_allowed", f"{path}: {_first_line(error)}") from error


def _require(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UserError(
            "missing_extra", f"this needs {module.partition('.')[0]}, which is not installed", _EXTRA
        ) from error


def _installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _first_line(error: BaseException | None) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:300] if text else type(error).__name__

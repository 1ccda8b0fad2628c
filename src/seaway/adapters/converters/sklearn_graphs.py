"""What Seaway changes in the graphs that skl2onnx makes; imported by `adapters.converters.sklearn` when it converts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, StringTensorType
from skl2onnx.operator_converters.decision_tree import (
    convert_sklearn_decision_tree_classifier,
    convert_sklearn_decision_tree_regressor,
)
from skl2onnx.operator_converters.gradient_boosting import (
    convert_sklearn_gradient_boosting_classifier,
    convert_sklearn_gradient_boosting_regressor,
)
from skl2onnx.operator_converters.imputer_op import convert_sklearn_imputer
from skl2onnx.operator_converters.random_forest import (
    convert_sklearn_random_forest_classifier,
    convert_sklearn_random_forest_regressor_converter,
)
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from seaway.core.tensors import DType, TensorSpec


def tensor_type(spec: TensorSpec) -> Any:
    """skl2onnx's type of an input."""
    kind = {DType.FP32: FloatTensorType, DType.FP64: DoubleTensorType, DType.BYTES: StringTensorType}[
        spec.dtype
    ]
    return kind([None, *spec.shape[1:]])


def own_conversions() -> dict[type, Callable[..., None]]:
    """Conversions that replace skl2onnx's."""
    return {
        SimpleImputer: _convert_imputer,
        HistGradientBoostingClassifier: _histogram_trees(convert_sklearn_random_forest_classifier),
        HistGradientBoostingRegressor: _histogram_trees(convert_sklearn_random_forest_regressor_converter),
        DecisionTreeClassifier: _trees(convert_sklearn_decision_tree_classifier),
        DecisionTreeRegressor: _trees(convert_sklearn_decision_tree_regressor),
        RandomForestClassifier: _trees(convert_sklearn_random_forest_classifier),
        RandomForestRegressor: _trees(convert_sklearn_random_forest_regressor_converter),
        ExtraTreesClassifier: _trees(convert_sklearn_random_forest_classifier),
        ExtraTreesRegressor: _trees(convert_sklearn_random_forest_regressor_converter),
        GradientBoostingClassifier: _trees(convert_sklearn_gradient_boosting_classifier),
        GradientBoostingRegressor: _trees(convert_sklearn_gradient_boosting_regressor),
    }


_NARROW = frozenset(
    {
        "TreeEnsembleClassifier", "TreeEnsembleRegressor", "LinearClassifier", "LinearRegressor",
        "SVMClassifier", "SVMRegressor", "Normalizer",
    }
)  # fmt: skip


class _HistogramTrees:
    """A container that puts right what skl2onnx 1.20 gives for histogram trees.

    Booleans become integers, since onnx refuses them from 1.19 on; float64 thresholds and weights stay float64.
    """

    def __init__(self, container: Any) -> None:
        self._container = container

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)

    def add_node(self, *args: Any, **attributes: Any) -> None:
        tracks = attributes.get("nodes_missing_value_tracks_true")
        if tracks is not None:
            attributes["nodes_missing_value_tracks_true"] = [int(value) for value in tracks]
        for key, value in list(attributes.items()):
            if isinstance(value, np.ndarray) and value.dtype == np.float64:
                attributes[f"{key}_as_tensor"] = numpy_helper.from_array(attributes.pop(key), key)
        self._container.add_node(*args, **attributes)


def _histogram_trees(convert: Callable[..., None]) -> Callable[..., None]:
    def converted(scope: Any, operator: Any, container: Any) -> None:
        convert(scope, operator, _HistogramTrees(container), op_version=3)

    return converted


def _trees(convert: Callable[..., None]) -> Callable[..., None]:
    """Trees whose input is rounded to float32, as scikit-learn's own do before they compare.

    What is left of a float64 conversion is what comes before them, such as scaling; skl2onnx 1.20 would write the
    thresholds of float64 trees as float32, and rows on a threshold would take the other branch.
    """

    def converted(scope: Any, operator: Any, container: Any) -> None:
        wide = operator.inputs[0]
        if isinstance(wide.type, DoubleTensorType):
            narrow = scope.declare_local_variable("tree_input", FloatTensorType(wide.type.shape))
            container.add_node(
                "Cast", [wide.full_name], [narrow.full_name], to=TensorProto.FLOAT, op_version=13
            )
            operator.inputs.set_element(0, narrow)
        convert(scope, operator, container)

    return converted


def _convert_imputer(scope: Any, operator: Any, container: Any) -> None:
    """Numbers: Where(IsNaN(x), statistic, x), in x's own type; skl2onnx's Imputer has only a float32 form."""
    model = operator.raw_operator
    numbers = all(isinstance(v.type, (FloatTensorType, DoubleTensorType)) for v in operator.inputs)
    plain = (
        isinstance(model.missing_values, float) and np.isnan(model.missing_values) and not model.add_indicator
    )
    statistics = model.statistics_
    if not (numbers and plain) or statistics.dtype.kind not in "fiu" or np.isnan(statistics).any():
        if model.add_indicator:
            raise NotImplementedError("SimpleImputer(add_indicator=True) has no conversion")
        convert_sklearn_imputer(scope, operator, container)
        return
    double = isinstance(operator.inputs[0].type, DoubleTensorType)
    joined = operator.inputs[0].full_name
    if len(operator.inputs) > 1:
        joined = scope.get_unique_variable_name("imputer_inputs")
        container.add_node("Concat", [v.full_name for v in operator.inputs], joined, axis=1, op_version=13)
    gaps = scope.get_unique_variable_name("imputer_gaps")
    fill = scope.get_unique_variable_name("imputer_fill")
    kind = TensorProto.DOUBLE if double else TensorProto.FLOAT
    container.add_initializer(fill, kind, [1, len(statistics)], statistics.astype(np.float64).tolist())
    container.add_node("IsNaN", [joined], gaps, op_version=13)
    container.add_node("Where", [gaps, fill, joined], operator.outputs[0].full_name, op_version=9)


def name_outputs(model: onnx.ModelProto, names: Sequence[str]) -> None:
    """Give the first outputs these names and drop the others."""
    graph = model.graph
    taken = {name for node in graph.node for name in (*node.input, *node.output)} | {
        v.name for v in graph.input
    }
    for value, name in zip(graph.output, names, strict=False):
        old = value.name
        if name in taken and name != old:
            _rename(graph, name, f"{name}_inner")
        _rename(graph, old, name)
        value.name = name
    del graph.output[len(names) :]


def _rename(graph: Any, old: str, new: str) -> None:
    if any(value.name == old for value in graph.input):
        raise NotImplementedError(f"an input column is called {old!r}, as an output is: rename the column")
    for node in graph.node:
        for field in (node.input, node.output):
            for i, name in enumerate(field):
                if name == old:
                    field[i] = new


def name_inputs(model: onnx.ModelProto, specs: Sequence[TensorSpec]) -> None:
    """Give the inputs their columns' own names, since skl2onnx writes `_` for spaces and signs in them."""
    graph = model.graph
    if len(graph.input) != len(specs):
        raise NotImplementedError("the converted model takes other inputs than the sample has columns")
    wanted = [spec.name for spec in specs]
    moved = [
        v.name for v, name in zip(graph.input, wanted, strict=True) if v.name != name and v.name in wanted
    ]
    if moved:
        raise NotImplementedError(
            f"the converted model takes {moved[0]!r} in another place: rename the columns"
        )
    for value, name in zip(graph.input, wanted, strict=True):
        for node in graph.node:
            for i, used in enumerate(node.input):
                if used == value.name:
                    node.input[i] = name
        value.name = name


def widen_scores(model: onnx.ModelProto) -> None:
    """Cast to float64 what is float32 by its operator's definition, and with it the outputs.

    skl2onnx 1.20 goes on as if such scores were float64 where the inputs are, and no runtime loads that.
    """
    graph = model.graph
    nodes = []
    for at, node in enumerate(graph.node):
        copy = onnx.NodeProto.FromString(node.SerializeToString())
        nodes.append(copy)
        if node.op_type in _NARROW:
            scores = len(node.output) - 1
            narrow = f"seaway_scores_{at}"
            nodes.append(helper.make_node("Cast", [narrow], [node.output[scores]], to=TensorProto.DOUBLE))
            copy.output[scores] = narrow
    del graph.node[:]
    graph.node.extend(nodes)
    for value in graph.output:
        if value.type.tensor_type.elem_type in (TensorProto.FLOAT, TensorProto.DOUBLE):
            inner = f"{value.name}_any"
            _rename(graph, value.name, inner)
            graph.node.append(helper.make_node("Cast", [inner], [value.name], to=TensorProto.DOUBLE))
            value.type.tensor_type.elem_type = TensorProto.DOUBLE

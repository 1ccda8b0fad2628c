"""scikit-learn models through the whole use case: converted, proved row by row, packaged, opened and answering."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import skops.io
from sklearn import datasets
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from seaway.adapters.converters.sklearn import SklearnConverter
from seaway.adapters.runtimes.onnxruntime import OnnxRuntime
from seaway.bundle import asking, datafiles, frames
from seaway.bundle.build import ConversionRefused, Package, PackageResult, Tools, package
from seaway.bundle.store import BundleStore
from seaway.core.bundles import Task
from seaway.core.errors import UserError
from seaway.testing.clock import VirtualClock


@pytest.fixture
def tools(tmp_path: Path) -> Tools:
    store = BundleStore(tmp_path / "models", tmp_path / "opened", VirtualClock())
    return Tools(store, OnnxRuntime(), [SklearnConverter()])


def mixed(loader: object, seed: int) -> tuple[pd.DataFrame, npt.NDArray[np.generic]]:
    """A real data set with two columns as strings (one with gaps), one with missing numbers and large numbers."""
    assert callable(loader)
    found = loader(as_frame=True)
    frame, random = found.data.copy(), np.random.default_rng(seed)
    first, second, third, fourth = frame.columns[:4]
    frame[first] = pd.cut(frame[first], 4, labels=["low", "mid", "high", "top"]).astype(object)
    frame[second] = pd.cut(frame[second], 3, labels=["a b", "ü", "c,d"]).astype(object)
    frame.loc[random.random(len(frame)) < 0.1, second] = np.nan
    frame.loc[random.random(len(frame)) < 0.1, third] = np.nan
    frame[fourth] = frame[fourth] * 1e7
    return frame, found.target.to_numpy()


def mixed_pipeline(frame: pd.DataFrame, estimator: BaseEstimator) -> Pipeline:
    words = list(frame.columns[:2])
    numbers = list(frame.columns[2:])
    encode = make_pipeline(
        SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    )
    prepare = ColumnTransformer(
        [("words", encode, words), ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), numbers)]
    )
    return Pipeline([("prepare", prepare), ("model", estimator)])


CASES = [
    (datasets.load_wine, LogisticRegression(max_iter=2000), Task.CLASSIFICATION),
    (datasets.load_breast_cancer, RandomForestClassifier(20, random_state=0), Task.CLASSIFICATION),
    (datasets.load_diabetes, Ridge(), Task.REGRESSION),
    (datasets.load_diabetes, HistGradientBoostingRegressor(max_iter=20), Task.REGRESSION),
]


@pytest.mark.parametrize(
    ("loader", "estimator", "task"), CASES, ids=["wine", "cancer", "diabetes", "diabetes-hgb"]
)
def test_numbers_equal_scikit_learns_on_real_mixed_data(
    tools: Tools, loader: object, estimator: BaseEstimator, task: Task
) -> None:
    frame, target = mixed(loader, seed=1)
    model = mixed_pipeline(frame, estimator).fit(frame, target)
    unseen = frame.copy()
    unseen.iloc[::25, 0] = "never seen"
    repeated = pd.concat([unseen] * (1 + 1000 // len(unseen)), ignore_index=True)
    result = package(Package(model, "mixed", sample=frames.table_from(repeated)), tools)
    assert result.parity is not None
    assert result.parity.passed
    assert result.parity.rows == len(repeated) >= 1000
    assert result.manifest.task is task
    opened = tools.store.open(result.version)
    loaded = tools.runtime.load(opened)
    answers = asking.predict(loaded, opened.manifest.signature, frames.table_from(unseen))
    if task is Task.CLASSIFICATION:
        assert answers["label"].tolist() == model.predict(unseen).tolist()
        np.testing.assert_allclose(
            answers["probabilities"], model.predict_proba(unseen), rtol=1e-4, atol=1e-5
        )
    else:
        np.testing.assert_allclose(answers["value"][:, 0], model.predict(unseen), rtol=1e-4, atol=1e-5)


FLIPPED = 503


def planted() -> tuple[Pipeline, npt.NDArray[np.float64]]:
    """Integers above 2**24, where float32 has only the even ones: 2**24 + 503 becomes 504, across the threshold."""
    rows = (2.0**24 + np.arange(1001)).reshape(-1, 1)
    labels = (np.arange(1001) > FLIPPED).astype(int)
    return make_pipeline(StandardScaler(), DecisionTreeClassifier()).fit(rows, labels), rows


@pytest.mark.parametrize(
    "estimator",
    [
        DecisionTreeClassifier(random_state=0),
        RandomForestClassifier(10, random_state=0),
        GradientBoostingClassifier(n_estimators=10, random_state=0),
        DecisionTreeRegressor(random_state=0),
        RandomForestRegressor(10, random_state=0),
        GradientBoostingRegressor(n_estimators=10, random_state=0),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_trees_behind_a_scaler_answer_alike_in_float64(tools: Tools, estimator: BaseEstimator) -> None:
    """Rows on a threshold: what float32 scaling sends to the other branch, float64 scaling must not."""
    random = np.random.default_rng(3)
    values = random.integers(0, 40, (3000, 3)) / 7.0 + 1000.0
    truth = (
        (values.sum(axis=1) > 3008).astype(int) if isinstance(estimator, ClassifierMixin) else values[:, 0]
    )
    model = make_pipeline(StandardScaler(), estimator).fit(values, truth)
    made = package(Package(model, "trees", sample=frames.table_from(values)), tools)
    assert made.parity is not None and made.parity.passed
    float64 = [found for found in made.parity.candidates if found.candidate == "float64"]
    assert all(found.rows_beyond == 0 for found in float64)


def test_a_planted_float32_flip_is_reported_by_its_row_and_float64_is_taken(tools: Tools) -> None:
    model, rows = planted()
    result = package(Package(model, "flip", sample=frames.table_from(rows)), tools)
    assert result.parity is not None
    narrow, wide = result.parity.candidates
    assert (narrow.candidate, narrow.passed, narrow.rows_beyond) == ("float32", False, 1)
    assert narrow.worst[0].row == FLIPPED
    assert (narrow.worst[0].source, narrow.worst[0].converted) in ((0, 1), ([1.0, 0.0], [0.0, 1.0]))
    assert narrow.worst[0].values == {"x0": 2.0**24 + FLIPPED}
    assert (wide.candidate, wide.passed, wide.rows_beyond, wide.label_agreement) == ("float64", True, 0, 1.0)
    assert result.parity.chosen == "float64"
    assert result.manifest.signature.inputs[0].dtype.value == "FP64"
    kept = tools.store.attachments(result.version, "parity")
    assert json.loads(kept[0].data)["candidates"][0]["worst"][0]["row"] == FLIPPED


def test_a_conversion_beyond_tolerance_is_refused_with_its_worst_rows(tools: Tools) -> None:
    random = np.random.default_rng(3)
    rows = random.normal(size=(2000, 5)) * 1e3
    rows[::9, 2] = np.nan  # skl2onnx drops to which side scikit-learn's trees send missing values
    model = RandomForestRegressor(10, random_state=0).fit(rows, rows[:, 0] * 2 + rows[:, 1])
    with pytest.raises(ConversionRefused) as caught:
        package(Package(model, "forest", sample=frames.table_from(rows)), tools)
    assert caught.value.code == "conversion_refused"
    worst = caught.value.report.candidates[0].worst
    assert worst
    assert all(one.beyond for one in worst)
    assert f"row {worst[0].row}," in caught.value.message
    assert tools.store.models() == []


def diabetes(tools: Tools, name: str = "diabetes") -> PackageResult:
    rows, target = datasets.load_diabetes(return_X_y=True)
    golden = frames.table_from(np.column_stack([rows, target]))
    request = Package(
        Ridge().fit(rows, target),
        name,
        golden=golden,
        target="x10",
        requirements=["r2>=0.1"],
    )
    return package(request, tools)


def test_packaging_again_gives_the_same_version(tools: Tools, tmp_path: Path) -> None:
    first, again = diabetes(tools), diabetes(tools)
    assert (first.created, again.created) == (True, False)
    assert first.version == again.version
    elsewhere = BundleStore(tmp_path / "b" / "models", tmp_path / "b" / "opened", VirtualClock(now_s=2e9))
    other = diabetes(Tools(elsewhere, OnnxRuntime(), [SklearnConverter()]))
    assert other.version.digest == first.version.digest


def test_the_golden_set_gives_the_sample_and_comes_back_exactly(tools: Tools) -> None:
    opened = tools.store.open(diabetes(tools).version)
    golden = opened.manifest.golden
    assert golden is not None
    table = datafiles.read_jsonl((Path(opened.directory) / golden.path).read_bytes(), golden.path)
    rows, target = datasets.load_diabetes(return_X_y=True)
    assert np.array_equal(table.columns["x10"], target)
    assert np.array_equal(np.column_stack([table.columns[f"x{i}"] for i in range(10)]), rows)
    assert opened.manifest.sample == "sample.jsonl"
    assert opened.manifest.requirements == ("r2>=0.1",)


def test_string_labels_and_skops_files(tools: Tools, tmp_path: Path) -> None:
    found = datasets.load_iris()
    labels = found.target_names[found.target]
    model = RandomForestClassifier(5, random_state=0).fit(found.data, labels)
    path = tmp_path / "renamed.bin"
    skops.io.dump(model, path)
    result = package(Package(path, "iris", sample=frames.table_from(found.data)), tools)
    assert result.manifest.classes == ("setosa", "versicolor", "virginica")
    opened = tools.store.open(result.version)
    answers = asking.predict(
        tools.runtime.load(opened), opened.manifest.signature, frames.table_from(found.data)
    )
    assert answers["label"].tolist() == model.predict(found.data).tolist()


class Foreign(ClassifierMixin, BaseEstimator):
    """An estimator that is not scikit-learn's own."""

    def fit(self, X: object, y: object) -> Foreign:
        self.classes_ = np.array([0, 1])
        return self


def test_p01_skops_with_foreign_types_is_refused_by_name(tools: Tools, tmp_path: Path) -> None:
    path = tmp_path / "m.skops"
    skops.io.dump(Foreign().fit([], []), path)
    with pytest.raises(UserError, match="Foreign") as caught:
        package(Package(path, "m", sample=frames.table_from(np.zeros((3, 2)))), tools)
    assert caught.value.code == "format_not_allowed"


@pytest.mark.parametrize(
    ("source", "code"),
    [
        (Ridge(), "unsupported_model"),
        (StandardScaler().fit(np.eye(3)), "unsupported_model"),
        (object(), "unsupported_model"),
    ],
)
def test_what_cannot_be_converted_is_said(tools: Tools, source: object, code: str) -> None:
    with pytest.raises(UserError) as caught:
        package(Package(source, "m", sample=frames.table_from(np.zeros((3, 3)))), tools)
    assert caught.value.code == code


def test_inputs_are_checked_before_any_work(tools: Tools) -> None:
    model = Ridge().fit(np.eye(3), np.arange(3))
    sample = frames.table_from(np.eye(3))
    cases = {
        "sample_required": Package(model, "m"),
        "invalid_name": Package(model, "Bad Name", sample=sample),
        "invalid_requirement": Package(model, "m", sample=sample, requirements=["r2"]),
        "invalid_data": Package(model, "m", sample=sample, golden=sample, target="none"),
    }
    for code, request in cases.items():
        with pytest.raises(UserError) as caught:
            package(request, tools)
        assert caught.value.code == code

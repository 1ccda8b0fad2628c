"""Three real data sets with numbers, words and holes: the endpoint's answers beside scikit-learn's own.

The same rows go through `tritonclient` (Open Inference Protocol), through `curl` and through Seaway's client.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tritonclient.http as triton
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import datasets
import seaway
from electricity import models as electricity
from server import PATIENT, Seaway

ROWS = 2000
TOLERANCE = 1e-4


def _pipeline(model: Any, numbers: list[str], words: list[str]) -> Pipeline:
    number = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    word = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore"))
    return Pipeline(
        [("encode", ColumnTransformer([("n", number, numbers), ("w", word, words)])), ("model", model)]
    )


def _elec2() -> tuple[Any, pd.DataFrame]:
    split = electricity.load(datasets.fetch("elec2"))
    return electricity.boosted(split.train), split.golden[electricity.WORDS + electricity.NUMBERS]


def _bikeshare() -> tuple[Any, pd.DataFrame]:
    frame = pd.read_csv(datasets.fetch("bikeshare")).dropna(subset=["cnt"])
    numbers, words = ["temp", "atemp", "hum", "windspeed"], ["season", "hr", "weekday", "weathersit"]
    frame[words] = frame[words].astype(object)
    model = _pipeline(HistGradientBoostingRegressor(max_iter=50, random_state=0), numbers, words)
    # One-hot output is sparse, and this estimator wants it dense.
    model.named_steps["encode"].sparse_threshold = 0
    train, rest = frame.iloc[:12_000], frame.iloc[12_000:]
    return model.fit(train[numbers + words], train["cnt"]), rest[numbers + words]


def _titanic() -> tuple[Any, pd.DataFrame]:
    frame = pd.read_csv(datasets.fetch("titanic"))
    numbers, words = ["Pclass", "Age", "SibSp", "Parch", "Fare"], ["Sex", "Embarked"]
    frame[words] = frame[words].astype(object)
    frame[numbers] = frame[numbers].astype(float)
    model = _pipeline(GradientBoostingClassifier(n_estimators=40, random_state=0), numbers, words)
    return model.fit(frame[numbers + words][:500], frame["Survived"][:500]), frame[numbers + words]


SETS = {"elec2": _elec2, "bikeshare": _bikeshare, "titanic": _titanic}


def measure(scale: float) -> dict[str, Any]:
    """Largest differences and label agreement per data set, over all clients."""
    count = max(100, round(ROWS * scale))
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as work:
        server = Seaway(Path(work))
        server.limits = PATIENT
        for name, make in SETS.items():
            model, rows = make()
            result = seaway.package(model, name=name, sample=rows, home=server.home, lock=False)
            assert result.parity is not None and result.parity.passed
            figures[name] = {"parity": result.parity.summary(), "parity_rows": result.parity.rows}
        with server.up():
            for name, make in SETS.items():
                model, rows = make()
                server.deploy_first(name, f"{name}:v1")
                figures[name] |= _compare(server, name, model, rows.iloc[-count:])
    return figures


def _compare(server: Seaway, name: str, model: Any, rows: pd.DataFrame) -> dict[str, Any]:
    # JSON has no NaN, and tritonclient writes no null: it gets the rows whose numbers are all there.
    whole = rows.dropna(subset=rows.select_dtypes("number").columns)
    asked = {
        "seaway.Client": (rows, _seaway(server, name, rows)),
        "curl": (rows.iloc[:50], _curl(server, name, rows.iloc[:50])),
        "tritonclient": (whole, _triton(server, name, whole)),
    }
    largest = 0.0
    for client, (given, found) in asked.items():
        want = np.asarray(model.predict(given))
        if "label" in found:
            agreement = float(np.mean(found["label"] == want))
            assert agreement == 1.0, f"{name} through {client}: labels agree in {agreement:.4%}"
            difference = np.abs(found["probabilities"] - model.predict_proba(given))
        else:
            difference = np.abs(found["value"] - want) / np.maximum(1.0, np.abs(want))
        largest = max(largest, float(np.max(difference)))
        assert largest <= TOLERANCE, f"{name} through {client}: {largest}"
    return {
        "rows_compared": len(rows),
        "rows_with_a_missing_value": int(rows.isna().any(axis=1).sum()),
        "largest_difference": largest,
        "tolerance": TOLERANCE,
        "clients": list(asked),
    }


def _columns(predictions: list[Any]) -> dict[str, np.ndarray]:
    if isinstance(predictions[0], dict):
        return {key: np.array([p[key] for p in predictions]) for key in predictions[0]}
    return {"value": np.array(predictions, dtype=float).reshape(-1)}


def _seaway(server: Seaway, name: str, rows: pd.DataFrame) -> dict[str, np.ndarray]:
    return _columns(seaway.Client(f"http://127.0.0.1:{server.port}").predict(name, rows))


def _curl(server: Seaway, name: str, rows: pd.DataFrame) -> dict[str, np.ndarray]:
    records = [
        {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in row.items()}
        for row in rows.to_dict("records")
    ]
    url = f"http://127.0.0.1:{server.port}/predict/{name}"
    command = ["curl", "-sS", "--fail-with-body", url, "-H", "content-type: application/json", "-d", "@-"]
    done = subprocess.run(
        command,
        input=json.dumps({"instances": records}),
        capture_output=True,
        text=True,
        env=dict(os.environ),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return _columns(json.loads(done.stdout)["predictions"])


_DTYPES = {"FP32": np.float32, "FP64": np.float64, "INT64": np.int64, "BYTES": object}


def _triton(server: Seaway, name: str, rows: pd.DataFrame) -> dict[str, np.ndarray]:
    client = triton.InferenceServerClient(f"127.0.0.1:{server.port}")
    inputs = []
    for spec in client.get_model_metadata(name)["inputs"]:
        column = rows[spec["name"]]
        values = column.where(column.notna(), "") if spec["datatype"] == "BYTES" else column
        array = values.to_numpy().astype(_DTYPES[spec["datatype"]]).reshape(-1, 1)
        tensor = triton.InferInput(spec["name"], list(array.shape), spec["datatype"])
        tensor.set_data_from_numpy(array, binary_data=False)
        inputs.append(tensor)
    wanted = [
        triton.InferRequestedOutput(o["name"], binary_data=False)
        for o in client.get_model_metadata(name)["outputs"]
    ]
    answer = client.infer(name, inputs, outputs=wanted)
    found = {o["name"]: answer.as_numpy(o["name"]) for o in answer.get_response()["outputs"]}
    return {key: value.reshape(-1) if key in ("label", "value") else value for key, value in found.items()}

"""The Python client and `seaway predict` against a real `seaway serve`: how tables of any form reach an endpoint."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import seaway
from seaway.core.errors import TemporaryError, UserError
from seaway.testing import tiny_models
from server import SEAWAY, Seaway, linear_model

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaway]:
    """y = 2 (a + b), with named columns, behind the endpoint `linear`."""
    server = Seaway(tmp_path_factory.mktemp("served"))
    model = linear_model(server.home / "model.onnx", 2.0)
    (server.home / "sample.csv").write_text("a,b\n1,2\n3,4\n")
    server.run(
        "package", str(model), "--name", "linear", "--sample", str(server.home / "sample.csv"), "--no-lock"
    )
    command = [SEAWAY, "serve", "linear:v1", "--http", f"127.0.0.1:{server.port}"]
    with (server.home / "up.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=server.environment)
    server.wait_until(lambda: _ready(server), 120, "seaway serve did not become ready")
    yield server
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=120) == 0


def _ready(server: Seaway) -> bool:
    try:
        return server.get("/v2/health/ready")[0] == 200
    except OSError:
        return False


@pytest.fixture
def client(served: Seaway) -> seaway.Client:
    return seaway.Client(f"http://127.0.0.1:{served.port}")


@pytest.mark.parametrize(
    "rows",
    [
        [{"a": 1, "b": 2}, {"a": 3, "b": 4}],
        [[1, 2], [3, 4]],
        np.array([[1, 2], [3, 4]], dtype=np.float32),
        pd.DataFrame({"a": [1, 3], "b": [2, 4]}),
        pd.DataFrame({"b": [2, 4], "a": [1, 3], "truth": [0, 1]}),
        pd.DataFrame({"first": [1, 3], "second": [2, 4]}),
    ],
    ids=[
        "dicts",
        "lists",
        "array",
        "frame",
        "frame with more columns in another order",
        "frame of other names",
    ],
)
def test_every_form_of_rows_gives_the_same_answers(rows: object, client: seaway.Client) -> None:
    assert client.predict("linear", rows) == [6.0, 14.0]


def test_a_column_of_true_and_false_is_one_and_zero_to_a_number(client: seaway.Client) -> None:
    assert client.predict("linear", pd.DataFrame({"a": [True, False], "b": [2, 4]})) == [6.0, 8.0]


def test_an_answer_says_who_gave_it(client: seaway.Client) -> None:
    answer = client.answer("linear", [[1, 2]], request_id="mine-1")
    assert (answer.predictions, answer.revision, answer.request_id) == ([6.0], 1, "mine-1")
    assert answer.digest.startswith("sha256:")


def test_a_wrong_row_is_the_callers_error_with_the_feature_named(client: seaway.Client) -> None:
    with pytest.raises(UserError, match=r"row 1.*'b'") as caught:
        client.predict("linear", [{"a": 1, "b": 2}, {"a": 1, "b": "x"}])
    assert caught.value.code == "wrong_dtype"


def test_no_server_is_temporary_and_says_what_to_start() -> None:
    with pytest.raises(TemporaryError) as caught:
        seaway.Client("http://127.0.0.1:9", timeout_s=30).predict("linear", [[1, 2]])
    assert caught.value.code == "control_unavailable" and "seaway up" in (caught.value.hint or "")


@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl", "rows.parquet"])
def test_predict_reads_every_kind_of_file(name: str, served: Seaway, tmp_path: Path) -> None:
    frame = pd.DataFrame({"b": [2.0, 4.0], "a": [1.0, 3.0]})
    path = tmp_path / name
    if name.endswith("csv"):
        frame.to_csv(path, index=False)
    elif name.endswith("jsonl"):
        path.write_text("".join(json.dumps(row) + "\n" for row in frame.to_dict("records")))
    else:
        frame.to_parquet(path)
    url = f"http://127.0.0.1:{served.port}"
    assert served.run("predict", "linear", "--data", str(path), "--url", url) == "6.0\n14.0\n"
    assert served.json("predict", "linear", "--data", str(path), "--url", url) == {"predictions": [6.0, 14.0]}


def test_predict_reads_standard_input(served: Seaway) -> None:
    url = f"http://127.0.0.1:{served.port}"
    done = subprocess.run(
        [SEAWAY, "predict", "linear", "--data", "-", "--url", url],
        input=b"a,b\n1,2\n",
        capture_output=True,
        env=served.environment,
    )
    assert (done.returncode, done.stdout) == (0, b"6.0\n"), done.stderr


@pytest.fixture(scope="module")
def looked_up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaway]:
    """The string input `name` comes back as `same`."""
    server = Seaway(tmp_path_factory.mktemp("looked-up"))
    bundle = tiny_models.lookup(server.home / "lookup")
    command = [SEAWAY, "serve", bundle.directory, "--name", "lookup", "--http", f"127.0.0.1:{server.port}"]
    with (server.home / "up.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=server.environment)
    server.wait_until(lambda: _ready(server), 120, "seaway serve did not become ready")
    yield server
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=120) == 0


def test_predict_sends_the_text_of_a_cell_to_a_string_input(looked_up: Seaway, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("index,name\n0,1234\n1,true\n2,1.50\n")
    found = looked_up.json(
        "predict", "lookup", "--data", str(path), "--url", f"http://127.0.0.1:{looked_up.port}"
    )
    assert [one["same"] for one in found["predictions"]] == ["1234", "true", "1.50"]

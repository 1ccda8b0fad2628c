"""`seaway replay` end to end: scikit-learn models, a real server that records, and a candidate that is worse on one slice."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from control_process import Server, until
from recorded_server import run
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder

from seaway import settings
from seaway.adapters.converters.sklearn import SklearnConverter
from seaway.adapters.runtimes.onnxruntime import OnnxRuntime
from seaway.bundle import frames
from seaway.bundle.build import Package, Tools, package
from seaway.control import endpoint_file, views
from seaway.wiring.home import Home

pytestmark = pytest.mark.slow
REQUESTS = 300
ENDPOINT_FILE = b"""
version: 1
endpoint: churn
serve: {bundle: churn:v1}
limits: {deadline: 60s, queue: 60s}
record: {capture: 100%}
"""
HIDDEN = b"""
version: 1
endpoint: hidden
serve: {bundle: churn:v1}
limits: {deadline: 60s, queue: 60s}
record: {capture: 100%, redact: [usage]}
"""
MASKED = b"""
version: 1
endpoint: masked
serve: {bundle: churn:v1}
limits: {deadline: 60s, queue: 60s}
record: {capture: 100%, redact: ["text:email"]}
"""


def people(rows: int, seed: int) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "region": random.choice(["north", "south", "west"], rows).astype(object),
            "usage": random.normal(size=rows),
            "tenure": random.integers(0, 4, rows).astype(float),
        }
    )


def truth(frame: pd.DataFrame) -> np.ndarray:
    return (frame["usage"] + 0.1 * frame["tenure"] > 0).to_numpy().astype(np.int64)


def fitted(frame: pd.DataFrame, answers: np.ndarray) -> Pipeline:
    words = ColumnTransformer([("w", OneHotEncoder(), ["region"])], remainder="passthrough")
    crossed = Pipeline([("columns", words), ("model", LogisticRegression(C=100.0, max_iter=2000))])
    return crossed.fit(frame, answers)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`churn` on v1 has answered 300 requests with known outcomes; v2 takes all of the west for churning."""
    home = tmp_path_factory.mktemp("replay") / "home"
    home.mkdir()
    frame = people(2000, 1)
    right = truth(frame)
    wrong = np.where(frame["region"] == "west", 1, right)
    tools = Tools(Home(settings.load(home)).bundles, OnnxRuntime(), [SklearnConverter()])
    for answers in (right, wrong):
        package(Package(fitted(frame, answers), "churn", sample=frames.table_from(frame.head(200))), tools)
    narrow = frame.assign(phone=frame["usage"])
    model = LogisticRegression().fit(narrow[["usage", "tenure", "phone"]], right)
    package(
        Package(model, "wide", sample=frames.table_from(narrow[["usage", "tenure", "phone"]].head(50))), tools
    )
    server = Server(home, workers=1)
    server.up()
    try:
        for data in (ENDPOINT_FILE, HIDDEN, MASKED):
            spec = endpoint_file.parse(data, "churn.yaml")
            accepted = server.client.deploy(spec.endpoint, views.DeployRequest(spec=spec))
            for event in server.client.follow(accepted.after):
                assert event.kind != "revision_failed", event
                if event.kind == "revision_live":
                    break
        asked = people(REQUESTS, 2)
        send(server, "churn", asked)
        send(server, "hidden", asked.head(3))
        send(server, "masked", asked.head(3))
        outcomes(server, asked)
        for endpoint, count in (("churn", REQUESTS), ("hidden", 3), ("masked", 3)):
            until(lambda: kept(server, endpoint) == count)  # noqa: B023 - called in this round
        yield server
    finally:
        server.clean()


def send(server: Server, endpoint: str, asked: pd.DataFrame) -> None:
    connection = http.client.HTTPConnection(*server.address, timeout=60)
    for n, row in enumerate(asked.to_dict("records")):
        headers = {"content-type": "application/json", "x-request-id": f"{endpoint}-{n}"}
        connection.request("POST", f"/predict/{endpoint}", json.dumps([row]), headers)
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        answer.read()
    connection.close()


def kept(server: Server, endpoint: str) -> int:
    """Requests that can be read by now."""
    words = ["--sql", "SELECT count(*) FROM records", "--json"]
    code, said = run(server, "records", endpoint, *words)
    return 0 if code else json.loads(said)["rows"][0][0]  # nothing is there before the first second is over


def outcomes(server: Server, asked: pd.DataFrame) -> None:
    """Of every request."""
    path = server.home / "outcomes.csv"
    labels = truth(asked).tolist()
    rows = [f"churn-{n},0,{label}" for n, label in enumerate(labels)]
    path.write_text("\n".join(["request_id,row,outcome", *rows]) + "\n")
    code, said = run(server, "feedback", "import", str(path))
    assert code == 0, said


def replayed(server: Server, *words: str) -> dict:
    code, said = run(server, "replay", "churn", "--candidate", "churn:v2", "--json", *words)
    assert code == 0, said
    return json.loads(said)


def test_the_slice_on_which_the_candidate_is_worse_is_found(server: Server, tmp_path: Path) -> None:
    page = tmp_path / "replay.html"
    found = replayed(server, "--html", str(page))
    assert (found["requests"], found["rows"], found["failed"], found["left_out"]) == (
        REQUESTS,
        REQUESTS,
        0,
        [],
    )
    assert found["compared_with"] == "the recorded answers of revision 1"
    assert 0.08 < found["differ"]["count"] / REQUESTS < 0.3
    first = found["slices"][0]
    assert (first["where"], first["certain"]) == ("region = west", True)
    assert found["changes"][0]["live"] == "0" and found["changes"][0]["candidate"] == "1"
    moved = found["moved"]
    assert moved[0]["by"] >= moved[-1]["by"] > 0.5 and moved[0]["truth"] in ("0", "1")
    assert (found["labelled"]["requests"], found["labelled"]["verdict"]) == (REQUESTS, "failed")
    assert found["cost"]["rows"] == REQUESTS - 1 and found["cost"]["candidate_s"] > 0
    assert "region = west" in page.read_text("utf-8")


def test_recorded_answers_are_those_of_a_rerun(server: Server) -> None:
    """What was recorded, and what the live version says again on the same machine, compare alike."""
    recorded, again = replayed(server), replayed(server, "--rerun")
    assert again["compared_with"] == "churn:v1, run again"
    for part in ("differ", "slices", "changes", "labelled"):
        assert recorded[part] == again[part]
    code, said = run(server, "replay", "churn", "--candidate", "churn:v1", "--rerun", "--json")
    assert code == 0 and json.loads(said)["rows_differ"] == 0


def test_answers_to_texts_that_were_masked_since_are_warned_of(server: Server) -> None:
    words = ["replay", "masked", "--candidate", "churn:v2", "--json"]
    warned, silent = (json.loads(run(server, *words, *more)[1])["warnings"] for more in ((), ("--rerun",)))
    assert len(warned) == 1 and "--rerun asks both the same" in warned[0] and silent == []


def test_the_table_fits_a_terminal_of_a_hundred_columns(server: Server) -> None:
    code, said = run(server, "replay", "churn", "--candidate", "churn:v2")
    assert code == 0 and "region = west" in said and "quality: failed" in said
    assert max(len(line.rstrip()) for line in said.splitlines()) <= 100, said


def test_the_newest_are_taken(server: Server) -> None:
    found = replayed(server, "--limit", "50")
    assert found["requests"] == 50
    assert min(int(one["request_id"].partition("-")[2]) for one in found["moved"]) >= REQUESTS - 50


@pytest.mark.parametrize(
    ("endpoint", "candidate", "more", "code", "cause"),
    [
        ("churn", "churn:v1", [], "not_replayable", "answered by churn:v1 itself"),
        ("churn", "churn:v2", ["--since", "0s"], "not_replayable", "answered well was captured since then"),
        ("churn", "churn:v9", [], "version_not_found", "churn"),
        ("nobody", "churn:v2", [], "endpoint_not_found", "nothing was captured"),
        ("churn", "wide:v1", [], "not_replayable", "phone"),
        ("hidden", "churn:v2", [], "not_replayable", "usage, which is redacted"),
        ("churn", "churn:v2", ["--limit", "0"], "invalid_request", "--limit"),
    ],
)
def test_what_cannot_be_replayed_is_told_with_its_fix(
    server: Server, endpoint: str, candidate: str, more: list[str], code: str, cause: str
) -> None:
    exit_code, said = run(server, "replay", endpoint, "--candidate", candidate, "--json", *more)
    told = json.loads(said)
    assert (exit_code, told["code"]) == (2, code)
    assert cause in told["error"] and (told["hint"] or code in ("version_not_found", "invalid_request"))

"""Real clients and readers against a real worker: tritonclient, curl, the API's description and its page."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator

import numpy as np
import pytest
from serve_process import JSON, WorkerProcess, revision, route

from seaway.core.traffic import RoutingTable
from seaway.testing import tiny_models


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerProcess]:
    home = tmp_path_factory.mktemp("clients")
    old, new = (tiny_models.linear(home / f"m{n}", float(n)) for n in (1, 2))
    table = RoutingTable(
        1,
        (
            route("prices", revision(1, old, percent=0.0), revision(2, new)),
            route("words", revision(7, tiny_models.lookup(home / "w"))),
        ),
    )
    process = WorkerProcess(home / "run", table)
    yield process
    assert process.stop() == 0


@pytest.fixture
def triton(worker: WorkerProcess):
    http = pytest.importorskip("tritonclient.http")
    client = http.InferenceServerClient(f"127.0.0.1:{worker.port}")
    yield client
    client.close()


def test_tritonclient_health_and_metadata(triton) -> None:
    assert triton.is_server_live()
    assert triton.is_server_ready()
    assert triton.is_model_ready("prices")
    assert triton.is_model_ready("prices", "1")
    assert not triton.is_model_ready("prices", "9")
    assert triton.get_server_metadata()["name"] == "seaway"
    found = triton.get_model_metadata("prices")
    assert found["versions"] == ["1", "2"]
    columns = {"parameters": {"columns": ["a", "b", "c"]}}
    assert found["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 3], **columns}]
    assert found["outputs"] == [{"name": "y", "datatype": "FP32", "shape": [-1, 1]}]


@pytest.mark.parametrize(("version", "bias"), [("", 2.0), ("1", 1.0), ("2", 2.0)])
def test_tritonclient_infers(triton, version: str, bias: float) -> None:
    from tritonclient.http import InferInput, InferRequestedOutput

    rows = np.random.default_rng(3).normal(size=(5, 3)).astype(np.float32)
    tensor = InferInput("x", [5, 3], "FP32")
    tensor.set_data_from_numpy(rows, binary_data=False)
    wanted = [InferRequestedOutput("y", binary_data=False)]
    answer = triton.infer("prices", [tensor], model_version=version, outputs=wanted, request_id="mine")
    np.testing.assert_allclose(answer.as_numpy("y"), rows.sum(axis=1, keepdims=True) + bias, rtol=1e-6)
    body = answer.get_response()
    assert (body["id"], body["model_name"], body["model_version"]) == ("mine", "prices", version or "2")


def test_tritonclient_strings(triton) -> None:
    from tritonclient.http import InferInput

    index = InferInput("index", [3], "INT64")
    index.set_data_from_numpy(np.array([2, 0, 1]), binary_data=False)
    name = InferInput("name", [3], "BYTES")
    name.set_data_from_numpy(np.array(["ü", 'a"b', "x:y"], dtype=object), binary_data=False)
    answer = triton.infer("words", [index, name])  # it asks for binary outputs where it is not told otherwise
    assert [text.decode() for text in answer.as_numpy("word")] == ["two", "zero", "one"]
    assert [text.decode() for text in answer.as_numpy("same")] == ["ü", 'a"b', "x:y"]


def test_tritonclient_binary_tensors_both_ways(triton) -> None:
    from tritonclient.http import InferInput, InferRequestedOutput

    rows = np.random.default_rng(4).normal(size=(7, 3)).astype(np.float32)
    tensor = InferInput("x", [7, 3], "FP32")
    tensor.set_data_from_numpy(rows)
    answers = [
        triton.infer("prices", [tensor], outputs=[InferRequestedOutput("y", binary_data=binary)]).as_numpy(
            "y"
        )
        for binary in (True, False)
    ]
    np.testing.assert_allclose(answers[0], rows.sum(axis=1, keepdims=True) + 2.0, rtol=1e-6)
    np.testing.assert_array_equal(answers[0], answers[1])


def test_curl(worker: WorkerProcess) -> None:
    url = f"http://127.0.0.1:{worker.port}/predict/prices"
    command = ["curl", "-sS", "-i", url, "-H", "content-type: application/json", "-H", "x-request-id: abc"]
    found = subprocess.run(
        [*command, "-d", '[{"a":1,"b":2,"c":3.5}]'], capture_output=True, text=True, timeout=60
    )
    head, _, body = found.stdout.replace("\r", "").partition("\n\n")
    assert head.startswith("HTTP/1.1 200")
    assert "x-request-id: abc" in head
    assert json.loads(body) == {"predictions": [8.5]}


def test_every_answer_says_which_request_it_is_for(worker: WorkerProcess) -> None:
    paths = ["/", "/v2", "/metrics", "/docs", "/openapi.json", "/nowhere", "/v2/models/none"]
    ids = {worker.call("GET", path).headers["x-request-id"] for path in paths}
    assert len(ids) == len(paths)
    good = worker.call("POST", "/predict/prices", [[1, 2, 3]], JSON | {"x-request-id": "order-17:a"})
    assert good.headers["x-request-id"] == "order-17:a"
    bad = worker.call("POST", "/predict/prices", [[1, 2]], JSON | {"x-request-id": "order-18"})
    assert bad.json["request_id"] == bad.headers["x-request-id"] == "order-18"
    assert bad.headers["seaway-revision"] == "2"
    for evil in ("a b", "x" * 200, 'a"b', "a<b>"):
        answer = worker.call("GET", "/v2", headers={"x-request-id": evil})
        assert answer.headers["x-request-id"] not in ("", evil)


def test_the_description_has_real_inputs_and_its_examples_work(worker: WorkerProcess) -> None:
    document = worker.call("GET", "/openapi.json").json
    assert document["openapi"].startswith("3.1")
    tried = 0
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            body = None
            if "requestBody" in operation:
                body = operation["requestBody"]["content"]["application/json"]["example"]
                tried += 1
            answer = worker.call(method.upper(), path, body)
            assert answer.status == 200, (path, answer.body)
    assert tried == 4
    schema = document["paths"]["/predict/words"]["post"]["requestBody"]["content"]["application/json"][
        "schema"
    ]
    row = schema["anyOf"][0]["properties"]["instances"]["items"]["anyOf"][0]
    assert row["properties"]["index"]["type"] == "integer"
    assert row["properties"]["name"]["type"] == ["string", "null"]
    assert row["required"] == ["index"]


def test_the_page_loads_nothing_from_outside(worker: WorkerProcess) -> None:
    answer = worker.call("GET", "/docs")
    page = answer.body.decode()
    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert not re.search(r"https?:|//[a-z]|@import|\burl\(|<(link|img|iframe|script)[^>]*(src|href)=", page)
    assert set(re.findall(r'href="([^"]*)"', page)) == {"openapi.json", "metrics"}


def test_the_index_lists_endpoints(worker: WorkerProcess) -> None:
    found = worker.call("GET", "/").json["endpoints"]
    assert [item["endpoint"] for item in found] == ["prices", "words"]
    assert [item["percent"] for item in found[0]["revisions"]] == [0.0, 100.0]
    assert all(item["ready"] for item in found)


def test_several_outputs_become_objects(worker: WorkerProcess) -> None:
    rows = {"instances": [{"index": 1, "name": "a"}, {"index": 2}, {"index": 0, "name": None}]}
    assert worker.call("POST", "/predict/words", rows).json == {
        "predictions": [
            {"word": "one", "same": "a"},
            {"word": "two", "same": ""},
            {"word": "zero", "same": ""},
        ]
    }


def test_chosen_outputs_come_in_the_order_asked(worker: WorkerProcess) -> None:
    body = {
        "inputs": [
            {"name": "index", "shape": [1], "datatype": "INT64", "data": [1]},
            {"name": "name", "shape": [1], "datatype": "BYTES", "data": ["n"]},
        ],
        "outputs": [{"name": "same"}, {"name": "word", "parameters": {"binary_data": False}}],
    }
    found = worker.call("POST", "/v2/models/words/infer", body).json["outputs"]
    assert [(item["name"], item["datatype"], item["data"]) for item in found] == [
        ("same", "BYTES", ["n"]),
        ("word", "BYTES", ["one"]),
    ]


@pytest.mark.outside
def test_the_page_sends_its_example_in_a_browser(worker: WorkerProcess) -> None:
    from playwright.sync_api import sync_playwright

    executable = shutil.which("chromium")
    if executable is None:
        pytest.skip("chromium is not installed")
    quiet = [
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
    ]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=quiet)
        page = browser.new_page()
        asked: list[str] = []
        complaints: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(f"http://127.0.0.1:{worker.port}/docs")
        page.click("button >> nth=0")  # the first operation is open from the start
        page.wait_for_function("document.querySelector('pre').textContent.includes('predictions')")
        shown = page.inner_text("pre >> nth=0")
        browser.close()
    assert "HTTP 200" in shown
    assert "seaway-revision: 2" in shown
    assert complaints == []
    assert all(url.startswith(f"http://127.0.0.1:{worker.port}/") for url in asked)

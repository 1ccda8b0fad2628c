"""One running server, and clients that nobody here wrote: tritonclient, KServe's own, curl and h2load."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from serve_process import WorkerProcess, revision, route

from seaway.core.traffic import RoutingTable
from seaway.testing import tiny_models

ROWS = np.arange(6, dtype=np.float32).reshape(2, 3)
RIGHT = [4.0, 13.0]  # the sum of a row, plus 1
KSERVE = Path(__file__).parents[2] / ".cache" / "venvs" / "kserve" / "bin" / "python"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerProcess]:
    home = tmp_path_factory.mktemp("one-server")
    table = RoutingTable(1, (route("prices", revision(1, tiny_models.linear(home / "m", 1.0))),))
    process = WorkerProcess(home / "run", table, grpc=True)
    yield process
    assert process.stop() == 0


@pytest.mark.parametrize("binary", [False, True])
def test_tritonclient_http(server: WorkerProcess, binary: bool) -> None:
    from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput

    client = InferenceServerClient(f"127.0.0.1:{server.port}")
    tensor = InferInput("x", [2, 3], "FP32")
    tensor.set_data_from_numpy(ROWS, binary_data=binary)
    answer = client.infer("prices", [tensor], outputs=[InferRequestedOutput("y", binary_data=binary)])
    assert answer.as_numpy("y").ravel().tolist() == RIGHT
    client.close()


def test_tritonclient_grpc(server: WorkerProcess) -> None:
    from tritonclient.grpc import InferenceServerClient, InferInput

    with InferenceServerClient(server.grpc_address) as client:
        assert client.is_server_ready()
        assert client.is_model_ready("prices")
        assert client.get_model_metadata("prices").inputs[0].name == "x"
        tensor = InferInput("x", [2, 3], "FP32")
        tensor.set_data_from_numpy(ROWS)
        answer = client.infer("prices", [tensor], request_id="mine")
        assert answer.as_numpy("y").ravel().tolist() == RIGHT
        assert answer.get_response().id == "mine"


def test_curl(server: WorkerProcess, tmp_path: Path) -> None:
    body = tmp_path / "body.json"
    body.write_text(json.dumps({"instances": ROWS.tolist()}))
    url = f"http://127.0.0.1:{server.port}/predict/prices"
    for extra in ([], ["--http1.0"], ["-H", "transfer-encoding: chunked"], ["-H", "expect: 100-continue"]):
        words = [
            "curl",
            "-sf",
            url,
            "-H",
            "content-type: application/json",
            "--data-binary",
            f"@{body}",
            *extra,
        ]
        done = subprocess.run(words, capture_output=True, timeout=120)
        assert json.loads(done.stdout)["predictions"] == RIGHT, (extra, done)


@pytest.mark.outside
def test_kserve_clients_over_rest_and_grpc(server: WorkerProcess) -> None:
    script = Path(__file__).parents[1] / "components" / "kserve_client.py"
    words = [str(KSERVE), str(script), f"127.0.0.1:{server.port}", server.grpc_address, "prices"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert [found[key] for key in ("live", "ready", "model_ready", "grpc live", "grpc model_ready")] == [
        True
    ] * 5
    for way in ("rest json", "rest binary", "grpc typed", "grpc raw"):
        assert found[way] == {"y": RIGHT}, (way, found)


@pytest.mark.outside
def test_h2load_over_http_1(server: WorkerProcess, tmp_path: Path) -> None:
    h2load = shutil.which("h2load")
    assert h2load, "`make test-all` installs it"
    body = tmp_path / "body.json"
    body.write_text(json.dumps({"instances": ROWS.tolist()}))
    url = f"http://127.0.0.1:{server.port}/predict/prices"
    words = [
        h2load,
        "--h1",
        "-n",
        "2000",
        "-c",
        "8",
        "-m",
        "4",
        "-d",
        str(body),
        "-H",
        "content-type: application/json",
        url,
    ]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    counts = re.search(r"requests: (\d+) total, .* (\d+) succeeded, (\d+) failed", done.stdout)
    assert counts is not None, done.stdout
    assert counts.groups() == ("2000", "2000", "0"), done.stdout
    assert re.search(r"status codes: 2000 2xx", done.stdout), done.stdout

"""The running server keeps what its OpenAPI document promises, whatever schemathesis makes of it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
import step_models
from onnx import TensorProto, helper
from serve_process import WorkerProcess, revision, route, until

from seaway.core.bundles import OpenedBundle
from seaway.core.tensors import DType, Signature, TensorSpec
from seaway.core.traffic import RoutingTable
from seaway.testing import tiny_models

pytestmark = pytest.mark.slow

# Not all that fits the schema is taken here: JSON Schema cannot say that a tensor's data fills its shape, nor which
# values a model that answers step by step takes for the number of its steps, nor that the row 59.0 is not the row 59.
LOOSE = "/(infer|generate_stream|feedback)$"

# No integers: to JSON Schema 59.0 is one, and to Seaway it is not.
KINDS = {DType.BOOL: TensorProto.BOOL, DType.BYTES: TensorProto.STRING, DType.FP64: TensorProto.DOUBLE}


def echo(directory: Path) -> OpenedBundle:
    """Gives back what it gets, in three datatypes."""
    inputs = (
        TensorSpec("flag", DType.BOOL, (-1,)),
        TensorSpec("word", DType.BYTES, (-1, 1), nullable=True),
        TensorSpec("pair", DType.FP64, (-1, 2)),
    )
    outputs = tuple(TensorSpec(f"same_{spec.name}", spec.dtype, spec.shape) for spec in inputs)

    def infos(specs: tuple[TensorSpec, ...]) -> list[onnx.ValueInfoProto]:
        return [
            helper.make_tensor_value_info(spec.name, KINDS[spec.dtype], ["N", *spec.shape[1:]])
            for spec in specs
        ]

    nodes = [helper.make_node("Identity", [a.name], [b.name]) for a, b in zip(inputs, outputs, strict=True)]
    graph = helper.make_graph(nodes, "echo", infos(inputs), infos(outputs))
    return tiny_models.write(directory, graph, Signature(inputs, outputs))


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerProcess]:
    home = tmp_path_factory.mktemp("openapi")
    forecast = step_models.packaged(
        home, step_models.forecaster(home / "forecast.onnx")[0], step_models.FORECAST
    )
    table = RoutingTable(
        1,
        (
            route("prices", revision(3, tiny_models.linear(home / "m", 10.0))),
            route("echo", revision(1, echo(home / "e"))),
            route("forecast", revision(1, forecast)),
        ),
    )
    outcomes = home / "outcomes"  # a home of its own: the control process has no say over this worker
    outcomes.mkdir()
    words = [
        sys.executable,
        "-m",
        "seaway.wiring.control",
        "--home",
        str(outcomes),
        "--parent",
        str(os.getpid()),
    ]
    control = subprocess.Popen(words)
    try:
        process = WorkerProcess(home / "run", table, control=outcomes / "control.sock")
        until(lambda: process.call("POST", "/feedback", []).status == 200)
        yield process
        assert process.stop() == 0, process.log.read_text()
    finally:
        control.terminate()
        assert control.wait(60) == 0


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(["--exclude-path-regex", LOOSE], id="all-checks"),
        pytest.param(
            ["--include-path-regex", LOOSE, "--exclude-checks", "positive_data_acceptance"], id="loose"
        ),
    ],
)
def test_the_server_keeps_its_description(worker: WorkerProcess, options: list[str], tmp_path: Path) -> None:
    command = [str(Path(sys.executable).parent / "schemathesis"), "run", "--no-color", *options]
    command += ["--max-examples", "20", "--phases", "examples,coverage,fuzzing", "--seed", "7"]
    command.append(f"http://127.0.0.1:{worker.port}/openapi.json")
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No issues found" in done.stdout or "passed" in done.stdout
    assert worker.process.poll() is None


def test_feedback_is_described_with_an_example_that_works(worker: WorkerProcess) -> None:
    described = worker.call("GET", "/openapi.json").json["paths"]["/feedback"]["post"]
    content = described["requestBody"]["content"]["application/json"]
    answer = worker.call("POST", "/feedback", content["example"])
    assert (answer.status, answer.json["rows"]) == (200, 1)
    assert set(answer.json) == set(
        described["responses"]["200"]["content"]["application/json"]["schema"]["properties"]
    )

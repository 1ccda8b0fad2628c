"""The gate's process: what it may take, how long it lives, and what it says of a model that fails."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import step_models
from control_process import gone, until
from onnx import TensorProto, helper

from seaway import settings
from seaway.adapters.runtimes.onnx_steps import OnnxStepsRuntime
from seaway.adapters.runtimes.onnxruntime import OnnxRuntime
from seaway.bundle.build import Package, Tools, package
from seaway.core.bundles import Version
from seaway.core.checks import GateReport, Verdict
from seaway.core.steps import StepRules
from seaway.wiring import gates
from seaway.wiring.home import Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    directory = tmp_path / "home"
    directory.mkdir(mode=0o700)
    (directory / "config.toml").write_text('worker_memory = "700MiB"\n')
    return Home(settings.load(directory))


def add(home: Home, path: Path, rules: StepRules | None = None) -> Version:
    runtime = OnnxRuntime() if rules is None else OnnxStepsRuntime()
    return package(Package(path, "m", steps=rules), Tools(home.bundles, runtime)).version


def hungry_model(path: Path) -> Path:
    """Takes 2 GiB for any input, and keeps them."""
    return step_models.save(
        path,
        [
            helper.make_node("ConstantOfShape", ["size"], ["many"]),
            helper.make_node("ReduceSum", ["many"], ["nothing"], keepdims=0),
            helper.make_node("Add", ["x", "nothing"], ["y"]),
        ],
        {"x": (TensorProto.FLOAT, ["N"])},
        {"y": (TensorProto.FLOAT, ["N"])},
        {"size": np.array([1 << 29])},
    )


def patient_model(path: Path) -> Path:
    """Computes until its deadline."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("Sin", ["value"], ["next"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("round", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("value", TensorProto.FLOAT, ["N"]),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, ["N"]),
        ],
    )
    return step_models.save(
        path,
        [helper.make_node("Loop", ["trips", "yes", "x"], ["y"], body=body)],
        {"x": (TensorProto.FLOAT, ["N"])},
        {"y": (TensorProto.FLOAT, ["N"])},
        {"trips": np.array(1 << 60), "yes": np.array(True)},
    )


def only(report: GateReport) -> tuple[str, Verdict, str]:
    (result,) = report.results
    return result.check, result.verdict, result.reason


def test_a_model_that_takes_more_memory_than_a_worker_may_is_failed_by_the_check_that_ran(
    home: Home, tmp_path: Path
) -> None:
    version = add(home, hungry_model(tmp_path / "hungry.onnx"))
    told: list[str] = []
    report = gates.run_and_keep(home, version, None, told.append)
    check, verdict, reason = only(report)
    assert (check, verdict, report.verdict) == ("loads", Verdict.FAILED, Verdict.FAILED)
    assert "MiB of memory, more than 700 MiB" in reason
    assert "worker_memory" in reason
    assert told[-1] == "loads: failed"
    assert gates.last_report(home, version) == report


def test_a_state_that_grows_fails_the_gate_by_its_names_and_shapes(home: Home, tmp_path: Path) -> None:
    version = add(home, step_models.growing_model(tmp_path / "grow.onnx"), step_models.GROWING)
    check, verdict, reason = only(gates.run_and_keep(home, version, None, lambda _text: None))
    assert (check, verdict) == ("loads", Verdict.FAILED)
    assert "state 's_next' has shape [1, 2], but goes back into 's' of [1, 1]" in reason


def gate_processes(home: Home) -> Iterator[int]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if b"seaway.wiring.gate_process" in words and str(home.paths.home).encode() in words:
                    yield int(entry.name)


@pytest.mark.slow
def test_the_process_ends_with_the_one_that_asked_and_is_not_started_twice(
    home: Home, tmp_path: Path
) -> None:
    version = add(home, patient_model(tmp_path / "patient.onnx"))
    asker = (
        "import sys, threading; from seaway import settings; from seaway.wiring import gates; from pathlib import Path\n"
        "from seaway.wiring.home import Home; home = Home(settings.load(Path(sys.argv[1]))); gate = gates.Gate(home)\n"
        "version = home.version(sys.argv[2])\n"
        "for _ in range(3): threading.Thread(target=gate, args=(version, None)).start()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", asker, str(home.paths.home), str(version.ref)])
    try:
        until(lambda: list(gate_processes(home)))
        found = next(gate_processes(home))
        until(lambda: Path(f"/proc/{found}/oom_score_adj").read_text() == "1000\n")
        assert list(gate_processes(home)) == [found], "its sisters would have been started by now"
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    until(lambda: gone(found))
    assert list(gate_processes(home)) == []

"""The gate on real ONNX models in ONNX Runtime."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import numpy as np

from seaway.adapters.runtimes.onnxruntime import OnnxRuntime
from seaway.bundle import datafiles
from seaway.core.bundles import Golden, OpenedBundle, Task
from seaway.core.checks import Verdict
from seaway.core.tables import Table
from seaway.testing import tiny_models
from seaway.validate import plan, suite
from seaway.validate.subject import Deadlines
from seaway.wiring.clock import SystemClock


def with_golden(bundle: OpenedBundle, table: Table, *requirements: str) -> OpenedBundle:
    (Path(bundle.directory) / "golden.jsonl").write_bytes(datafiles.write_jsonl(table))
    manifest = msgspec.structs.replace(
        bundle.manifest,
        task=Task.REGRESSION,
        golden=Golden("golden.jsonl", "target", table.rows),
        requirements=requirements,
    )
    return msgspec.structs.replace(bundle, manifest=manifest)


def rows() -> Table:
    rng = np.random.default_rng(0)
    columns = {name: rng.normal(size=300) for name in "abc"}
    target = sum(columns.values()) + rng.normal(0, 0.1, 300)
    return Table({**columns, "target": target})


def test_p13_an_endless_model_fails_the_gate_at_its_deadline(tmp_path: Path) -> None:
    bundle = tiny_models.endless(tmp_path / "b")
    (tmp_path / "b" / "sample.jsonl").write_bytes(datafiles.write_jsonl(Table({"times": np.array([1e12])})))
    bundle = msgspec.structs.replace(
        bundle, manifest=msgspec.structs.replace(bundle.manifest, sample="sample.jsonl")
    )
    began = time.monotonic()
    report = suite.run_gate(bundle, OnnxRuntime(), SystemClock(), deadlines=Deadlines(predict_s=0.5))
    assert report.verdict is Verdict.FAILED
    assert [result.check for result in report.results] == ["loads"]
    assert "deadline_exceeded" in report.results[0].reason
    assert time.monotonic() - began < 10


def test_a_real_model_is_measured_and_compared(tmp_path: Path) -> None:
    old = with_golden(tiny_models.linear(tmp_path / "old", 0.5), rows())
    new = with_golden(tiny_models.linear(tmp_path / "new", 0.0), rows(), "rmse<=0.2", "memory_mb<=2000")
    report = suite.run_gate(new, OnnxRuntime(), SystemClock(), old)
    assert report.verdict is Verdict.PASSED, report.results
    change = plan.plan_change(old, new, OnnxRuntime(), SystemClock())
    assert change.changed_rows == change.rows == 300
    difference = change.metrics[0].high
    assert difference is not None and difference < -0.3
    assert change.timing is not None and change.timing.new_p50_ms > 0
    back = suite.run_gate(old, OnnxRuntime(), SystemClock(), new)
    assert back.failed_checks == ("baseline",)

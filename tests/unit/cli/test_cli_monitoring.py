"""`seaway monitoring` on a home where no server runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from seaway.cli import main as cli
from seaway.monitor.telemetry import monitoring_files
from server import linear_model

FILE = """\
version: 1
endpoint: prices
serve: {bundle: prices:v1}
limits: {deadline: 400ms}
slo: {errors: 1%}
"""


@pytest.fixture
def deployed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    model, spec = tmp_path / "m.onnx", tmp_path / "endpoint.yaml"
    linear_model(model, 2.0)
    spec.write_text(FILE)
    assert cli.main(["package", str(model), "--name", "prices", "--no-lock"]) == 0
    assert cli.main(["deploy", "-f", str(spec), "--no-wait"]) == 0
    capsys.readouterr()
    return tmp_path


def test_the_files_are_written_for_the_objectives_of_the_endpoint(
    deployed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = deployed / "monitoring"
    assert cli.main(["monitoring", "prices", "-o", str(out), "--target", "models:9000", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    # No p99 was promised, so it is half the deadline, by the next edge of the histogram.
    assert (told["errors_percent"], told["latency_s"], told["workers"]) == (1.0, 0.25, 1)
    assert sorted(Path(name).name for name in told["files"]) == sorted(path.name for path in out.iterdir())
    assert "models:9000" in (out / monitoring_files.SCRAPE).read_text()
    assert json.loads((out / monitoring_files.DASHBOARD).read_text())["title"] == "Seaway: prices"
    assert json.loads((out / monitoring_files.TEMPLATE).read_text())["index_patterns"]

    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert cli.main(["monitoring", "prices", "-o", str(out), "--target", "models:9000"]) == 0
    shown = capsys.readouterr().out
    assert "99 % within 0.25 s" in shown
    assert "p99 is 0.2 s, and judged at 0.25 s" in shown
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_an_unknown_endpoint_exits_with_2_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["monitoring", "prices", "-o", str(tmp_path / "out")]) == 2
    assert "endpoint_not_found" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()

"""The whole way: a real server with two workers, a real Prometheus on its generated files, a real Alertmanager."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from control_process import ENVIRONMENT, UNHURRIED, Server
from onnx import TensorProto, helper, numpy_helper
from prometheus_tools import Daemon, needs_prometheus
from ruamel.yaml import YAML
from serve_process import until

from seaway import settings
from seaway.control import views
from seaway.core.deployments import Backend, Deployment, Slo
from seaway.monitor.telemetry import monitoring_files
from seaway.monitor.telemetry.alert_rules import BurnWindow
from seaway.wiring import monitoring
from seaway.wiring.home import Home

pytestmark = [pytest.mark.outside, pytest.mark.slow, pytest.mark.timeout(600)]

# An endpoint whose errors must be acted on within seconds: the windows are as short as scrapes each second allow.
WINDOWS = (BurnWindow(long_s=10.0, short_s=4.0, budget=0.0001, severity="page"),)


BEYOND = 3
"""An index that the model has no word for, on which it fails by itself."""


def make_home(home: Path) -> None:
    """One version of `words`, which gives the number at an index, and fails beyond its three."""
    home.mkdir()
    graph = helper.make_graph(
        [helper.make_node("Gather", ["words", "index"], ["word"])],
        "g",
        [helper.make_tensor_value_info("index", TensorProto.INT64, ["batch"])],
        [helper.make_tensor_value_info("word", TensorProto.FLOAT, ["batch"])],
        [numpy_helper.from_array(np.array([1, 2, 3], dtype=np.float32), "words")],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), home / "m.onnx"
    )
    words = [sys.executable, "-m", "seaway", "package", str(home / "m.onnx"), "--name", "words", "--no-lock"]
    subprocess.run([*words, "--home", str(home)], check=True, capture_output=True, env=ENVIRONMENT)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    needs_prometheus()
    make_home(tmp_path / "home")
    server = Server(tmp_path / "home", workers=2)
    server.up()
    yield server
    server.clean()


class Started:
    """Prometheus and Alertmanager in a directory of generated files."""

    def __init__(self, directory: Path) -> None:
        self.alertmanager = Daemon(
            directory,
            "prometheus-alertmanager",
            f"--config.file={monitoring_files.ALERTMANAGER}",
            "--storage.path=alertmanager",
            "--cluster.listen-address=",
        )
        config = directory / monitoring_files.PROMETHEUS
        yaml = YAML()
        found = yaml.load(config.read_text())
        found["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] = [
            f"127.0.0.1:{self.alertmanager.port}"
        ]
        with config.open("w") as out:
            yaml.dump(found, out)
        self.prometheus = Daemon(
            directory,
            "prometheus",
            f"--config.file={monitoring_files.PROMETHEUS}",
            "--storage.tsdb.path=data",
        )

    def stop(self) -> None:
        self.prometheus.stop()
        self.alertmanager.stop()


@pytest.fixture
def started(tmp_path: Path, server: Server) -> Iterator[Started]:
    spec = Deployment(
        version=1,
        endpoint="words",
        serve=Backend(bundle="words:v1"),
        limits=UNHURRIED,
        slo=Slo(p99="10s", errors="0.1%"),  # not slow on any machine: the alert is to be that of errors
    )
    server.wait(server.client.deploy("words", views.DeployRequest(spec=spec)))
    plan = monitoring.plan(Home(settings.load(server.home)), "words")
    assert (plan.workers, plan.target) == (2, f"127.0.0.1:{server.address[1]}")
    plan = msgspec.structs.replace(plan, interval_s=1.0, windows=WINDOWS)
    monitoring_files.write(monitoring_files.files(plan), tmp_path / "monitoring")
    running = Started(tmp_path / "monitoring")
    yield running
    running.stop()


def send(server: Server, index: int, requests: int = 5) -> set[int]:
    """Requests on connections of their own, so that both workers get some; the statuses of their answers."""
    found = set()
    for _ in range(requests):
        connection = http.client.HTTPConnection(*server.address, timeout=60)
        body = json.dumps([{"index": index}])
        connection.request("POST", "/predict/words", body, {"content-type": "application/json"})
        found.add(connection.getresponse().status)
        connection.close()
    return found


def test_an_alert_of_real_errors_reaches_alertmanager(server: Server, started: Started) -> None:
    prometheus, alertmanager = started.prometheus, started.alertmanager
    assert send(server, 0, 60) == {200}

    def scraped() -> bool:
        found = prometheus.query('sum by (worker) (seaway_requests_total{endpoint="words",code="200"})')
        return sum(float(one["value"][1]) for one in found) == 60 and len(found) == 2

    until(scraped)
    until(lambda: [one["value"][1] for one in prometheus.query('up{job="seaway"}')] == ["1"])
    until(lambda: send(server, 1) and prometheus.query("endpoint:seaway_requests:rate4s > 0"))
    assert prometheus.query('ALERTS{alertstate="firing"}') == []

    found: list[dict] = []

    def arrived() -> list[dict]:
        assert send(server, BEYOND) == {500}
        alerts = alertmanager.get("/api/v2/alerts")
        found[:] = [a for a in alerts if a["labels"]["alertname"] == "SeawayErrorBudgetBurn"]
        return found

    until(arrived, 200.0)
    (alert,) = found
    assert (alert["labels"]["endpoint"], alert["labels"]["severity"]) == ("words", "page")
    assert [one["name"] for one in alert["receivers"]] == ["pages"]
    assert "rollback words" in alert["annotations"]["description"]

"""A whole server: one scrape of a worker tells of rollouts, as promtool wants it, and goes on where the control process is dead."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from control_process import UNHURRIED, Server, make_home, until

from seaway.control import views
from seaway.control.rollouts import views as rollouts
from seaway.core.deployments import Backend, Deployment
from seaway.core.rollouts.spec import Rollout
from seaway.wire import metric_names

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    make_home(tmp_path / "home")
    server = Server(tmp_path / "home", workers=2)
    server.up()
    yield server
    server.clean()


def scrape(server: Server) -> str:
    connection = http.client.HTTPConnection(*server.address, timeout=60)
    connection.request("GET", "/metrics")
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    assert answer.status == 200
    return text


def series(server: Server, family: str) -> dict[str, float]:
    lines = (line.rpartition(" ") for line in scrape(server).splitlines() if line.startswith(family))
    return {labels.removeprefix(family): float(value) for labels, _, value in lines}


def test_a_scrape_of_a_worker_tells_of_rollouts(server: Server) -> None:
    server.deploy(1)
    spec = Deployment(
        1,
        "prices",
        Backend(bundle="prices:v2"),
        limits=UNHURRIED,
        rollout=Rollout(steps=("10%", "100%"), hold="1h", checks=("errors",)),
    )
    server.client.deploy("prices", views.DeployRequest(spec=spec))
    running = '{endpoint="prices",revision="2",phase="running"}'
    until(lambda: series(server, "seaway_rollout_phase").get(running) == 1)
    until(lambda: series(server, "seaway_rollout_check_verdict"))
    text = scrape(server)
    assert series(server, "seaway_rollout_share") == {'{endpoint="prices",revision="2"}': 0.1}
    assert series(server, "seaway_control_processes") == {"": 1}
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    told = {m.name for m in metric_names.METRICS.values() if "worker" not in m.labels}
    assert {name: metric_names.METRICS[name].kind for name in told} == {name: kinds[name] for name in told}
    if shutil.which("promtool") is not None:
        found = subprocess.run(
            ["promtool", "check", "metrics"], input=text.encode(), capture_output=True, check=False
        )
        assert (found.returncode, found.stdout, found.stderr) == (0, b"", b"")

    server.client.move("prices", rollouts.Abort("a test"))
    aborted = '{endpoint="prices",end="aborted"}'
    until(lambda: series(server, "seaway_rollouts_total").get(aborted) == 1)
    stopped = server.record()["control"]
    os.kill(stopped, signal.SIGSTOP)
    try:
        assert series(server, "seaway_control_processes") == {}
        assert series(server, "seaway_workers") == {"": 2}
    finally:
        os.kill(stopped, signal.SIGCONT)
    until(lambda: series(server, "seaway_rollouts_total").get(aborted) == 1)

"""A whole server: by labels of mirrored requests a candidate that is silently worse is taken back before any user sees it, and
one that is better goes on."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from control_process import ENVIRONMENT, Background, Server, until

import rollout_models
from seaway.control import endpoint_file, views
from seaway.core.events import EventKind
from seaway.monitor.provenance import files as provenance_files

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

RIGHT, WORSE = 1, 2
"""Versions: the truth, and a model that is wrong for a tenth of the requests."""
LIVE = """
version: 1
endpoint: classes
serve: {bundle: classes:vVERSION}
limits: {deadline: 10s, queue: 60s}
"""
SHADOWED = """
version: 1
endpoint: classes
serve: {bundle: classes:vVERSION}
limits: {deadline: 10s, queue: 60s}
rollout:
  steps: [{to: 0%, hold: 1s}, 100%]
  shadow: 100%
  bake: 1s
  checks: [shadow_quality]
"""
VALUES = np.random.default_rng(5).permutation(1000) / 1000


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    home = tmp_path / "home"
    home.mkdir()
    for threshold in (0.5, 0.4):
        path = rollout_models.threshold(home / f"{threshold}.onnx", threshold)
        words = [sys.executable, "-m", "seaway", "package", str(path), "--name", "classes", "--no-lock"]
        subprocess.run([*words, "--home", str(home)], check=True, capture_output=True, env=ENVIRONMENT)
    server = Server(home)
    server.up()
    try:
        yield server
    finally:
        server.clean()


def deploy(server: Server, text: str, version: int) -> views.Accepted:
    spec = endpoint_file.parse(text.replace("VERSION", str(version)).encode(), "classes.yaml")
    return server.client.deploy("classes", views.DeployRequest(spec=spec, override="a test"))


class Users(Background):
    """Ask without a pause, and tell the truth about every request a moment later."""

    def __init__(self, server: Server) -> None:
        super().__init__()
        self._server = server
        self.revisions: list[str | None] = []
        self.failed: list[object] = []

    def run(self) -> None:
        connection = http.client.HTTPConnection(*self._server.address, timeout=60)
        untold: list[dict[str, object]] = []
        while not self.over.wait(0.004):
            number = len(self.revisions)
            value = float(VALUES[number % 1000])
            tensor = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [value, 1.0]}
            headers = {"content-type": "application/json", "x-request-id": f"r{number}"}
            connection.request("POST", "/v2/models/classes/infer", json.dumps({"inputs": [tensor]}), headers)
            answer = connection.getresponse()
            data = answer.read()
            self.revisions.append(answer.headers["seaway-revision"])
            if answer.status != 200:
                self.failed.append(data)
            untold.append({"request_id": f"r{number}", "outcome": str(int(value > 0.5))})
            if len(untold) == 100:
                lines = "\n".join(map(json.dumps, untold))
                self._server.client.feedback(lines.encode(), "application/x-ndjson")
                untold.clear()
        connection.close()


def kinds(server: Server) -> list[str]:
    return [str(event.kind) for event in server.client.history("classes")]


def live(server: Server) -> int | None:
    (endpoint,) = server.client.status().endpoints
    return endpoint.live


def check(server: Server) -> dict[str, object]:
    found = json.loads((server.home / "rollouts" / "classes" / "2.judgement.json").read_bytes())
    (one,) = found["checks"]
    return one


def test_a_silently_worse_candidate_is_taken_back_before_anybody_sees_it(server: Server) -> None:
    server.wait(deploy(server, LIVE, RIGHT))
    with Users(server) as users:
        deploy(server, SHADOWED, WORSE)
        until(lambda: EventKind.ROLLOUT_ROLLED_BACK in kinds(server), 400.0)
    assert users.failed == [] and set(users.revisions) == {"1"}
    found = check(server)
    assert (found["check"], found["verdict"]) == ("shadow_quality", "failed")
    assert found["candidate_bad"] > 0 == found["stable_bad"]
    # All of a look of labels is taken in at once, so it may be more than it takes.
    assert 20 < found["candidate"] < 5000
    assert str(found["words"]).startswith("candidate alone wrong on ")
    # What is kept of a mirrored request is not taken for what its user was told.
    kept = provenance_files.lookup(server.home / "records", [b"r%d" % n for n in range(len(users.revisions))])
    assert {one.revision for one in kept.subjects} == {1}


def test_a_better_candidate_goes_on(server: Server) -> None:
    server.wait(deploy(server, LIVE, WORSE))
    with Users(server) as users:
        deploy(server, SHADOWED, RIGHT)
        until(lambda: "2" in users.revisions, 400.0)
        until(lambda: live(server) == 2)
    assert users.failed == []
    found = check(server)
    assert EventKind.ROLLOUT_ROLLED_BACK not in kinds(server), found

"""A candidate with a process of its own, whose worker is killed: that it is loaded anew there is no fault of its own."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from server import Seaway, linear_model

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SPEC = """\
version: 1
endpoint: linear
serve: {bundle: 'linear:v2', isolation: process}
limits: {deadline: 10s, queue: 60s}
rollout: {steps: [50%, 100%], hold: 5m, warmup: 0s, checks: [errors]}
"""


def rollout(server: Seaway) -> dict[str, Any]:
    found: dict[str, Any] = server.json("rollout", "linear")
    return found


def answered(server: Seaway) -> set[str]:
    """Which revisions answered some requests."""
    found = set()
    for _ in range(30):
        with contextlib.suppress(OSError, http.client.HTTPException):
            _, headers, _ = server.predict("linear", [[1.0, 2.0]])
            found.add(headers["seaway-revision"])
    return found


def test_a_killed_worker_does_not_take_back_a_candidate_that_starts_after_it(tmp_path: Path) -> None:
    server = Seaway(tmp_path)
    for number, factor in enumerate((2.0, 2.5), 1):
        model = linear_model(tmp_path / f"m{number}.onnx", factor)
        server.run("package", str(model), "--name", "linear", "--no-lock")
    (tmp_path / "v2.yaml").write_text(SPEC)
    over = threading.Event()

    def send() -> None:
        while not over.is_set():
            with contextlib.suppress(OSError, http.client.HTTPException):
                server.predict("linear", [[1.0, 2.0]])

    with server.up(1):
        server.run("deploy", "linear:v1")
        server.run("deploy", "-f", str(tmp_path / "v2.yaml"))
        server.wait_until(lambda: answered(server) == {"1", "2"}, 120, "the candidate takes no traffic")
        threads = [threading.Thread(target=send) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            (pid,) = json.loads((server.home / "run" / "supervisor.json").read_text())["workers"]
            os.kill(pid, signal.SIGKILL)
            until_s = time.monotonic() + 8
            while time.monotonic() < until_s:
                found = rollout(server)["state"]
                assert found["phase"] == "running", found["why"]
                time.sleep(0.5)
            server.wait_until(
                lambda: answered(server) == {"1", "2"}, 120, "the candidate takes no traffic any more"
            )
            found = rollout(server)["state"]
            assert found["phase"] == "running", found["why"]
        finally:
            over.set()
            for thread in threads:
                thread.join()

"""Rollouts as a user drives them: `seaway up` with two workers and traffic, the verbs, and events to a webhook while the
control process is killed in between."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import http.server
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from server import SEAWAY, Seaway, linear_model

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SECRET = "a secret of the test"
ROLLOUT = """\
version: 1
endpoint: linear
serve: {{bundle: 'linear:{version}'}}
limits: {{deadline: 10s, queue: 60s}}
rollout:
  steps: [{{to: 10%, approve: true}}, 50%, 100%]
  hold: 2s
  bake: 3s
  warmup: 0s
  checks: [errors]
"""


class Hooks(http.server.ThreadingHTTPServer):
    """A receiver; keeps events in the order in which they came, and refuses a wrong signature."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Hook)
        self.taken: list[dict[str, Any]] = []

    @property
    def kinds(self) -> list[str]:
        """Each event once, in the order of its first coming."""
        return [one["kind"] for one in {one["seq"]: one for one in self.taken}.values()]


class _Hook(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Hooks)
        body = self.rfile.read(int(self.headers["content-length"]))
        wanted = "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
        if self.headers["seaway-signature"] == wanted:
            self.server.taken.append(json.loads(body))
        self.send_response(204 if self.headers["seaway-signature"] == wanted else 403)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class Server(Seaway):
    hooks: Hooks

    @property
    def environment(self) -> dict[str, str]:
        urls = f"http://127.0.0.1:{self.hooks.server_port}/hook,http://127.0.0.1:9/nobody"
        own = {"SEAWAY_WEBHOOKS": urls, "SEAWAY_WEBHOOK_SECRET": SECRET}
        return {**super().environment, **own}

    def rollout(self) -> dict[str, Any]:
        found: dict[str, Any] = self.json("rollout", "linear")
        return found

    def until(self, phase: str) -> None:
        self.wait_until(lambda: self.rollout()["state"]["phase"] == phase, 120, f"the rollout is not {phase}")


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    server.hooks = Hooks()
    threading.Thread(target=server.hooks.serve_forever, daemon=True).start()
    for number, factor in enumerate((2.0, 2.5, float("nan")), 1):
        model = linear_model(tmp_path / f"m{number}.onnx", factor)
        server.run("package", str(model), "--name", "linear", "--no-lock")
        (tmp_path / f"v{number}.yaml").write_text(ROLLOUT.format(version=f"v{number}"))
    with server.up(2):
        server.run("deploy", "-f", str(tmp_path / "v1.yaml"))
        yield server
    server.hooks.shutdown()
    server.hooks.server_close()


@contextlib.contextmanager
def traffic(server: Server) -> Iterator[list[int]]:
    """Requests all the time; the statuses of their answers."""
    over, statuses = threading.Event(), []

    def send() -> None:
        while not over.is_set():
            with contextlib.suppress(OSError):
                statuses.append(server.predict("linear", [[1.0, 2.0]])[0])
            time.sleep(0.002)

    threads = [threading.Thread(target=send) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield statuses
    finally:
        over.set()
        for thread in threads:
            thread.join()


def test_a_rollout_by_its_verbs_with_its_webhooks_and_a_kill_of_control(served: Server) -> None:
    with traffic(served) as statuses:
        path = str(served.home / "v2.yaml")

        def first() -> dict[str, Any]:
            plan = served.json("deploy", "-f", path, "--plan")
            step: dict[str, Any] = plan["rollout"]["steps"][0]
            return step

        served.wait_until(lambda: first()["comes"], 120, "the plan knows no traffic")
        assert first()["checks"][0]["needs"] > 100 and first()["approve"]
        text = served.run("deploy", "-f", path)
        assert "begun" in text and "seaway watch linear" in text and "seaway abort linear" in text
        assert "10 %" in served.run("status")
        other = served.run("deploy", "-f", str(served.home / "v3.yaml"), "--plan", "--override", "a test")
        assert "the rollout of revision 2 is not over: this deploy would supersede it" in other
        served.wait_until(lambda: "approval" in served.rollout()["waiting"]["words"], 120, "it does not wait")
        kill_control(served)
        served.run("pause", "linear")  # first, else its next step would be a race with this command
        served.run("approve", "linear", "--reason", "seen")
        assert served.rollout()["state"]["phase"] == "paused"
        served.run("traffic", "linear", "30%")
        assert served.rollout()["state"]["percent"] == 30.0
        served.run("promote", "linear", "--full")
        served.until("promoted")
        assert not [status for status in statuses if status != 200]
    record = json.loads((served.home / "run" / "supervisor.json").read_text())
    environments = {pid: Path(f"/proc/{pid}/environ").read_bytes() for pid in record["workers"]}
    assert SECRET.encode() in Path(f"/proc/{record['control']}/environ").read_bytes()
    assert not [pid for pid, found in environments.items() if SECRET.encode() in found], "models see a secret"
    told = served.run("explain", "linear/2")
    assert told.startswith("linear/2  promoted") and "(seen)" in told and "What each check saw" in told
    assert "errors" in served.json("watch", "linear", "--once")["rollout"]["spec"]["checks"]
    wanted = [
        "deploy_requested", "revision_live", "deploy_requested", "rollout_started", "rollout_stepped",
        "rollout_paused", "rollout_approved", "traffic_set", "rollout_stepped", "revision_live",
        "rollout_promoted",
    ]  # fmt: skip
    hooks = served.hooks
    served.wait_until(lambda: hooks.kinds[: len(wanted)] == wanted, 120, f"the webhook got {hooks.kinds}")
    status = served.json("status")["webhooks"]
    assert [one["name"] for one in status] == [f"http://127.0.0.1:{hooks.server_port}", "http://127.0.0.1:9"]
    assert status[0]["fault"] is None and status[1]["fault"]


def test_a_candidate_that_answers_nothing_ends_the_followed_deploy_with_3(served: Server) -> None:
    with traffic(served):
        path = str(served.home / "v3.yaml")
        served.run("deploy", "-f", path, "--follow", "--override", "a test", expect=3)
        state = served.rollout()["state"]
        assert state["phase"] == "rolled_back"
        assert "rolled back" in served.run("explain", "linear/2")
        assert json.loads(served.predict("linear", [[1.0, 2.0]])[2])["predictions"] == [6.0]


def test_without_a_server_a_move_is_recorded_and_says_that_nothing_moves(served: Server) -> None:
    served.run("deploy", "-f", str(served.home / "v2.yaml"))
    served.stop()
    text = served.run("abort", "linear", "--reason", "the server is down")
    assert "recorded" in text and "no server runs, it takes effect with: seaway up" in " ".join(text.split())
    assert served.rollout()["state"]["phase"] == "aborted"
    assert "seaway rollback" in fails(served, "pause", "linear")


def fails(server: Server, *words: str) -> str:

    done = subprocess.run(
        [SEAWAY, *words], capture_output=True, text=True, env=server.environment, timeout=120
    )
    assert done.returncode == 3
    return done.stderr


def kill_control(server: Server) -> None:
    """kill -9, and wait until its successor answers."""
    record = json.loads((server.home / "run" / "supervisor.json").read_text())
    os.kill(record["control"], signal.SIGKILL)

    def back() -> bool:
        now = json.loads((server.home / "run" / "supervisor.json").read_text())
        return now["control"] not in (None, record["control"]) and server.control_alive()

    server.wait_until(back, 120, "the control process does not come back")

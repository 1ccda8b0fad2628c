"""A real `seaway` in processes of its own, for the proofs: a home, a server on a free port, models to put behind it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from ports import free_port as free_port

SEAWAY = str(Path(sys.executable).with_name("seaway"))
PATIENT = {"deadline": "60s", "queue": "60s"}
"""Limits for small proofs, whose machine may stand still for seconds: no request is refused for that."""
JUDGED = {"deadline": "10s", "queue": "10s"}
"""The same where checks judge: they count nothing of a step before its requests' deadline is over."""


def linear_model(path: Path, factor: float) -> Path:
    """y = factor * (x0 + x1), float32 [N,2] → [N,1]: whose answer it is can be read off the number."""
    weights = helper.make_tensor("w", TensorProto.FLOAT, [2, 1], np.array([factor, factor], np.float32))
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 1])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.save(model, path)
    return path


class Seaway:
    """One home and the commands on it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.port = free_port()
        self.limits: dict[str, str] = {}
        """Of its endpoints; the defaults are those of a proof at full size."""
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("SEAWAY_")}
        patience = {"SEAWAY_HANG_S": "60"} if self.limits else {}
        return {**kept, **patience, "SEAWAY_HOME": str(self.home), "COLUMNS": "160"}

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """Start a command and do not wait for it."""
        with (self.home / "commands.log").open("ab") as out:
            return subprocess.Popen([SEAWAY, *words], stdout=out, stderr=out, env=self.environment)

    def run(self, *words: str, expect: int | None = 0) -> str:
        """Run a command to its end; `expect` is its exit code (None: any)."""
        done = subprocess.run(
            [SEAWAY, *words], capture_output=True, text=True, env=self.environment, timeout=600
        )
        if expect is not None and done.returncode != expect:
            raise AssertionError(f"seaway {words}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def deploy_first(self, endpoint: str, ref: str) -> None:
        """Deploy the first version of an endpoint, with `limits` that later deploys keep."""
        path = self.home / f"{endpoint}.json"
        document = {"version": 1, "endpoint": endpoint, "serve": {"bundle": ref}, "limits": self.limits}
        path.write_text(json.dumps(document))
        self.run("deploy", "-f", str(path))

    def json(self, *words: str) -> Any:
        """A command's answer as a value."""
        return json.loads(self.run(*words, "--json"))

    @contextmanager
    def up(self, workers: int = 1, *words: str) -> Iterator[None]:
        """`seaway up`, ready, and stopped at the end; `words` are further ones of the command."""
        self.launch(workers, *words)
        try:
            yield
        finally:
            self.stop()

    def launch(self, workers: int = 1, *words: str) -> None:
        """Start the server and wait until it answers."""
        with (self.home / "up.log").open("ab") as log:
            command = [SEAWAY, "up", "--http", f"127.0.0.1:{self.port}", "--workers", str(workers), *words]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=self.environment)
        self.wait_until(self.alive, 300, "the server did not start")

    def stop(self) -> None:
        """SIGTERM, and the end of the process."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(timeout=300)
        self.process = None

    def alive(self) -> bool:
        """Whether a worker and the control process answer."""
        try:
            return self.get("/v2/health/live")[0] == 200 and self.control_alive()
        except OSError:
            return False

    def control_alive(self) -> bool:
        """Whether the control process answers on its socket."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(1)
            try:
                client.connect(str(self.home / "control.sock"))
            except OSError:
                return False
            return True

    def get(self, path: str) -> tuple[int, bytes]:
        """One GET on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def predict(self, endpoint: str, rows: list[list[float]]) -> tuple[int, dict[str, str], bytes]:
        """One POST /predict on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=100)
        try:
            connection.request(
                "POST",
                f"/predict/{endpoint}",
                json.dumps({"instances": rows}),
                {"content-type": "application/json"},
            )
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def wait_until(self, condition: Any, seconds: float, what: str) -> None:
        """Poll a condition; fail with the server's log when it does not come true in time."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                log = self.home / "up.log"
                tail = log.read_text("utf-8", "replace")[-3000:] if log.exists() else ""
                raise AssertionError(f"{what}\n{tail}")
            time.sleep(0.02)

"""A whole server whose endpoint `people` records everything, for tests of what lies on the disk."""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from control_process import ENVIRONMENT, Background, Server
from onnx import TensorProto, helper
from step_models import save

from seaway.control import endpoint_file, views

ENDPOINT_FILE = b"""
version: 1
endpoint: people
serve: {bundle: people:v1}
limits: {deadline: 60s, queue: 60s}
record:
  capture: 100%
  redact: [note, "text:email", "text:card"]
  subject: {header: x-user-id}
"""
RECORDING = '{"log_requests": "all"}'
NOTE = "Erika Mustermann"


def package(home: Path) -> None:
    """`people:v1` answers twice its one number x, FP32; `note` is a text that it does not look at."""
    home.mkdir(exist_ok=True)
    path = save(
        home / "people.onnx",
        [helper.make_node("Mul", ["x", "two"], ["y"]), helper.make_node("Shape", ["note"], ["length"])],
        {"x": (TensorProto.FLOAT, ["batch", 1]), "note": (TensorProto.STRING, ["batch", 1])},
        {"y": (TensorProto.FLOAT, ["batch", 1])},
        {"two": np.array([2], np.float32)},
    )
    words = ["package", str(path), "--name", "people", "--no-lock", "--home", str(home)]
    done = subprocess.run(
        [sys.executable, "-m", "seaway", *words], env=ENVIRONMENT, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    path.unlink()


@contextlib.contextmanager
def recorded(home: Path) -> Iterator[Server]:
    """The server, `people` live."""
    package(home)
    server = Server(home)
    server.up("--recording", RECORDING)
    try:
        spec = endpoint_file.parse(ENDPOINT_FILE, "people.yaml")
        accepted = server.client.deploy("people", views.DeployRequest(spec=spec))
        for event in server.client.follow(accepted.after):
            assert event.kind != "revision_failed", event
            if event.kind == "revision_live":
                break
        yield server
    finally:
        server.clean()


def body(value: float, note: str = NOTE) -> bytes:
    """One row in the Open Inference Protocol."""
    inputs = [
        {"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [value]},
        {"name": "note", "datatype": "BYTES", "shape": [1, 1], "data": [note]},
    ]
    return json.dumps({"inputs": inputs}).encode()


def ask(
    server: Server, data: bytes, path: str = "/v2/models/people/infer", **headers: str
) -> tuple[int, bytes]:
    """One request on a connection of its own; header names with `_` for `-`."""
    connection = http.client.HTTPConnection(*server.address, timeout=60)
    with contextlib.closing(connection):
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("POST", path, data, {"content-type": "application/json", **named})
        answer = connection.getresponse()
        return answer.status, answer.read()


def run(server: Server, *words: str) -> tuple[int, str]:
    """`seaway WORDS` on the server's home; its exit code and what it printed."""
    command = [sys.executable, "-m", "seaway", *words, "--home", str(server.home)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def kept(home: Path) -> dict[str, bytes]:
    """Every file under the home but the models, by name."""
    found = {}
    for path in home.rglob("*"):
        name = str(path.relative_to(home))
        if path.is_file() and not name.startswith(("models/", "cache/")):
            with contextlib.suppress(OSError):  # removed meanwhile
                found[name] = path.read_bytes()
    return found


def holding(home: Path, needle: bytes) -> list[str]:
    """The files that hold these bytes, in their content or their name."""
    return sorted(name for name, data in kept(home).items() if needle in data or needle in name.encode())


class Traffic(Background):
    """Asks as somebody else, so rarely that the recorder draws every request; `failures` got no answer of 200."""

    def __init__(self, server: Server) -> None:
        super().__init__()
        self._server = server
        self.asked = 0
        self.failures: list[tuple[float, object]] = []

    def run(self) -> None:
        while not self.over.wait(0.02):
            self.asked += 1
            marks = {"x_user_id": "somebody-else", "x_request_id": f"other-{self.asked}"}
            try:
                status, answer = ask(self._server, body(float(self.asked % 100)), **marks)
                if status != 200:
                    self.failures.append((time.monotonic(), answer))
            except (OSError, http.client.HTTPException) as error:
                self.failures.append((time.monotonic(), error))

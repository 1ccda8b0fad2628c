"""A whole server as `seaway up` runs it, on a home with three packaged versions."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ports import keep_port
from seaway.client.control import ControlClient
from seaway.control import orphans, views
from seaway.core.deployments import Backend, Deployment, LimitsSection
from seaway.core.errors import SeawayError
from seaway.core.events import EventKind

ENVIRONMENT = {key: value for key, value in os.environ.items() if not key.startswith("SEAWAY_")}
UNHURRIED = LimitsSection(deadline="60s", queue="60s")
"""For tests in which no request may fail: a machine that stands still for a moment is no fault of the server."""


def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Poll until the condition holds; fail after `seconds`, which a machine under load never needs."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition never held"
        time.sleep(0.01)


def make_home(home: Path) -> None:
    """Three versions of `prices`, which multiply the sum of three numbers by 1, 2 and 3."""
    home.mkdir()
    for factor in (1, 2, 3):
        weight = numpy_helper.from_array(np.full((3, 1), factor, dtype=np.float32), "w")
        graph = helper.make_graph(
            [helper.make_node("MatMul", ["x", "w"], ["y"])],
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 1])],
            [weight],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        path = home / f"m{factor}.onnx"
        onnx.save(model, path)
        words = [sys.executable, "-m", "seaway", "package", str(path), "--name", "prices", "--no-lock"]
        subprocess.run([*words, "--home", str(home)], check=True, capture_output=True, env=ENVIRONMENT)


def command(home: Path, *more: str, http_address: str = "127.0.0.1:0", workers: int = 2) -> list[str]:
    words = [
        sys.executable,
        "-m",
        "seaway.wiring.supervisor",
        "--run",
        str(home / "run"),
        "--http",
        http_address,
    ]
    return [*words, "--workers", str(workers), "--home", str(home), "--control", *more]


class Server:
    """`seaway up` on a home; `up` again after a kill."""

    def __init__(self, home: Path, workers: int = 2, drain_s: float = 5.0) -> None:
        self.home, self.run, self.workers, self.drain_s = home, home / "run", workers, drain_s
        self.address = ("127.0.0.1", 0)
        self.client = ControlClient(home / "control.sock")

    def up(self, *more: str) -> None:
        reader, writer = os.pipe()
        address = f"{self.address[0]}:{self.address[1]}"
        words = command(
            self.home, "--drain", str(self.drain_s), *more, http_address=address, workers=self.workers
        )
        with (self.home / "up.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*words, "--ready-fd", str(writer)],
                pass_fds=[writer],
                stdout=log,
                stderr=log,
                env=ENVIRONMENT,
            )
        os.close(writer)
        try:
            with os.fdopen(reader) as ready:
                assert select.select([ready], [], [], 120)[0], self.log()
                line = ready.readline().strip()
            assert line, self.log()
            if not self.address[1]:
                keep_port(int(line.rpartition(":")[2]))  # for the next `up`
            self.address = ("127.0.0.1", int(line.rpartition(":")[2]))
            if (
                "control process does not answer yet" in self.log()
            ):  # a machine under load: the line came without it
                until(self.control_answers)
            assert self.control_answers(), self.log()  # the line promised it
        except BaseException:
            self.clean()  # nobody else will
            raise

    def worker_pids(self) -> list[int]:
        """Every process that is a worker of this server, whoever started it."""
        found = orphans.find(self.run)
        for one in found:
            os.close(one.pidfd)
        return sorted(one.pid for one in found)

    def log(self) -> str:
        return (self.home / "up.log").read_text()

    def record(self) -> dict[str, Any]:
        return json.loads((self.run / "supervisor.json").read_text())

    def control_answers(self) -> bool:
        try:
            self.client.status()
        except SeawayError:
            return False
        return True

    def deploy(self, number: int) -> None:
        """Deploy a version, for requests in no hurry, and wait until it is live."""
        spec = Deployment(1, "prices", Backend(bundle=f"prices:v{number}"), limits=UNHURRIED)
        self.wait(self.client.deploy("prices", views.DeployRequest(spec=spec)))

    def rollback(self) -> None:
        self.wait(self.client.rollback("prices"))

    def wait(self, accepted: views.Accepted) -> None:
        if accepted.changed:
            for event in self.client.follow(accepted.after):
                assert event.kind is not EventKind.REVISION_FAILED, event
                if event.kind is EventKind.REVISION_LIVE and event.revision == accepted.revision:
                    return

    def all_ready(self, *others: int) -> bool:
        """Of one reading: every worker that control knows has loaded all, as many as there should be, and none of the
        processes `others` is among them."""
        workers = self.client.status().workers
        new = [worker.ready for worker in workers if worker.pid not in others]
        return len(workers) == len(new) == self.workers and all(new)

    def live(self) -> int | None:
        (endpoint,) = self.client.status().endpoints
        return endpoint.live

    def predict(self) -> float:
        connection = http.client.HTTPConnection(*self.address, timeout=60)
        with contextlib.closing(connection):
            connection.request(
                "POST", "/predict/prices", b"[[1, 2, 3]]", {"content-type": "application/json"}
            )
            answer = connection.getresponse()
            body = answer.read()
            assert answer.status == 200, body
            return float(np.ravel(json.loads(body)["predictions"])[0])

    def down(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    def clean(self) -> None:
        """End whatever is left, each process by its own descriptor."""
        if self.process.poll() is None:
            self.down()
        for orphan in orphans.find(self.run):
            orphan.send(signal.SIGKILL)
            until(lambda orphan=orphan: not orphan.alive)  # type: ignore[misc]
            os.close(orphan.pidfd)


class Background(threading.Thread):
    """What goes on beside a test for as long as its `with` lasts; `run` ends once `over` is set."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.over = threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.join(120)
        assert not self.is_alive(), "what goes on beside the test does not end"


class Prober(Background):
    """Predicts without a pause, each time on a new connection, never again for a request that failed."""

    def __init__(self, server: Server) -> None:
        super().__init__()
        self._server = server
        self.answers: list[float] = []
        self.failures: list[str] = []

    def __enter__(self) -> Self:
        super().__enter__()
        until(lambda: self.answers)
        return self

    def run(self) -> None:
        while not self.over.is_set():
            try:
                self.answers.append(self._server.predict())
            except (OSError, AssertionError, http.client.HTTPException) as error:
                self.failures.append(repr(error))


def gone(pid: int) -> bool:
    """Whether a process has ended (a zombie that its parent has not read yet counts)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True

"""A real worker process for tests: started on a socket that the test holds, as the supervisor does."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from ports import free_port
from seaway import sockets
from seaway.core.bundles import OpenedBundle
from seaway.core.traffic import Limits, Route, RoutedRevision, RoutingTable
from seaway.wire import worker_admin

JSON = {"content-type": "application/json"}


def revision(number: int, bundle: OpenedBundle, percent: float = 100.0) -> RoutedRevision:
    return RoutedRevision(number, bundle.digest, bundle.directory, bundle.ref, percent)


def route(name: str, *revisions: RoutedRevision, limits: Limits | None = None) -> Route:
    return Route(name, revisions, limits or Limits(deadline_s=60.0, queue_s=60.0))


def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Poll until the condition holds; fail after `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition never held"
        time.sleep(0.01)


class Answer:
    """One HTTP answer, read whole."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def json(self) -> dict:
        return json.loads(self.body)


class WorkerProcess:
    """`python -m seaway.wiring.worker` on a port of its own."""

    def __init__(
        self,
        run: Path,
        table: RoutingTable | bytes,
        slot: int = 0,
        drain_s: float = 5.0,
        listener: socket.socket | None = None,
        grpc: bool = False,
        control: Path | None = None,
    ) -> None:
        """`listener` is shared with whoever made it; without one the worker gets its own. `control` is the socket of a
        control process that takes feedback."""
        run.mkdir(parents=True, exist_ok=True)
        encoded = table if isinstance(table, bytes) else msgspec.json.encode(table)
        (run / "table.json").write_bytes(encoded)
        self.run, self.slot = run, slot
        self.log = run / f"worker-{slot}.log"
        self.listener = listener or sockets.listen_tcp("127.0.0.1", 0)[0]
        self.port: int = self.listener.getsockname()[1]
        command = [sys.executable, "-m", "seaway.wiring.worker", "--run", str(run), "--slot", str(slot)]
        command += ["--fd", str(self.listener.fileno()), "--drain", str(drain_s)]
        if grpc:
            self.grpc_address = f"127.0.0.1:{free_port()}"
            command += ["--grpc", self.grpc_address]
        if control is not None:
            command += ["--control", str(control)]
        with self.log.open("wb") as log_file:
            self.process = subprocess.Popen(
                command, pass_fds=[self.listener.fileno()], stdout=subprocess.DEVNULL, stderr=log_file
            )
        until(lambda: self.process.poll() is not None or self._answers())
        assert self.process.poll() is None, self.log.read_text()

    def _answers(self) -> bool:
        try:
            sockets.connect_unix(self.admin_path, 1.0).close()
        except OSError:
            return False
        return True

    @property
    def admin_path(self) -> Path:
        return self.run / f"worker-{self.slot}.sock"

    def ask(self, request: worker_admin.Request) -> worker_admin.Reply:
        with sockets.connect_unix(self.admin_path, 60.0) as connection:
            connection.sendall(msgspec.json.encode(request) + b"\n")
            with connection.makefile("rb") as lines:
                return msgspec.json.decode(lines.readline(), type=worker_admin.Reply)

    def observe(self) -> worker_admin.Observed:
        observed = self.ask(worker_admin.Observe()).observed
        assert observed is not None
        return observed

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def call(
        self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
    ) -> Answer:
        """One request on a connection of its own; a body that is not bytes is sent as JSON."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        connection = self.connect()
        try:
            connection.request(method, path, data, headers or (JSON if data is not None else {}))
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def stop(self) -> int:
        if self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGTERM)
        code = self.process.wait(60)
        self.listener.close()
        return code

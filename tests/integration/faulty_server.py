"""`seaway.wiring.supervisor` without control on a routing table of bundles, for the tests of process faults."""

from __future__ import annotations

import http.client
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faulty_bundles
import msgspec

from ports import keep_port
from seaway import sockets
from seaway.control import orphans
from seaway.core.bundles import OpenedBundle
from seaway.core.traffic import Limits, Route, RoutedRevision, RoutingTable
from seaway.wire import isolation, worker_admin


def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Poll until the condition holds; fail after `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition never held"
        time.sleep(0.01)


class FaultyServer:
    """A supervisor and its workers, with one endpoint for each bundle."""

    def __init__(self, run: Path, bundles: dict[str, OpenedBundle], deadline_s: float = 60.0) -> None:
        """`deadline_s` is that of every endpoint but `good`, which is in no hurry."""
        run.mkdir(parents=True, exist_ok=True)
        self.run = run
        routes = tuple(
            Route(
                name,
                (RoutedRevision(1, b.digest, b.directory, b.ref, 100.0),),
                Limits(60.0 if name == "good" else deadline_s, 60.0),
            )
            for name, b in bundles.items()
        )
        (run / "table.json").write_bytes(msgspec.json.encode(RoutingTable(1, routes)))
        self.bundles = bundles
        self.port = 0

    def up(self, *words: str, workers: int = 1, descriptors: int | None = None) -> None:
        """Start it and wait until all workers answer; `descriptors` limits how many each process may open."""
        reader, writer = os.pipe()
        command = [sys.executable, "-m", "seaway.wiring.supervisor", "--run", str(self.run), "--drain", "5"]
        command += ["--http", f"127.0.0.1:{self.port}", "--workers", str(workers), *words]
        if descriptors is not None:
            command = ["/bin/sh", "-c", f'ulimit -n {descriptors}; exec "$@"', "sh", *command]
        with (self.run / "up.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--ready-fd", str(writer)],
                pass_fds=[writer],
                stdout=log,
                stderr=log,
                env=faulty_bundles.environment(),
            )
        os.close(writer)
        try:
            with os.fdopen(reader) as ready:
                assert select.select([ready], [], [], 120)[0], self.log()
                line = ready.readline().strip()
            assert line, self.log()
        except BaseException:
            self.down()  # nobody else will
            raise
        if not self.port:
            self.port = keep_port(int(line.rpartition(":")[2]))  # for the next `up`

    def down(self) -> int:
        """SIGTERM, and its exit code; whatever it leaves behind is killed."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            for orphan in orphans.find(self.run):
                orphan.send(signal.SIGKILL)
                os.close(orphan.pidfd)

    def log(self) -> str:
        return (self.run / "up.log").read_text()

    def pids(self) -> list[int | None]:
        """The process of each slot."""
        return list(json.loads((self.run / "supervisor.json").read_text())["workers"])

    def apart(self, endpoint: str) -> bool:
        """Whether the endpoint's model is ready in a process of its own, in every worker."""
        found = []
        for slot, pid in enumerate(self.pids()):
            try:
                with sockets.connect_unix(worker_admin.socket_path(self.run, slot), 60.0) as connection:
                    connection.sendall(msgspec.json.encode(worker_admin.Observe()) + b"\n")
                    with connection.makefile("rb") as lines:
                        observed = msgspec.json.decode(lines.readline(), type=worker_admin.Reply).observed
            except (OSError, msgspec.DecodeError):
                return False
            if observed is None or observed.pid != pid:
                return False
            found += [one.ready and one.isolated for one in observed.loaded if one.endpoint == endpoint]
        return bool(found) and all(found)

    def isolated(self) -> set[str]:
        """The endpoints whose models are on the list."""
        listed = isolation.read(self.run / isolation.FILE).models
        return {name for name, bundle in self.bundles.items() if bundle.digest in listed}

    def ask(self, endpoint: str, value: float) -> tuple[int, dict[str, str], Any]:
        """One prediction on a connection of its own: status, headers, body. Raises `OSError` where it is cut off."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(
                "POST",
                f"/v2/models/{endpoint}/infer",
                json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [value]}]}),
                {"content-type": "application/json"},
            )
            answer = connection.getresponse()
            headers = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, headers, json.loads(answer.read())
        finally:
            connection.close()

    def status(self, endpoint: str, value: float) -> int | None:
        """The status of one prediction; None where the connection was lost."""
        try:
            return self.ask(endpoint, value)[0]
        except (OSError, http.client.HTTPException):
            return None

    def serves(self, endpoint: str) -> bool:
        return self.status(endpoint, 0.25) == 200

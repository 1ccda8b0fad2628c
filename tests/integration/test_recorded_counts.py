"""`seaway up --workers 2`: what is counted in /metrics and in the ledger on disk is what clients were answered.

Over REST, binary, gRPC and streams, with errors, and after a `kill -9` of one worker: then at most what ended within the
last flush (a second of the ledger, and a tick of the thread that writes it) is missing, and nothing is counted twice.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
import step_models
from control_process import UNHURRIED, Server, make_home, until
from grpc_serving import OIP, Client

from seaway.adapters.runtimes.onnx_steps import OnnxStepsRuntime
from seaway.bundle.build import Package, Tools, package
from seaway.bundle.store import BundleStore
from seaway.control import views
from seaway.core.deployments import Backend, Deployment
from seaway.core.ledger import Counts, merge_counts
from seaway.monitor.recording import seconds
from seaway.testing.clock import VirtualClock

pytestmark = pytest.mark.slow
FLUSH_S = 3.0
"""The second that is being filled, the one that waits to be written, and a bit more."""
JSON = {"content-type": "application/json"}
BREAKING = Deployment(1, "breaking", Backend(bundle="breaking:v1"), limits=UNHURRIED)
Answer = tuple[str, str, str]
"""Endpoint ("" where none was found), door, code."""


@pytest.fixture(scope="module")
def packaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("recorded") / "home"
    make_home(home)
    store = BundleStore(home / "models", home / "cache" / "bundles", VirtualClock())
    path = step_models.breaking_model(home / "breaking.onnx")
    package(Package(path, "breaking", steps=step_models.BREAKING), Tools(store, OnnxStepsRuntime()))
    return home


@pytest.fixture
def server(packaged: Path, tmp_path: Path) -> Iterator[Server]:
    shutil.copytree(packaged, tmp_path / "home")
    server = Server(tmp_path / "home")
    server.up("--grpc", "127.0.0.1:0")
    server.deploy(1)
    server.wait(server.client.deploy("breaking", views.DeployRequest(spec=BREAKING)))
    yield server
    server.clean()


class Asking:
    """Asks on a connection of its own for each request, so that both workers answer; counts what it was answered."""

    def __init__(self, server: Server) -> None:
        self.answers: Counter[Answer] = Counter()
        self.ended_s: list[float] = []
        """When each answer of `prices` came, on the monotonic scale."""
        self._server = server
        address = re.search(r"grpc://([0-9.:]+)", server.log())
        assert address, server.log()
        self._grpc = address[1]

    def http(self, endpoint: str, door: str, path: str, body: bytes, headers: dict[str, str] = JSON) -> None:
        connection = http.client.HTTPConnection(*self._server.address, timeout=20)
        try:
            connection.request("POST", path, body, headers)
            response = connection.getresponse()
            told = response.read()
        finally:
            connection.close()
        last = told.rpartition(b"data:")[2]  # of a stream: the last reply, or its error
        code = json.loads(last)["code"] if response.status != 200 or b'"error"' in last else "200"
        self._count(endpoint, door, code)

    def grpc(self, endpoint: str, model: str, values: int, timeout: float = 60.0) -> None:
        message = OIP.ModelInferRequest(model_name=model)
        tensor = message.inputs.add(name="x", datatype="FP32", shape=[1, values])
        tensor.contents.fp32_contents.extend([1.0] * values)
        client = Client(self._grpc)
        try:
            client.call("ModelInfer", message, timeout)
            code = "OK"
        except grpc.RpcError as error:
            code = dict(error.trailing_metadata())["seaway-code"]
        finally:
            client.channel.close()
        self._count(endpoint, "grpc", code)

    def _count(self, endpoint: str, door: str, code: str) -> None:
        self.answers[endpoint, door, code] += 1
        if endpoint == "prices":
            self.ended_s.append(time.monotonic())

    def all_kinds(self, times: int) -> None:
        """So many requests of every kind."""
        for _ in range(times):
            self._all_kinds()

    def _all_kinds(self) -> None:
        row = {"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}
        self.http("prices", "predict", "/predict/prices", b"[[1, 2, 3], [4, 5, 6]]")
        self.http("prices", "oip", "/v2/models/prices/infer", json.dumps({"inputs": [row]}).encode())
        head = {key: value for key, value in row.items() if key != "data"}
        head["parameters"] = {"binary_data_size": 12}
        text = json.dumps({"inputs": [head]}).encode()
        binary = {
            "content-type": "application/octet-stream",
            "inference-header-content-length": str(len(text)),
        }
        data = np.ones(3, "<f4").tobytes()
        self.http("prices", "oip", "/v2/models/prices/infer", text + data, binary)
        self.http("prices", "oip", "/v2/models/prices/infer", text + data[:5], binary)  # torn
        self.http("prices", "predict", "/predict/prices", b"[[1, 2]]")
        self.http("prices", "predict", "/predict/prices", b"{")
        self.http("", "predict", "/predict/nobody", b"[[1, 2, 3]]")
        self.grpc("prices", "prices", 3)
        self.grpc("prices", "prices", 2)
        self.grpc("", "nobody", 3)
        for place in (3, 99):  # ends after some replies, at once
            body = json.dumps({"place": place, "max_steps": 5}).encode()
            self.http("breaking", "generate", "/v2/models/breaking/generate_stream", body)


def counted(server: Server) -> Counter[Answer]:
    """What /metrics says of all workers."""
    connection = http.client.HTTPConnection(*server.address, timeout=20)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    found: Counter[Answer] = Counter()
    for line in text.splitlines():
        if line.startswith("seaway_requests_total{"):
            labels = dict(re.findall(r'(\w+)="([^"]*)"', line))
            if labels["door"] != "other":
                found[labels["endpoint"], labels["door"], labels["code"]] += int(float(line.split()[-1]))
    return found


def kept(server: Server, endpoint: str) -> Counts:
    pages = seconds.read(server.home / "records", endpoint, 0, 4e9)
    return merge_counts(second.counts for page in pages for second in page.seconds)


def together(asking: list[Asking], act: Callable[[Asking], None]) -> None:
    threads = [threading.Thread(target=act, args=(one,)) for one in asking]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    assert not any(thread.is_alive() for thread in threads)


def test_metrics_and_ledger_say_what_clients_were_answered(server: Server) -> None:
    asking = [Asking(server) for _ in range(4)]
    together(asking, lambda one: one.all_kinds(15))
    told = sum((one.answers for one in asking), Counter[Answer]())
    assert counted(server) == told
    assert {code for _, _, code in told} >= {"200", "OK", "wrong_shape", "endpoint_not_found"}
    for endpoint in ("prices", "breaking"):
        own = Counter({key[2]: 0 for key in told if key[0] == endpoint})
        for key, count in told.items():
            if key[0] == endpoint:
                own[key[2]] += count
        total = sum(own.values())
        until(lambda endpoint=endpoint, total=total: kept(server, endpoint).finished >= total)
        counts = kept(server, endpoint)
        well = own["200"] + own["OK"]
        assert counts.finished == total
        assert counts.finished - counts.failed - counts.refused - counts.rejected - counts.cancelled == well
        assert sum(count for _, count in counts.latency) == well + counts.overdue
    assert kept(server, "prices").rows == 5 * 60  # two by one request, one by three others
    writers = {path.stem.split("-", 1)[1] for path in (server.home / "records/prices/seconds").iterdir()}
    assert len(writers) == 2, "one worker answered them all, so this proves less"


def test_a_killed_worker_costs_the_last_flush_and_nothing_counts_twice(server: Server) -> None:
    def settled(least: int) -> int:
        """What is kept once it is that much, and nothing was written for two flushes."""
        until(lambda: kept(server, "prices").finished >= least)
        known, since_s = -1, time.monotonic()
        while time.monotonic() < since_s + 2.5:
            if (now := kept(server, "prices").finished) != known:
                known, since_s = now, time.monotonic()
            time.sleep(0.05)
        return known

    asking = [Asking(server) for _ in range(2)]
    going, over = threading.Event(), threading.Event()
    stopped = [0]

    def ask(one: Asking) -> None:
        while not over.is_set():
            if not going.wait(0.05):
                continue
            try:
                one.http("prices", "predict", "/predict/prices", b"[[1, 2, 3]]")
            except (OSError, http.client.HTTPException):
                stopped[0] += 1  # on its way when the worker was killed; asked once

    def ended() -> int:
        return sum(len(one.ended_s) for one in asking)

    def go_on(seconds: float) -> None:
        count, end_s = ended(), time.monotonic() + seconds
        until(lambda: ended() > count + 100 and time.monotonic() > end_s)

    threads = [threading.Thread(target=ask, args=(one,)) for one in asking]
    for thread in threads:
        thread.start()
    going.set()
    go_on(2.0)
    going.clear()
    until(lambda: kept(server, "prices").finished == ended())  # all is flushed
    began_s = time.monotonic()
    going.set()
    go_on(FLUSH_S)  # the last of it is at risk: how much, is told by when each answer came
    pids = server.worker_pids()
    killed_s = time.monotonic()
    os.kill(pids[0], signal.SIGKILL)
    go_on(2.0)
    over.set()
    for thread in threads:
        thread.join(120)
    until(lambda: len(server.worker_pids()) == 2 and pids[0] not in server.worker_pids())
    answered = sum(one.answers["prices", "predict", "200"] for one in asking)
    at_risk = sum(began_s <= at_s <= killed_s for one in asking for at_s in one.ended_s)
    at_risk += len(asking)  # one each that the killed worker had answered, and that was read afterwards
    assert answered > 300 and stopped[0] <= 2 * len(asking)
    assert settled(answered - at_risk) <= answered + stopped[0]

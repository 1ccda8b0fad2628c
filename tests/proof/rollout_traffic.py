"""Calls that the open-loop load does not make: gRPC and streams, checked one by one; used by `rollout_transitions`."""

from __future__ import annotations

import itertools
import threading
import time
from pathlib import Path

import grpc
import numpy as np
from onnx import TensorProto, helper, numpy_helper, save_model
from tritonclient import grpc as triton
from tritonclient.utils import InferenceServerException

from rollout_server import RolloutServer
from seaway.client.predictions import Client
from seaway.core.errors import TemporaryError

_PIECES = 12


def package_steps(server: RolloutServer, work: Path) -> None:
    """`counting`: answers 1, 2, 3 … as a stream of `_PIECES` pieces."""
    graph = helper.make_graph(
        [helper.make_node("Add", ["state", "one"], ["count"])],
        "counting",
        [helper.make_tensor_value_info("state", TensorProto.FLOAT, ["N"])],
        [helper.make_tensor_value_info("count", TensorProto.FLOAT, ["N"])],
        [numpy_helper.from_array(np.array([1], np.float32), "one")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path = work / "counting.onnx"
    save_model(model, str(path))
    rules = work / "counting.toml"
    rules.write_text(f'emit = ["count"]\nmax_steps = {_PIECES}\n[feedback]\ncount = "state"\n')
    server.run("package", str(path), "--name", "counting", "--steps", str(rules), "--no-lock")


class GrpcCalls(threading.Thread):
    """One call after the other, by Triton's client; each answer must fit the revision that it names."""

    def __init__(self, server: RolloutServer, factors: dict[str, float]) -> None:
        super().__init__(daemon=True)
        self.server, self.factors = server, factors
        self.stopping = threading.Event()
        self.calls = self.resent = 0
        self.failures: list[str] = []

    def run(self) -> None:
        client = triton.InferenceServerClient(f"127.0.0.1:{self.server.grpc_port}")
        try:
            for number in itertools.count():
                if self.stopping.wait(0.02):
                    return
                self._one(client, float(number % 500))
        finally:
            client.close()

    def _one(self, client: triton.InferenceServerClient, value: float) -> None:
        tensor = triton.InferInput("x", [1, 2], "FP32")
        tensor.set_data_from_numpy(np.array([[value, 1.0]], np.float32))
        for attempt in range(2):
            try:
                answer = client.infer("linear", [tensor], client_timeout=100)
                break
            except InferenceServerException as error:
                # The worker was killed: a call that may be repeated is sent again, once.
                if attempt or error.status() != f"StatusCode.{grpc.StatusCode.UNAVAILABLE.name}":
                    self.failures.append(f"gRPC: {error}")
                    return
                self.resent += 1
                time.sleep(0.1)
        self.calls += 1
        found = float(answer.as_numpy("y").ravel()[0])
        if found not in [factor * (value + 1.0) for factor in self.factors.values()]:
            self.failures.append(f"gRPC: {found} for {value}")


class Streams(threading.Thread):
    """One stream after the other, each read to its end."""

    def __init__(self, server: RolloutServer) -> None:
        super().__init__(daemon=True)
        self.server = server
        self.stopping = threading.Event()
        self.streams = self.resent = 0
        self.failures: list[str] = []

    def run(self) -> None:
        client = Client(f"http://127.0.0.1:{self.server.port}")
        while not self.stopping.wait(0.05):
            for attempt in range(2):
                try:
                    pieces = [reply["count"] for reply in client.stream("counting", {"state": 0.0})]
                    break
                except TemporaryError as error:
                    if attempt:
                        self.failures.append(f"stream: {error}")
                        return
                    self.resent += 1
                except Exception as error:
                    self.failures.append(f"stream: {error!r}")
                    return
            self.streams += 1
            if pieces != [float(n) for n in range(1, _PIECES + 1)]:
                self.failures.append(f"stream: {pieces}")

"""`seaway serve` on a core of its own, and two models of known cost; the overload proof loads them from the other core."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from seaway.engine import usage
from server import SEAWAY, Seaway, free_port

FEATURES = 4
ROWS = 64
"""How many different requests there are; each has an answer of its own."""
_WIDTH, _TOKENS = 256, 32
_SERIES = re.compile(r"^(\w+)\{(.*)\} ([0-9.e+-]+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')


def write_model(path: Path, layers: int, fixed_tokens: int) -> None:
    """float32 [N,4] → [N,1]. Each row costs `layers` products of 32x256 by 256x256, which no batch makes cheaper;
    each run, whatever its rows, those of `fixed_tokens`x256."""
    chance = np.random.default_rng(11)
    nodes = [
        helper.make_node("MatMul", ["x", "spread"], ["flat"]),
        helper.make_node("Reshape", ["flat", "tokens"], ["row0"]),
        *_layers("row", layers),
        helper.make_node("ReduceMean", [f"row{layers}"], ["mean"], axes=[1], keepdims=0),
        helper.make_node("MatMul", ["mean", "readout"], ["value"]),
    ]
    values = {
        "spread": chance.normal(size=(FEATURES, _TOKENS * _WIDTH)),
        "weights": chance.normal(size=(_WIDTH, _WIDTH)) / np.sqrt(_WIDTH),
        "readout": chance.normal(size=(_WIDTH, 1)),
    }
    if fixed_tokens:
        # The zero is found only at run time, so that the work cannot be done once and for all when it is loaded.
        nodes += [
            helper.make_node("ReduceMax", ["x"], ["largest"], keepdims=0),
            helper.make_node("Mul", ["largest", "nothing"], ["zero"]),
            helper.make_node("Add", ["table", "zero"], ["run0"]),
            *_layers("run", layers),
            helper.make_node("ReduceMean", [f"run{layers}"], ["offset"], keepdims=0),
            helper.make_node("Add", ["value", "offset"], ["y"]),
        ]
        values["nothing"] = np.array(0.0)
        values["table"] = chance.normal(size=(fixed_tokens, _WIDTH))
    else:
        nodes.append(helper.make_node("Identity", ["value"], ["y"]))
    graph = helper.make_graph(
        nodes,
        path.stem,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", FEATURES])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 1])],
        [
            *(numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in values.items()),
            numpy_helper.from_array(np.array([-1, _TOKENS, _WIDTH]), "tokens"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.save(model, path)


def _layers(name: str, count: int) -> Iterator[onnx.NodeProto]:
    for layer in range(count):
        yield helper.make_node("MatMul", [f"{name}{layer}", "weights"], [f"{name}_sum{layer}"])
        yield helper.make_node("Tanh", [f"{name}_sum{layer}"], [f"{name}{layer + 1}"])


class Questions:
    """Different rows, and what the model itself says to each."""

    def __init__(self, model: Path) -> None:
        self.rows = np.random.default_rng(12).normal(size=(ROWS, FEATURES)).astype(np.float32)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(model, options)
        self.answers = [float(session.run(None, {"x": row[None]})[0][0, 0]) for row in self.rows]
        gaps = np.diff(np.sort(self.answers))
        assert gaps.min() > 1e-4, "two rows have the same answer: one that went astray would not be noticed"
        self.bodies = [json.dumps({"instances": [row.tolist()]}).encode() for row in self.rows]

    def right(self, index: int, value: float) -> bool:
        """Whether this is the answer to the index-th request, within what the order of sums may change."""
        return abs(value - self.answers[index % ROWS]) < 2e-5


class Pinned(Seaway):
    """`seaway serve` of one model on the first core; what runs in `beside` is on the others."""

    def __init__(self, home: Path, model: Path) -> None:
        super().__init__(home)
        self.model = model
        self.questions = Questions(model)
        self.grpc_port = free_port()

    @contextlib.contextmanager
    def serving(self) -> Iterator[None]:
        """Started, warm, and stopped at the end; the caller is kept off its core meanwhile."""
        cores = os.sched_getaffinity(0)
        first, *others = sorted(cores)
        os.sched_setaffinity(0, {first})  # inherited by the server
        try:
            command = [SEAWAY, "serve", str(self.model), "--name", "model"]
            command += ["--http", f"127.0.0.1:{self.port}", "--grpc", f"127.0.0.1:{self.grpc_port}"]
            with (self.home / "up.log").open("ab") as log:
                # A session of its own: where the kernel groups by session, the others' load weighs less on it.
                self.process = subprocess.Popen(
                    command, stdout=log, stderr=log, env=self.environment, start_new_session=True
                )
            os.sched_setaffinity(0, set(others) or cores)
            self.wait_until(self._answers, 300, "the server did not start")
            for pid in (os.getpid(), self.process.pid):
                with contextlib.suppress(OSError):
                    Path(f"/proc/{pid}/autogroup").write_text("-20")
            yield
        finally:
            if self.process is not None and self.process.poll() is None:
                self.process.send_signal(signal.SIGTERM)
                self.process.wait(timeout=300)
            os.sched_setaffinity(0, cores)

    def memory_bytes(self) -> int:
        """Resident, of the server's whole process tree."""
        assert self.process is not None
        found, todo = 0, [self.process.pid]
        while todo:
            pid = todo.pop()
            taken = usage.usage(pid)
            found += 0 if taken is None else taken.memory_bytes
            for task in Path(f"/proc/{pid}/task").iterdir():
                todo += map(int, (task / "children").read_text().split())
        return found

    def metric(self, name: str, **labels: str) -> float:
        """The sum of all series of this name that have these labels."""
        status, body = self.get("/metrics")
        assert status == 200
        total = 0.0
        for found, written, value in _SERIES.findall(body.decode()):
            if found == name and labels.items() <= dict(_LABEL.findall(written)).items():
                total += float(value)
        return total

    def _answers(self) -> bool:
        try:
            status, _, body = self.predict("model", self.questions.rows[:1].tolist())
        except OSError:
            return False
        return status == 200 and self.questions.right(0, json.loads(body)["predictions"][0])

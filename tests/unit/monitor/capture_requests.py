"""Ended requests for tests of capture, and the sink that takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from seaway.core.ports import Clock
from seaway.core.records import Chosen, RecordRules
from seaway.core.tensors import DType, Meaning, Signature, Tensors, TensorSpec
from seaway.monitor.capture import sink as capture
from seaway.monitor.sinks import Block, RecordPaths, Subject

SIGNATURE = Signature(
    (
        TensorSpec("x", DType.FP32, (-1, 3), columns=("age", "income", "zip")),
        TensorSpec("note", DType.BYTES, (-1,)),
    ),
    (
        TensorSpec("label", DType.INT64, (-1,), Meaning.LABEL),
        TensorSpec("probabilities", DType.FP32, (-1, 2), Meaning.PROBABILITY),
    ),
)
ALL = RecordRules(capture_percent=100.0, retain_s=1e10, subject="x-user-id")
BASE_S = 1_700_000_000.0
"""Long ago, so that what the real clock says is later."""


class Ended:
    """`core.records.Answered` as a value."""

    def __init__(
        self,
        number: int,
        *,
        rows: int = 1,
        subject: str | None = None,
        note: str = "nothing",
        caller: str = "team-a",
        code: str = "200",
        tensors: Tensors | None = None,
        outputs: Tensors | None = None,
        request_id: str | None = None,
    ) -> None:
        self.code = code
        self.chosen = Chosen.ONLY
        self.endpoint = "prices"
        self.caller = caller
        self.rows = self.batch_rows = rows
        self.received_s = float(number)
        self.ended_s = number + 0.01
        self.queue_s = self.run_s = self.cpu_s = 0.001
        self.tensors: Tensors = tensors if tensors is not None else self._inputs(number, rows, note)
        self.outputs: Tensors | None = outputs
        if outputs is None and code == "200":
            self.outputs = {
                "label": np.full(rows, number % 2, np.int64),
                "probabilities": np.full((rows, 2), 0.5, np.float32),
            }
        self.door = "oip"
        self.request_id = (request_id or f"request-{number}").encode()
        self.traceparent = None
        self._headers = {} if subject is None else {"x-user-id": subject.encode()}

    def header(self, name: str) -> bytes | None:
        return self._headers.get(name)

    @staticmethod
    def _inputs(number: int, rows: int, note: str) -> Mapping[str, np.ndarray]:
        x = np.arange(rows * 3, dtype=np.float32).reshape(rows, 3) + number
        return {"x": x, "note": np.array([note] * rows, dtype=object)}


def block(
    requests: Sequence[Ended],
    rules: RecordRules = ALL,
    *,
    endpoint: str = "prices",
    revision: int = 3,
    signature: Signature = SIGNATURE,
) -> Block:
    subject = Subject(endpoint, revision, f"sha256:{revision}", f"prices:v{revision}", signature, None, rules)
    return Block(subject, requests, len(requests), sum(r.rows for r in requests), 1.0, BASE_S)


def sink(root: Path, clock: Clock, slot: int = 0) -> capture.CaptureSink:
    return capture.make(RecordPaths(str(root), slot, 4711), clock)


def place(root: Path, endpoint: str = "prices") -> Path:
    return root / endpoint / "capture"


def written(root: Path) -> bytes:
    """Every byte under a directory, and every name."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return b"\n".join(str(path).encode() + b"\n" + path.read_bytes() for path in files)

"""Requests that have ended, and blocks of them, as the recorder hands them to the sinks."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from seaway.core.answers import answer_spec
from seaway.core.records import Chosen, RecordRules
from seaway.core.tensors import DType, Meaning, Signature, Tensors, TensorSpec
from seaway.monitor.sinks import Block, Subject

CLASSIFIER = Signature(
    (
        TensorSpec("x", DType.FP32, (-1, 2), Meaning.FEATURE, columns=("age", "income")),
        TensorSpec("city", DType.BYTES, (-1,), Meaning.FEATURE),
    ),
    (
        TensorSpec("label", DType.BYTES, (-1,), Meaning.LABEL),
        TensorSpec("probabilities", DType.FP32, (-1, 2), Meaning.PROBABILITY),
    ),
)
REGRESSOR = Signature(
    (TensorSpec("x", DType.FP32, (-1, 2), Meaning.FEATURE),),
    (TensorSpec("y", DType.FP32, (-1, 1), Meaning.VALUE),),
)
BASE_S = 1_700_000_000.0


class Ended(msgspec.Struct):
    """One request that has ended."""

    request_id: bytes = b"r-1"
    outputs: Tensors | None = None
    tensors: Tensors = {}
    code: str = "200"
    endpoint: str = "prices"
    caller: str = "ada"
    rows: int = 1
    batch_rows: int = 4
    received_s: float = 10.0
    ended_s: float = 10.25
    queue_s: float = 0.0625
    run_s: float = 0.125
    cpu_s: float = 0.03125
    door: str = "predict"
    traceparent: bytes | None = None
    chosen: Chosen = Chosen.ONLY

    def header(self, name: str) -> bytes | None:
        return None


def subject(
    signature: Signature = REGRESSOR, endpoint: str = "prices", revision: int = 3, **rules: object
) -> Subject:
    return Subject(
        endpoint=endpoint,
        revision=revision,
        digest=f"sha256:{revision:064x}",
        ref=f"{endpoint}:v{revision}",
        signature=signature,
        answer=answer_spec(signature),
        rules=msgspec.convert(rules, RecordRules),
    )


def block(
    requests: Sequence[Ended], of: Subject | None = None, seen: int | None = None, rate: float = 1.0
) -> Block:
    return Block(
        subject=of or subject(),
        requests=requests,
        seen=len(requests) if seen is None else seen,
        seen_rows=sum(one.rows for one in requests),
        rate=rate,
        base_s=BASE_S,
    )


def number(request_id: bytes, *values: float, **fields: object) -> Ended:
    """A request that a model of numbers answered."""
    outputs = {"y": np.array(values, np.float32).reshape(-1, 1)}
    return Ended(request_id=request_id, outputs=outputs, rows=len(values), **fields)  # type: ignore[arg-type]


def labels(request_id: bytes, *names: str, cities: Sequence[str] = (), age: float = 30.0) -> Ended:
    """A request that a classifier answered, each row with a confidence of 0.75."""
    rows = len(names)
    return Ended(
        request_id=request_id,
        outputs={
            "label": np.array(names, object),
            "probabilities": np.tile(np.array([[0.25, 0.75]], np.float32), (rows, 1)),
        },
        tensors={
            "x": np.tile(np.array([[age, 1.5]], np.float32), (rows, 1)),
            "city": np.array(cities or ["Bern"] * rows, object),
        },
        rows=rows,
    )

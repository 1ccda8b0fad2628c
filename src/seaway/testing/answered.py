"""A request that has ended, as a value: for tests and proofs of what is recorded."""

from __future__ import annotations

import msgspec

from seaway.core.records import Chosen
from seaway.core.tensors import Tensors


class Ended(msgspec.Struct, kw_only=True):
    """A `core.records.Answered` without headers; a batch of its own, by default."""

    outputs: Tensors | None
    tensors: Tensors = {}
    request_id: bytes = b"r-1"
    code: str = "200"
    endpoint: str = "prices"
    caller: str = "ada"
    rows: int = 1
    batch_rows: int = 1
    received_s: float = 0.0
    ended_s: float = 0.0
    queue_s: float = 0.0
    run_s: float = 0.0
    cpu_s: float = 0.0
    door: str = "predict"
    size: int = 0
    chosen: Chosen = Chosen.ONLY
    traceparent: bytes | None = None

    def header(self, name: str) -> bytes | None:
        """None: it has none."""
        return None

"""Requests that have ended, and a recorder over them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from engine_fakes import SIGNATURE, FakeRuntime, revision, sources

from seaway.core.ports import Clock
from seaway.core.records import Chosen, RecordRules
from seaway.core.tensors import DType, Meaning, Signature, Tensors, TensorSpec
from seaway.core.traffic import Limits
from seaway.engine.handle import Handle
from seaway.engine.jobs import Job
from seaway.engine.pool import Pool
from seaway.monitor.recording.recorder import Recorder
from seaway.monitor.sinks import Block, RecordPaths, Sink, Takes

CLASSES = Signature(
    (TensorSpec("x", DType.FP32, (-1,)),), (TensorSpec("label", DType.INT64, (-1,), Meaning.LABEL),)
)
NUMBERS = SIGNATURE


class Ended(Job):
    """A `core.records.Answered`."""

    __slots__ = (
        "chosen",
        "code",
        "door",
        "ended_s",
        "endpoint",
        "headers",
        "request_id",
        "size",
        "traceparent",
    )

    def __init__(
        self,
        outputs: Tensors | None = None,
        code: str = "200",
        took_s: float = 0.002,
        ended_s: float = 1000.0,
        request_id: bytes = b"r-1",
        headers: dict[str, bytes] | None = None,
        rows: int = 1,
        chosen: Chosen = Chosen.ONLY,
    ) -> None:
        super().__init__({"x": np.ones(rows, np.float32)}, ended_s - took_s, lambda _: None, "me")
        self.outputs, self.code, self.ended_s, self.request_id = outputs, code, ended_s, request_id
        self.rows = self.batch_rows = rows
        self.endpoint, self.door = "e", "predict"
        self.traceparent: bytes | None = None
        self.chosen = chosen
        self.headers, self.size = headers or {}, 0

    def header(self, name: str) -> bytes | None:
        return self.headers.get(name)


def handle(clock: Clock, number: int = 1, endpoint: str = "e") -> Handle:
    """A revision that can answer."""
    pool = Pool(sources(FakeRuntime()), clock)
    pool.load(endpoint, revision(number), Limits())
    found = pool.get(endpoint, number)
    assert found is not None
    return found


def tell(one: Recorder, revision: Handle, request: Ended, size: int = 10) -> None:
    """The engine and the door have done their part with this request."""
    if request.outputs is not None:
        revision.predictor.given.add(request.outputs, (request,))
    request.size = size
    one.answered(revision, request, request.door)


class MemorySink:
    """Keeps its blocks; `before` is called in each `take`."""

    def __init__(
        self,
        takes: Takes = "sample",
        name: str = "memory",
        before: Callable[[], None] = lambda: None,
    ) -> None:
        self.name, self.takes, self._before = name, takes, before
        self.blocks: list[Block] = []
        self.closed = False

    def wants(self, rules: RecordRules) -> bool:
        return self.takes == "all"

    def take(self, block: Block) -> int | None:
        self._before()
        self.blocks.append(block)
        return None

    def tick(self, now_s: float) -> None: ...

    def close(self) -> None:
        self.closed = True

    @property
    def requests(self) -> int:
        return sum(len(block.requests) for block in self.blocks)


class PatientRecorder(Recorder):
    """Does not give up when it waits for its threads; what it draws is the same each time."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._random = np.random.default_rng(7)

    async def settled(self) -> None:
        self._roll()
        done = threading.Event()
        self._handed.put(done)
        assert await asyncio.to_thread(done.wait, 60)


def recorder(
    root: Path,
    clock: Clock,
    sinks: Sequence[Sink] = (),
    rules: RecordRules | None = None,
    said: list[str] | None = None,
) -> Recorder:
    """A recorder whose threads are not started yet."""
    found = rules or RecordRules()
    lines = [] if said is None else said
    return PatientRecorder(RecordPaths(str(root), 0, 77), sinks, lambda _: found, clock, lines.append)

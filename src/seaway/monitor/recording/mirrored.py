"""Keeps what a candidate said to mirrored requests, until labels come: HOME/records/_mirrored, in the form of provenance.

The recorder is told of each on the event loop and has them written by its keeping thread. `control.rollouts.paired_labels`
looks them up by the ids of labelled requests; the erasure of records erases them with all else of a request.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from seaway.core.ports import Clock
from seaway.core.provenance import Joined
from seaway.core.records import Chosen, MirroredAnswer, RecordRules
from seaway.core.tensors import Tensors
from seaway.monitor.provenance import erasing
from seaway.monitor.provenance import files as provenance_files
from seaway.monitor.provenance.sink import ProvenanceSink
from seaway.monitor.sinks import Block, RecordPaths, Subject

NAME: Final = "mirrored"
"""Of its counts among those of the sinks."""
MOST_WAITING: Final = 4096
"""Answers that wait for the disk, and `MOST_BYTES` of them; what comes then is dropped."""
MOST_BYTES: Final = 16 * 1024 * 1024
SPACE_BYTES: Final = 256 * 1024 * 1024
"""Of one slot, over all endpoints: as much as the live answers have that they are compared with."""
_DIRECTORY: Final = "_mirrored"
_FAILED: Final = "execution_failed"


class _Ended(msgspec.Struct):
    """A mirrored answer as provenance takes it. `ended_s` is since 1970."""

    request_id: bytes
    rows: int
    outputs: Tensors | None
    received_s: float
    ended_s: float
    code: str
    tensors: Tensors = {}
    caller: str = ""
    door: str = ""
    batch_rows: int = 0
    queue_s: float = 0.0
    run_s: float = 0.0
    cpu_s: float = 0.0
    chosen: Chosen = Chosen.ONLY
    traceparent: bytes | None = None
    endpoint: str = ""
    size: int = 0

    def header(self, name: str) -> bytes | None:
        return None


class MirroredAnswers:
    """`put` on the event loop; `write` and `close` on the keeping thread."""

    def __init__(self, paths: RecordPaths, clock: Clock, space_bytes: int = SPACE_BYTES) -> None:
        root = str(_root(Path(paths.root)))
        self._files = ProvenanceSink(msgspec.structs.replace(paths, root=root), clock, space_bytes)
        self._clock = clock
        self._lock = threading.Lock()
        """Held for the time of an append, never while the disk is waited for."""
        self._waiting: list[tuple[Subject, _Ended, int]] = []
        self._bytes = 0
        self._dropped = 0

    def put(self, subject: Subject, told: MirroredAnswer) -> None:
        """Let an answer of a revision wait to be written, or drop it where there is no room. Never blocks."""
        now_s = self._clock.now_s()
        code = _FAILED if told.outputs is None else "200"
        ended = _Ended(told.request_id, told.rows, told.outputs, now_s, now_s, code)
        with self._lock:
            if len(self._waiting) >= MOST_WAITING or self._bytes + told.size > MOST_BYTES:
                self._dropped += 1
                return
            self._waiting.append((subject, ended, told.size))
            self._bytes += told.size

    def take(self) -> tuple[list[Block], int]:
        """What waits, by revision, and how many were dropped since the last time; it waits no more."""
        with self._lock:
            waiting, self._waiting, self._bytes = self._waiting, [], 0
            dropped, self._dropped = self._dropped, 0
        parts: dict[tuple[str, int, str], tuple[Subject, list[_Ended]]] = {}
        for subject, ended, _ in waiting:
            key = subject.endpoint, subject.revision, subject.digest
            parts.setdefault(key, (subject, []))[1].append(ended)
        return [_block(subject, requests) for subject, requests in parts.values()], dropped

    def write(self, block: Block) -> None:
        """Keep one block. Raises `OSError` where the disk does not take it; what it took before stays readable."""
        self._files.take(block)

    def tick(self, now_s: float) -> None:
        """As `sinks.Sink.tick`."""
        self._files.tick(now_s)

    def close(self) -> None:
        """Idempotent."""
        self._files.close()


def lookup(records: Path, ids: Sequence[bytes]) -> Joined:
    """What mirrored revisions said to each of the requests, as `monitor.provenance.files.lookup`; `units` says which of them
    failed. Blocking, thread-safe; what is damaged is left out."""
    return provenance_files.lookup(_root(records), ids)


def erase(records: Path, ids: Sequence[bytes]) -> int:
    """Overwrite what is kept of these requests, as `monitor.provenance.erasing.erase`; how many there were."""
    return erasing.erase(_root(records), ids)


def _root(records: Path) -> Path:
    return records / _DIRECTORY


def _block(subject: Subject, requests: Sequence[_Ended]) -> Block:
    """Without confidences and slices: a label asks for neither."""
    answer = None if subject.answer is None else msgspec.structs.replace(subject.answer, confidence=None)
    bare = msgspec.structs.replace(subject, answer=answer, rules=RecordRules())
    failed = tuple(one.outputs is None for one in requests)
    return Block(bare, requests, len(requests), sum(one.rows for one in requests), 1.0, 0.0, failed)

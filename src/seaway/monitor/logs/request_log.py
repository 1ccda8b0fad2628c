"""The request log: one line of JSON (Elastic Common Schema) for each answered request, in files of bounded size.

A Sink of the recorder. Lines hold what Seaway knows of a request, and of what the caller sent only checked tokens (the
request id, the trace id, the caller's name): no path, no header, no payload. `log_files` writes the files.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

import msgspec

from seaway.core.records import Answered, RecordRules
from seaway.monitor.logs.log_files import LogFiles
from seaway.monitor.sinks import Block, RecordPaths, Takes
from seaway.wire import ecs, status, trace_context

DATASET: Final = "seaway.request"
FILE_BYTES: Final = 16 * 1024 * 1024
FILES: Final = 4
_GRPC: Final = "grpc"


class Logged(enum.StrEnum):
    """Which requests get a line: those that failed (5xx), those and the ones that the recorder draws, or all."""

    FAILURES = "failures"
    SAMPLE = "sample"
    ALL = "all"


_TAKES: Final[dict[Logged, Takes]] = {
    Logged.FAILURES: "failures",
    Logged.SAMPLE: "sample and failures",
    Logged.ALL: "all",
}


class RequestLogSink:
    """See `sinks.Sink`. A slot's files take at most `files` times `file_bytes`; the oldest go first."""

    name = "request_log"

    def __init__(
        self,
        directory: Path,
        paths: RecordPaths,
        logged: Logged = Logged.FAILURES,
        file_bytes: int = FILE_BYTES,
        files: int = FILES,
    ) -> None:
        """`directory` is HOME/log; it is made with the first line."""
        self.takes = _TAKES[logged]
        self._logged = logged
        self._slot = paths.slot
        self._files = LogFiles(directory, paths.slot, paths.pid, file_bytes, files)
        self._times = ecs.Timestamps()

    def wants(self, rules: RecordRules) -> bool:
        return self._logged is Logged.ALL

    def take(self, block: Block) -> int:
        """How many got a line. Raises `OSError` where the disk does not take the lines; the file then ends with its last whole line."""
        lines = [ecs.encode(line) + b"\n" for line in self._lines(block)]
        self._files.append(lines)
        return len(lines)

    def tick(self, now_s: float) -> None:
        """Every block is written at once; only a file that somebody moved away is begun anew."""
        self._files.reopen_if_moved()

    def close(self) -> None:
        self._files.close()

    def _lines(self, block: Block) -> Iterator[ecs.Line]:
        for request in block.requests:
            known = _known(request.code, request.door == _GRPC)
            if known.failed or self._logged is not Logged.FAILURES:
                yield self._line(block, request, known)

    def _line(self, block: Block, request: Answered, known: _Known) -> ecs.Line:
        subject = block.subject
        took_s = request.ended_s - request.received_s
        parent = trace_context.parse_traceparent(request.traceparent)
        own = None if parent is None else trace_context.child(parent, request.request_id, request.received_s)
        return ecs.Line(
            at=self._times.text(block.base_s + request.ended_s),
            level=known.level,
            message=f"{subject.endpoint} r{subject.revision} {known.said} after {took_s * 1e3:.3f} ms",
            version=ecs.VERSION,
            service=ecs.SERVICE,
            dataset=DATASET,
            kind="event",
            category=("web",),
            type=known.type,
            outcome=known.outcome,
            duration_ns=max(0, round(took_s * 1e9)),
            request_id=request.request_id.decode("ascii"),
            status_code=known.http,
            trace_id=None if own is None else own.trace_id,
            span_id=None if own is None else own.span_id,
            error_code=known.error,
            endpoint=subject.endpoint,
            revision=subject.revision,
            digest=subject.digest,
            ref=subject.ref,
            door=request.door,
            chosen=request.chosen.value,
            grpc_status=known.grpc,
            worker=self._slot,
            caller=request.caller,
            rows=request.rows,
            batch_rows=request.batch_rows,
            queue_s=request.queue_s,
            run_s=request.run_s,
            cpu_s=request.cpu_s,
            sample_rate=1.0 if known.failed else block.rate,
        )


class _Known(msgspec.Struct, frozen=True):
    """What a line says of a code; `http` and `grpc` are the status that the client saw."""

    level: Literal["info", "warn", "error"]
    said: str
    type: tuple[str, ...]
    outcome: Literal["success", "failure", "unknown"]
    http: int | None
    grpc: str | None
    error: str | None
    failed: bool


@functools.cache  # codes are few: those of `core.errors`, and the statuses of what was answered well
def _known(code: str, grpc: bool) -> _Known:
    found = status.STATUS.get(code)
    if found is None:
        http = None if grpc or not code.isdigit() else int(code)
        well = http is None or http < 400
        return _Known(
            level="info" if well else "warn",
            said=f"answered {code}",
            type=("access",),
            outcome="success" if well else "failure",
            http=http,
            grpc=code if grpc else None,
            error=None,
            failed=http is not None and http >= 500,
        )
    failed = found.http >= 500
    return _Known(
        level="error" if failed else "warn",
        said=f"refused with {code}",
        type=("access", "error"),
        outcome="unknown" if code == "cancelled" else "failure",
        http=None if grpc else found.http,
        grpc=found.grpc if grpc else None,
        error=code,
        failed=failed,
    )

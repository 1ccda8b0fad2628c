"""Log lines in the Elastic Common Schema: the form that the workers' log and the request log share.

Every field has one place here, with its type in Elasticsearch, so that lines and index template cannot differ.
Ordered as the ECS logging specification asks (https://github.com/elastic/ecs-logging: time, level, message first).
"""

from __future__ import annotations

import datetime
import math
from typing import Final, Literal

import msgspec

VERSION: Final = "8.11.0"
SERVICE: Final = "seaway"
_MILLISECOND_S: Final = 1e-3

FIELDS: Final[dict[str, tuple[str, str]]] = {
    "at": ("@timestamp", "date"),
    "level": ("log.level", "keyword"),
    "message": ("message", "match_only_text"),
    "version": ("ecs.version", "keyword"),
    "service": ("service.name", "keyword"),
    "dataset": ("event.dataset", "keyword"),
    "kind": ("event.kind", "keyword"),
    "category": ("event.category", "keyword"),
    "type": ("event.type", "keyword"),
    "outcome": ("event.outcome", "keyword"),
    "duration_ns": ("event.duration", "long"),
    "request_id": ("http.request.id", "keyword"),
    "status_code": ("http.response.status_code", "long"),
    "trace_id": ("trace.id", "keyword"),
    "span_id": ("span.id", "keyword"),
    "error_code": ("error.code", "keyword"),
    "error_type": ("error.type", "keyword"),
    "error_stack_trace": ("error.stack_trace", "wildcard"),
    "endpoint": ("seaway.endpoint", "keyword"),
    "revision": ("seaway.revision", "long"),
    "digest": ("seaway.digest", "keyword"),
    "ref": ("seaway.version", "keyword"),
    "door": ("seaway.door", "keyword"),
    "chosen": ("seaway.chosen", "keyword"),
    "grpc_status": ("seaway.grpc_status", "keyword"),
    "worker": ("seaway.worker", "long"),
    "caller": ("seaway.caller", "keyword"),
    "rows": ("seaway.rows", "long"),
    "batch_rows": ("seaway.batch_rows", "long"),
    "queue_s": ("seaway.queue_s", "float"),
    "run_s": ("seaway.run_s", "float"),
    "cpu_s": ("seaway.cpu_s", "float"),
    "sample_rate": ("seaway.sample_rate", "float"),
}
"""By attribute of `Line`: the field's name and its type in Elasticsearch."""


class Line(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    gc=False,
    rename={attribute: name for attribute, (name, _) in FIELDS.items()},
):
    """One line. It has no place for a path, a query, a header or a payload: those hold what callers wrote."""

    at: str
    level: Literal["info", "warn", "error"]
    message: str
    version: str
    service: str
    dataset: str
    kind: Literal["event"] | None = None
    category: tuple[str, ...] = ()
    type: tuple[str, ...] = ()
    outcome: Literal["success", "failure", "unknown"] | None = None
    duration_ns: int | None = None
    request_id: str | None = None
    status_code: int | None = None
    trace_id: str | None = None
    span_id: str | None = None
    error_code: str | None = None
    error_type: str | None = None
    error_stack_trace: str | None = None
    endpoint: str | None = None
    revision: int | None = None
    digest: str | None = None
    ref: str | None = None
    door: str | None = None
    chosen: str | None = None
    grpc_status: str | None = None
    worker: int | None = None
    caller: str | None = None
    rows: int | None = None
    batch_rows: int | None = None
    queue_s: float | None = None
    run_s: float | None = None
    cpu_s: float | None = None
    sample_rate: float | None = None


def encode(line: Line) -> bytes:
    """One line of JSON, without its end; lone surrogates, which JSON cannot carry, become `?`."""
    try:
        return _ENCODER.encode(line)
    except UnicodeEncodeError:
        sendable = line.message.encode("utf-8", "replace").decode()
        return _ENCODER.encode(msgspec.structs.replace(line, message=sendable))


_ENCODER: Final = msgspec.json.Encoder()


class Timestamps:
    """Times as ECS writes them, to the millisecond; of one second after the other it is quick. On one thread."""

    def __init__(self) -> None:
        self._second_s = -1
        self._text = ""

    def text(self, at_s: float) -> str:
        """Such as `2026-11-22T09:00:00.250Z`; `at_s` counts from 1970."""
        millis = math.floor(at_s / _MILLISECOND_S + 0.5)
        second_s, millis = divmod(millis, 1000)
        if second_s != self._second_s:
            self._second_s = second_s
            self._text = datetime.datetime.fromtimestamp(second_s, tz=datetime.UTC).strftime(
                "%Y-%m-%dT%H:%M:%S"
            )
        return f"{self._text}.{millis:03d}Z"

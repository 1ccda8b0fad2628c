"""Spans by OTLP (HTTP, protobuf) to any OpenTelemetry collector, with OpenTelemetry's own exporter (extra `otel`).

The Spans are finished when they come, so they become the SDK's `ReadableSpan`s without a tracer. The SDK's exporter
blocks and retries for seconds; it does that on a thread of its own, behind a queue of bounded size. Headers (such as a
key), certificates and compression are read by the SDK from its `OTEL_EXPORTER_OTLP_…` variables.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Sequence
from typing import Final

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, TraceFlags, TraceState
from opentelemetry.trace.status import Status, StatusCode

from seaway.core.spans import Span, SpanKind

_QUEUE_SPANS: Final = 8192
_BATCH_SPANS: Final = 512
_EVERY_S: Final = 1.0
_TIMEOUT_S: Final = 5.0
_CLOSE_S: Final = 1.0
_PATH: Final = "/v1/traces"
_KINDS: Final = {SpanKind.SERVER: trace.SpanKind.SERVER, SpanKind.INTERNAL: trace.SpanKind.INTERNAL}


class OtlpSpanExporter:
    """`core.spans.SpanExporter`. Starts a thread; a collector that is away costs the spans, which are counted."""

    def __init__(self, url: str, resource: dict[str, str], version: str) -> None:
        """`url` is the collector's base, such as http://127.0.0.1:4318; `/v1/traces` is added where it is missing."""
        # The library says once per try that the collector is away. The count of lost spans says it, and floods no log.
        library = logging.getLogger("opentelemetry")
        library.addHandler(logging.NullHandler())
        library.propagate = False
        base = url.rstrip("/")
        self._exporter = OTLPSpanExporter(base if base.endswith(_PATH) else base + _PATH, timeout=_TIMEOUT_S)
        self._resource = Resource.create(dict(resource))
        self._scope = InstrumentationScope("seaway", version)
        self._queue: deque[Span] = deque()
        self._wake = threading.Condition()
        self._closing = False
        self._exported = 0
        self._dropped = 0
        self._thread = threading.Thread(target=self._run, name="seaway-spans", daemon=True)
        self._thread.start()

    @property
    def exported(self) -> int:
        return self._exported

    @property
    def dropped(self) -> int:
        return self._dropped

    def export(self, spans: Sequence[Span]) -> None:
        """Queue them; what finds no room is dropped, and the oldest stay."""
        with self._wake:
            room = 0 if self._closing else max(0, _QUEUE_SPANS - len(self._queue))
            self._queue.extend(spans[:room])
            self._dropped += max(0, len(spans) - room)
            if len(self._queue) >= _BATCH_SPANS:
                self._wake.notify()

    def close(self) -> None:
        """Send what is queued, for at most a second; what is left then is dropped."""
        with self._wake:
            if self._closing:
                return
            self._closing = True
            self._wake.notify()
        self._thread.join(_CLOSE_S)
        # A retry that is waited for ends at once. The library gives the method no types.
        self._exporter.shutdown()  # type: ignore[no-untyped-call]
        with self._wake:
            self._dropped += len(self._queue)
            self._queue.clear()
        self._thread.join(_CLOSE_S)

    def _run(self) -> None:
        while True:
            with self._wake:
                if len(self._queue) < _BATCH_SPANS and not self._closing:
                    self._wake.wait(_EVERY_S)
                batch = [self._queue.popleft() for _ in range(min(_BATCH_SPANS, len(self._queue)))]
                if not batch and self._closing:
                    return
            if batch:
                self._send(batch)

    def _send(self, batch: list[Span]) -> None:
        sent = False
        try:
            found = self._exporter.export([self._readable(span) for span in batch])
            sent = found is SpanExportResult.SUCCESS
        except Exception:  # noqa: BLE001 - the edge of a thread: whatever the library raises, only these spans are lost
            sent = False
        with self._wake:
            if sent:
                self._exported += len(batch)
            else:
                self._dropped += len(batch)

    def _readable(self, span: Span) -> ReadableSpan:
        trace_id, state = int(span.trace_id, 16), TraceState(list(span.state))
        flags = TraceFlags(span.flags)
        own = SpanContext(
            trace_id, int(span.span_id, 16), is_remote=False, trace_flags=flags, trace_state=state
        )
        parent = None
        if span.parent_id is not None:
            parent = SpanContext(trace_id, int(span.parent_id, 16), span.remote, flags, state)
        return ReadableSpan(
            name=span.name,
            context=own,
            parent=parent,
            resource=self._resource,
            attributes=span.attributes,
            kind=_KINDS[span.kind],
            status=Status(StatusCode.ERROR if span.error else StatusCode.UNSET, span.error),
            start_time=span.start_ns,
            end_time=span.end_ns,
            instrumentation_scope=self._scope,
        )


def make(url: str, instance: str, version: str) -> OtlpSpanExporter:
    """An exporter that names this process as instance `instance` of the service `seaway`."""
    resource = {"service.name": "seaway", "service.instance.id": instance, "service.version": version}
    return OtlpSpanExporter(url, resource, version)

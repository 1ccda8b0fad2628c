"""Traces of requests: which are sampled, and what their spans say. A Sink that wiring makes only where `otlp` is set.

Parent-based: a client that sends a `traceparent` has decided by its sampled flag; the others are drawn at a rate. Which
they are is decided on the event loop, so that no other request is held. The spans are made when all is over, of times
that are measured anyway, so a request in flight pays nothing for being traced.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from seaway.core.records import Answered
from seaway.core.spans import Attribute, Span, SpanExporter, SpanKind
from seaway.monitor.sinks import Block, Subject, Takes
from seaway.wire import metric_names, status, trace_context
from seaway.wire.prometheus import Family, Sample
from seaway.wire.trace_context import TraceContext

MOST_PER_S: Final = 200
"""Requests of one worker that are traced in a second: to make and to encode their spans takes 2 to 3 % of a core."""
_GRPC: Final = "grpc"
_PLAIN: Final = 55
_ODD: Final = b"13579bdf"
_GRPC_NAMES: Final = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip
"""By their numbers, from 0."""


class SpanSink:
    """`monitor.sinks.Sink`: a server span for each sampled request, with its time in the queue and in the model.

    Attributes follow OpenTelemetry's semantic conventions (HTTP, RPC), Seaway's own begin with `seaway.`. Payloads,
    URLs, callers and messages of errors are not among them.
    """

    name = "spans"
    takes: Takes = "all"

    def __init__(self, exporter: SpanExporter, sample: float, random: np.random.Generator) -> None:
        """`sample` (0 to 1) is the share of the requests without a `traceparent` that begin a trace here."""
        self._exporter = exporter
        self._below = round(sample * 2**32)
        self._random = random
        self._left = MOST_PER_S
        self._unmade = 0

    def picks(self, request: Answered) -> bool:
        """Whether a request may be sampled; `take` reads its `traceparent` to the letter. The same whenever asked."""
        given = request.traceparent
        if given is None:
            return self._drawn(request)
        # With an even last digit its client does not sample it, or it is invalid, and then drawn like one without.
        return len(given) != _PLAIN or given[-1] in _ODD or self._drawn(request)

    def take(self, block: Block) -> None:
        """Make and hand over the spans of those requests of a block that are sampled."""
        spans: list[Span] = []
        for request, parent in self._sampled(block):
            if self._left > 0:
                self._left -= 1
                spans += _spans(block, request, parent, self._random)
            else:
                self._unmade += 3 if request.batch_rows else 1
        if spans:
            self._exporter.export(spans)

    def tick(self, now_s: float) -> None:
        """A new second, in which as many may be traced again; the exporter keeps its own time."""
        self._left = MOST_PER_S

    def close(self) -> None:
        """Send what is left."""
        self._exporter.close()

    def families(self, labels: dict[str, str]) -> Iterator[Family]:
        """What became of the spans, for `/metrics`."""
        family = metric_names.SPANS.family()
        dropped = self._exporter.dropped + self._unmade
        for outcome, count in (("exported", self._exporter.exported), ("dropped", dropped)):
            family.samples.append(Sample({"outcome": outcome, **labels}, count))
        yield family

    def _sampled(self, block: Block) -> Iterator[tuple[Answered, TraceContext | None]]:
        """The sampled requests, each with the span of its client, None where it sent none that is valid."""
        for request in filter(self.picks, block.requests):
            parent = trace_context.parse_traceparent(request.traceparent)
            if self._drawn(request) if parent is None else parent.sampled:
                yield request, parent

    def _drawn(self, request: Answered) -> bool:
        """By a hash with a key of this process (Python's own of bytes): no client makes ids that are always drawn."""
        return self._below > 0 and hash((request.request_id, request.received_s)) & 0xFFFFFFFF < self._below


def _spans(
    block: Block, request: Answered, parent: TraceContext | None, random: np.random.Generator
) -> Iterator[Span]:
    received_s = request.received_s
    if parent is None:
        own = TraceContext(random.bytes(16).hex(), random.bytes(8).hex(), trace_context.SAMPLED)
        state: tuple[tuple[str, str], ...] = ()
    else:
        own = trace_context.child(parent, request.request_id, received_s)
        state = trace_context.parse_tracestate(request.header("tracestate"))
    start_ns = _ns(block.base_s, received_s)
    end_ns = max(_ns(block.base_s, request.ended_s), start_ns)
    code = status.STATUS.get(request.code)
    fault = code is not None and code.http >= 500
    yield Span(
        name=f"predict {block.subject.endpoint}",
        kind=SpanKind.SERVER,
        trace_id=own.trace_id,
        span_id=own.span_id,
        parent_id=None if parent is None else parent.span_id,
        remote=parent is not None,
        flags=own.flags,
        state=state,
        start_ns=start_ns,
        end_ns=end_ns,
        attributes=_attributes(block.subject, request, code),
        error=request.code if fault else None,
    )
    if request.batch_rows == 0:
        return
    run_ns = min(_ns(block.base_s, received_s + request.queue_s), end_ns)
    done_ns = min(_ns(block.base_s, received_s + request.queue_s + request.run_s), end_ns)
    batch: dict[str, Attribute] = {"seaway.batch_rows": request.batch_rows, "seaway.cpu_s": request.cpu_s}
    for name, from_ns, to_ns, attributes in (
        ("queue", start_ns, run_ns, {}),
        ("predict", run_ns, done_ns, batch),
    ):
        part = trace_context.inner(own, name)
        yield Span(
            name=name,
            kind=SpanKind.INTERNAL,
            trace_id=part.trace_id,
            span_id=part.span_id,
            parent_id=own.span_id,
            remote=False,
            flags=part.flags,
            state=state,
            start_ns=from_ns,
            end_ns=to_ns,
            attributes=attributes,
        )


def _attributes(subject: Subject, request: Answered, code: status.Status | None) -> dict[str, Attribute]:
    found: dict[str, Attribute] = {
        "seaway.endpoint": subject.endpoint,
        "seaway.revision": subject.revision,
        "seaway.digest": subject.digest,
        "seaway.version": subject.ref,
        "seaway.door": request.door,
        "seaway.chosen": request.chosen.value,
        "seaway.request_id": request.request_id.decode("ascii", "replace"),
        "seaway.rows": request.rows,
    }
    if request.door == _GRPC:
        found["rpc.system"] = _GRPC
        found["rpc.grpc.status_code"] = _GRPC_NAMES.index("OK" if code is None else code.grpc)
    else:
        found["http.request.method"] = "POST"
        if code is not None or request.code.isdigit():
            found["http.response.status_code"] = int(request.code) if code is None else code.http
    if code is not None:
        found["error.type"] = request.code
    return found


def _ns(base_s: float, at_s: float) -> int:
    """In two parts: a float of seconds since 1970 is only good to a quarter of a microsecond."""
    return round(base_s * 1e9) + round(at_s * 1e9)

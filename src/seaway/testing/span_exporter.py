"""A SpanExporter in memory, and the conformance suite that it and every adapter passes (for authors of exporters).

A test parametrised over `CASES` runs each case on a fresh exporter, once with a collector and once without:

    @pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
    def test_my_exporter(case, my_exporter):
        case(my_exporter)
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Final

from seaway.core.spans import Span, SpanExporter, SpanKind


class KeptSpans:
    """See `core.spans.SpanExporter`; `spans` are those that were exported."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.dropped = 0
        self.closed = False
        self._lock = threading.Lock()

    @property
    def exported(self) -> int:
        return len(self.spans)

    def export(self, spans: Sequence[Span]) -> None:
        with self._lock:
            if self.closed:
                self.dropped += len(spans)
            else:
                self.spans += spans

    def close(self) -> None:
        self.closed = True


def make_span(span_id: str = "00f067aa0ba902b7", error: str | None = None) -> Span:
    """A server span below a client's, of four milliseconds."""
    return Span(
        name="predict prices",
        kind=SpanKind.SERVER,
        trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
        span_id=span_id,
        parent_id="b7ad6b7169203331",
        remote=True,
        flags=1,
        state=(("vendor", "42"),),
        start_ns=1_700_000_000_000_000_000,
        end_ns=1_700_000_000_004_000_000,
        attributes={"seaway.endpoint": "prices", "seaway.rows": 7, "seaway.cpu_s": 0.5, "shared": True},
        error=error,
    )


def every_span_is_counted_once_all_is_closed(exporter: SpanExporter) -> None:
    exporter.export([make_span(f"{number:016x}") for number in range(1, 101)])
    exporter.close()
    assert exporter.exported + exporter.dropped == 100


def nothing_is_no_span(exporter: SpanExporter) -> None:
    exporter.export([])
    exporter.close()
    assert (exporter.exported, exporter.dropped) == (0, 0)


def what_comes_after_the_close_is_dropped(exporter: SpanExporter) -> None:
    exporter.close()
    exporter.close()
    exporter.export([make_span()])
    assert (exporter.exported, exporter.dropped) == (0, 1)


def several_threads_may_export(exporter: SpanExporter) -> None:
    threads = [threading.Thread(target=lambda: exporter.export([make_span()] * 50)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    exporter.close()
    assert exporter.exported + exporter.dropped == 400


CASES: Final[tuple[Callable[[SpanExporter], None], ...]] = (
    every_span_is_counted_once_all_is_closed,
    nothing_is_no_span,
    what_comes_after_the_close_is_dropped,
    several_threads_may_export,
)

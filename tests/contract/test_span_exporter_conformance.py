"""One suite on the fake and on the OTLP exporter, with a receiver and without."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from ports import free_port
from seaway.adapters.traces import otlp
from seaway.core.spans import SpanExporter
from seaway.testing.span_exporter import CASES, KeptSpans, make_span

TAKEN: list[tuple[str, bytes]] = []


class Taking(http.server.BaseHTTPRequestHandler):
    """Takes whatever comes, as a collector does."""

    def do_POST(self) -> None:
        TAKEN.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[str]:
    TAKEN.clear()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Taking) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_the_fake(case: Callable[[SpanExporter], None]) -> None:
    case(KeptSpans())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_otlp(case: Callable[[SpanExporter], None], collector: str) -> None:
    exporter = otlp.make(collector, "host-0", "0.1.0")
    case(exporter)
    assert exporter.exported or case.__name__ in (
        "nothing_is_no_span",
        "what_comes_after_the_close_is_dropped",
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_f09_otlp_without_a_collector(case: Callable[[SpanExporter], None]) -> None:
    exporter = otlp.make(f"http://127.0.0.1:{free_port()}", "host-0", "0.1.0")
    case(exporter)
    assert exporter.exported == 0


def test_otlp_says_which_process_of_which_service_it_is(collector: str) -> None:
    exporter = otlp.make(f"{collector}/", "host-0-99", "0.1.0")
    exporter.export([make_span()])
    exporter.close()
    ((path, body),) = TAKEN
    (found,) = ExportTraceServiceRequest.FromString(body).resource_spans
    said = {attribute.key: attribute.value.string_value for attribute in found.resource.attributes}
    assert path == "/v1/traces"
    assert (said["service.name"], said["service.instance.id"]) == ("seaway", "host-0-99")
    assert (said["service.version"], found.scope_spans[0].scope.name) == ("0.1.0", "seaway")

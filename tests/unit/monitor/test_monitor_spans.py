"""Which requests are traced, and what their spans say."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from engine_fakes import FakeClock
from recorder_fakes import Ended, handle, recorder, tell

from seaway.core.records import Chosen, RecordRules
from seaway.core.spans import Span, SpanKind
from seaway.core.tensors import DType, Signature, Tensors, TensorSpec
from seaway.monitor.sinks import Block, Subject
from seaway.monitor.telemetry.spans import MOST_PER_S, SpanSink
from seaway.testing.span_exporter import KeptSpans

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED = f"00-{TRACE}-{SPAN}-01".encode()
UNSAMPLED = f"00-{TRACE}-{SPAN}-00".encode()
SIGNATURE = Signature((TensorSpec("x", DType.FP32, (-1, 3)),), (TensorSpec("y", DType.FP32, (-1, 1)),))
SUBJECT = Subject("prices", 3, "sha256:ab", "prices:v3", SIGNATURE, None, RecordRules())


@dataclass
class Asked:
    """One ended request, as a door shows it (`core.records.Answered`)."""

    traceparent: bytes | None = None
    code: str = "200"
    door: str = "predict"
    headers: dict[str, bytes] = field(default_factory=dict)
    request_id: bytes = b"r-1"
    endpoint: str = "prices"
    caller: str = "caller-of-the-secret"
    rows: int = 2
    batch_rows: int = 8
    received_s: float = 100.0
    ended_s: float = 100.010
    queue_s: float = 0.002
    run_s: float = 0.005
    cpu_s: float = 0.001
    tensors: Tensors = field(default_factory=dict)
    outputs: Tensors | None = None
    chosen: Chosen = Chosen.SPLIT

    def header(self, name: str) -> bytes | None:
        return self.headers.get(name)


def trace(*requests: Asked, sample: float = 0.0) -> list[Span]:
    kept = KeptSpans()
    sink = SpanSink(kept, sample, np.random.default_rng(5))
    for begin in range(0, len(requests), MOST_PER_S):
        part = requests[begin : begin + MOST_PER_S]
        sink.take(Block(SUBJECT, part, len(part), len(part), 1.0, 1_700_000_000.0))
        sink.tick(begin)
    return kept.spans


def test_a_sampled_request_becomes_three_spans_of_its_clients_trace() -> None:
    server, queue, predict = trace(Asked(SAMPLED))
    assert {span.trace_id for span in (server, queue, predict)} == {TRACE}
    assert (server.parent_id, server.remote, server.kind) == (SPAN, True, SpanKind.SERVER)
    assert {queue.parent_id, predict.parent_id} == {server.span_id}
    assert [span.name for span in (server, queue, predict)] == ["predict prices", "queue", "predict"]
    start = 1_700_000_100 * 10**9
    assert (server.start_ns, server.end_ns) == (start, start + 10_000_000)
    assert (queue.start_ns, queue.end_ns) == (start, start + 2_000_000)
    assert (predict.start_ns, predict.end_ns) == (start + 2_000_000, start + 7_000_000)
    assert server.attributes["http.response.status_code"] == 200
    assert server.attributes["seaway.revision"] == 3
    assert predict.attributes["seaway.batch_rows"] == 8


def test_the_client_decides_for_its_own_requests() -> None:
    assert trace(Asked(UNSAMPLED), sample=1.0) == []
    assert trace(Asked(None)) == []
    assert len(trace(Asked(SAMPLED))) == 3


def test_requests_without_a_trace_are_drawn_at_the_rate_and_begin_one_each() -> None:
    asked = [Asked(request_id=b"r-%d" % number) for number in range(10_000)]
    roots = [s for s in trace(*asked, sample=0.1) if s.kind is SpanKind.SERVER]
    assert 850 < len(roots) < 1150
    assert len({span.trace_id for span in roots}) == len(roots)
    assert all(span.parent_id is None and span.flags == 1 for span in roots)


def test_an_invalid_traceparent_is_as_none() -> None:
    invalid = [Asked(f"ff-{TRACE}-{SPAN}-01".encode()) for _ in range(100)]
    assert trace(*invalid) == []
    found = trace(*invalid, sample=1.0)
    assert len(found) == 300
    assert TRACE not in {span.trace_id for span in found}


def test_the_same_request_id_twice_gives_two_spans() -> None:
    found = trace(Asked(SAMPLED), Asked(SAMPLED, received_s=101.0, ended_s=101.1))
    assert len({span.span_id for span in found}) == 6


@pytest.mark.parametrize(
    ("code", "door", "attribute", "value", "error"),
    [
        ("invalid_json", "oip", "http.response.status_code", 400, None),
        ("overloaded", "oip", "http.response.status_code", 503, "overloaded"),
        ("deadline_exceeded", "grpc", "rpc.grpc.status_code", 4, "deadline_exceeded"),
        ("wrong_shape", "grpc", "rpc.grpc.status_code", 3, None),
        ("OK", "grpc", "rpc.grpc.status_code", 0, None),
    ],
)
def test_only_what_is_our_fault_is_an_error(
    code: str, door: str, attribute: str, value: int, error: str | None
) -> None:
    (server,) = trace(Asked(SAMPLED, code=code, door=door, batch_rows=0))
    assert server.attributes[attribute] == value
    assert server.error == error
    assert server.attributes.get("error.type") == (None if code == "OK" else code)


def test_w12_no_payload_header_or_caller_is_in_a_span() -> None:
    secret = np.array([["4111-1111-1111-1111"]], dtype=object)
    headers = {
        "authorization": b"Bearer 4111",
        "tracestate": b"vendor=42",
        "referer": b"https://x/?card=4111",
    }
    request = Asked(SAMPLED, headers=headers, tensors={"card": secret}, outputs={"y": secret})
    found = trace(request)
    text = repr(found)
    assert "4111" not in text and "secret" not in text
    assert found[0].state == (("vendor", "42"),)


def test_spans_are_counted_for_metrics_and_the_exporter_is_closed() -> None:
    kept = KeptSpans()
    sink = SpanSink(kept, 0.0, np.random.default_rng(5))
    sink.take(Block(SUBJECT, [Asked(SAMPLED)], 1, 2, 1.0, 0.0))
    kept.dropped = 4
    (family,) = sink.families({"worker": "0"})
    assert {s.labels["outcome"]: s.value for s in family.samples} == {"exported": 3, "dropped": 4}
    sink.close()
    assert kept.closed


def test_in_a_second_only_so_many_requests_are_traced_and_the_others_are_counted() -> None:
    kept = KeptSpans()
    sink = SpanSink(kept, 0.0, np.random.default_rng(5))
    block = Block(SUBJECT, [Asked(SAMPLED) for _ in range(MOST_PER_S + 10)], 1, 1, 1.0, 0.0)
    sink.take(block)
    (family,) = sink.families({})
    assert [s.value for s in family.samples] == [3 * MOST_PER_S, 30]
    sink.tick(1.0)
    sink.take(block)
    assert len(kept.spans) == 2 * 3 * MOST_PER_S


def test_what_may_be_sampled_is_known_before_anything_is_held() -> None:
    sink = SpanSink(KeptSpans(), 0.5, np.random.default_rng(5))
    asked = [Asked(request_id=b"r-%d" % number) for number in range(1000)]
    picked = [sink.picks(request) for request in asked]
    assert picked == [sink.picks(request) for request in asked]
    assert 400 < sum(picked) < 600
    by_flag = SpanSink(KeptSpans(), 0.0, np.random.default_rng(5))
    assert [by_flag.picks(Asked(sent)) for sent in (SAMPLED, UNSAMPLED, None)] == [True, False, False]


def test_one_request_id_over_and_over_is_drawn_each_time_anew() -> None:
    sink = SpanSink(KeptSpans(), 0.5, np.random.default_rng(5))
    picked = [sink.picks(Asked(request_id=b"always", received_s=100.0 + at / 7)) for at in range(1000)]
    assert 400 < sum(picked) < 600


def test_a_recorder_holds_only_what_is_sampled(tmp_path: Path) -> None:
    clock, kept = FakeClock(), KeptSpans()
    one = recorder(tmp_path, clock, [SpanSink(kept, 0.0, np.random.default_rng(5))])

    async def scenario() -> None:
        one.begin()
        revision = handle(clock)
        for number in range(3000):
            request = Ended({"y": np.ones(1, np.float32)}, ended_s=clock.at_s)
            request.traceparent = (SAMPLED, UNSAMPLED, None)[number % 3] if number < 9 else None
            tell(one, revision, request)
        clock.at_s += 1.25
        await one.settled()

    asyncio.run(scenario())
    one.close()
    assert len(kept.spans) == 9
    families = {family.name: family for family in one.families({})}
    held = {
        sample.labels["outcome"]: sample.value
        for sample in families["seaway_recorder_requests_total"].samples
    }
    assert held == {"kept": 3, "dropped": 0}
    assert sum(sample.value for sample in families["seaway_requests_total"].samples) == 3000

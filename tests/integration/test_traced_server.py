"""Traces of a real server: `seaway serve` with `otlp` set, and a real OTLP receiver that gets its clients' traces."""

from __future__ import annotations

import asyncio
import functools
import http.client
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import grpc_serving
import pytest
from serve_process import until

from ports import free_port
from server import linear_model

oteltap = pytest.importorskip("oteltap")
pytest.importorskip("opentelemetry.sdk")

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SECRET = "4111-1111-1111-1111"

pytestmark = pytest.mark.slow


@pytest.fixture
def addresses(tmp_path: Path) -> Iterator[tuple[int, int, int]]:
    """The ports of a server (HTTP, gRPC) and of the receiver that it is told of; the receiver is not there yet."""
    model = linear_model(tmp_path / "prices.onnx", 2.0)
    port, grpc_port, collector = free_port(), free_port(), free_port()
    environment = {**os.environ, "SEAWAY_OTLP": f"http://127.0.0.1:{collector}", "SEAWAY_TRACE_SAMPLE": "0"}
    words = ["-m", "seaway", "serve", str(model), "--name", "prices", "--http", f"127.0.0.1:{port}"]
    words += ["--grpc", f"127.0.0.1:{grpc_port}"]
    with (tmp_path / "serve.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, *words], env=environment, stdout=log, stderr=log)

    def answers() -> bool:
        assert process.poll() is None, (tmp_path / "serve.log").read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0 and ask(port, "00") == 200

    try:
        until(answers)
        yield port, grpc_port, collector
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


told: dict[str, str | None] = {}
"""What the last answer's `traceresponse` said, by the flags that were sent."""


def ask(port: int, flags: str, body: str = "[[1, 2]]") -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {
        "content-type": "application/json",
        "x-request-id": f"r-{flags}",
        "traceparent": f"00-{TRACE}-{SPAN}-{flags}",
        "tracestate": "vendor=42",
    }
    try:
        connection.request("POST", f"/predict/prices?card={SECRET}", body, headers)
        answer = connection.getresponse()
        told[flags] = answer.headers["traceresponse"]
        return answer.status
    finally:
        connection.close()


def ask_grpc(port: int, flags: str, values: list[float]) -> dict[str, str]:
    """The metadata that the answer ends with; the status is OK where the values fit."""
    client = grpc_serving.Client(f"127.0.0.1:{port}")
    with client.channel:
        request = grpc_serving.OIP.ModelInferRequest(model_name="prices")
        tensor = request.inputs.add(name="x", datatype="FP32", shape=[1, len(values)])
        tensor.contents.fp32_contents.extend(values)
        metadata = (
            ("x-request-id", f"g-{flags}"),
            ("traceparent", f"00-{TRACE}-{SPAN}-{flags}"),
            ("card", SECRET),
        )
        try:
            return client.call("ModelInfer", request, metadata=metadata)[1]
        except grpc.RpcError as error:
            return dict(error.trailing_metadata())


def received(collector: int, *asking: Callable[[], object]) -> list:
    """Ask one after the other, and return the spans that came, once there are all of one request."""

    async def receive() -> list:
        settings = oteltap.OtelTapHttpProtobufReceiverSettings(http_port=collector)
        async with oteltap.OtelTapHttpProtobufReceiver(settings) as receiver:
            found: list = []

            async def collect() -> None:
                async for span in receiver.stream_traces():
                    found.append(span)
                    if {"predict prices", "queue", "predict"} <= {one.name for one in found}:
                        return

            collecting = asyncio.ensure_future(collect())
            await asyncio.sleep(0)
            for one in asking:
                await asyncio.to_thread(one)
            await asyncio.wait_for(collecting, 60)
            return found

    return asyncio.run(receive())


def test_a_receiver_gets_the_spans_of_its_clients_trace_and_w12_nothing_of_payload_or_query(
    addresses: tuple[int, int, int],
) -> None:
    port, _, collector = addresses
    asking = [functools.partial(ask, port, flags) for flags in ("00", "01")]
    spans = {span.name: span for span in received(collector, *asking)}
    assert set(spans) == {"predict prices", "queue", "predict"}
    server = spans["predict prices"]
    assert {span.trace_id.hex() for span in spans.values()} == {TRACE}
    assert (server.parent_span_id.hex(), server.trace_state) == (SPAN, "vendor=42")
    assert told == {"00": None, "01": f"00-{TRACE}-{server.span_id.hex()}-01"}
    assert {spans[name].parent_span_id for name in ("queue", "predict")} == {server.span_id}
    said = {attribute.key: attribute.value for attribute in server.attributes}
    assert said["seaway.request_id"].string_value == "r-01"
    assert said["http.response.status_code"].int_value == 200
    assert server.start_time_unix_nano <= spans["predict"].start_time_unix_nano
    assert spans["predict"].end_time_unix_nano <= server.end_time_unix_nano
    assert SECRET not in "".join(map(str, spans.values()))


def test_a_grpc_call_has_spans_too_and_its_client_is_told_of_them(addresses: tuple[int, int, int]) -> None:
    _, port, collector = addresses
    said: list[dict[str, str]] = []

    def call(flags: str, *values: float) -> None:
        said.append(ask_grpc(port, flags, list(values)))

    asking = [
        functools.partial(call, flags, *values) for flags, *values in (("00", 1.0, 2.0), ("01", 1.0, 2.0))
    ]
    spans = {span.name: span for span in received(collector, *asking)}
    server = spans["predict prices"]
    assert server.trace_id.hex() == TRACE and server.parent_span_id.hex() == SPAN
    assert "traceresponse" not in said[0]
    assert said[1]["traceresponse"] == f"00-{TRACE}-{server.span_id.hex()}-01"
    attributes = {attribute.key: attribute.value for attribute in server.attributes}
    assert attributes["seaway.request_id"].string_value == "g-01"
    assert attributes["rpc.grpc.status_code"].int_value == 0
    assert SECRET not in "".join(map(str, spans.values()))
    refused = ask_grpc(port, "01", [1.0, 2.0, 3.0])
    assert refused["seaway-code"] == "wrong_shape" and refused["traceresponse"].startswith(f"00-{TRACE}-")


def test_f09_without_its_receiver_a_server_answers_as_ever(addresses: tuple[int, int, int]) -> None:
    port, _, _ = addresses
    assert {ask(port, "01") for _ in range(50)} == {200}
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        assert 'seaway_spans_total{outcome="exported",worker="0"} 0' in answer.read().decode()

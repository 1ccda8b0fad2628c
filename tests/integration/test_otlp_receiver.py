"""Spans on their way to a real OTLP receiver, and to one that is not there."""

from __future__ import annotations

import asyncio
import select
import socket
import time

import pytest
from serve_process import until

from ports import free_port
from seaway.testing.span_exporter import make_span

otlp = pytest.importorskip("seaway.adapters.traces.otlp")
oteltap = pytest.importorskip("oteltap")


def connected(server: socket.socket) -> bool:
    return bool(select.select([server], [], [], 0)[0])


def test_a_real_receiver_gets_the_span_in_its_clients_trace() -> None:
    async def receive() -> object:
        port = free_port()
        async with oteltap.OtelTapHttpProtobufReceiver(
            oteltap.OtelTapHttpProtobufReceiverSettings(http_port=port)
        ) as receiver:
            exporter = otlp.make(f"http://127.0.0.1:{port}", "host-0", "0.1.0")
            waiting = asyncio.ensure_future(receiver.await_trace(lambda s: True, timeout=60))
            await asyncio.to_thread(exporter.export, [make_span(error="overloaded")])
            got = await waiting
            await asyncio.to_thread(exporter.close)
            assert (exporter.exported, exporter.dropped) == (1, 0)
            return got

    got, sent = asyncio.run(receive()), make_span()
    assert (got.trace_id.hex(), got.span_id.hex(), got.parent_span_id.hex()) == (
        sent.trace_id,
        sent.span_id,
        sent.parent_id,
    )
    assert (got.name, got.kind, got.trace_state) == ("predict prices", 2, "vendor=42")
    assert (got.start_time_unix_nano, got.end_time_unix_nano) == (sent.start_ns, sent.end_ns)
    assert (got.status.code, got.status.message) == (2, "overloaded")
    assert {a.key for a in got.attributes} == set(sent.attributes)


def test_f09_a_collector_that_is_away_costs_the_spans_and_nothing_else(capfd) -> None:
    exporter = otlp.make(f"http://127.0.0.1:{free_port()}", "host-0", "0.1.0")
    block = [make_span()] * 1000
    began_s = time.perf_counter()
    for _ in range(20):
        exporter.export(block)
    took_s = time.perf_counter() - began_s
    assert took_s < 60.0, "export waited for the collector"
    assert 20_000 - 8192 - 512 <= exporter.dropped <= 20_000 - 8192
    exporter.close()
    assert (exporter.exported, exporter.dropped) == (0, 20_000)
    exporter.close()
    assert capfd.readouterr() == ("", "")


def test_f09_a_collector_that_takes_and_never_answers_holds_up_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(otlp, "_TIMEOUT_S", 600.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        exporter = otlp.make(f"http://127.0.0.1:{silent.getsockname()[1]}", "host-0", "0.1.0")
        exporter.export([make_span()] * 1000)
        until(lambda: connected(silent))
        began_s = time.perf_counter()
        exporter.export([make_span()])
        exporter.close()
        assert time.perf_counter() - began_s < 60.0
        assert exporter.exported == 0


def test_f09_a_collector_that_comes_back_gets_what_is_sent_from_then_on() -> None:
    port = free_port()
    exporter = otlp.make(f"http://127.0.0.1:{port}", "host-0", "0.1.0")
    exporter.export([make_span()])

    async def receive() -> None:
        settings = oteltap.OtelTapHttpProtobufReceiverSettings(http_port=port)
        async with oteltap.OtelTapHttpProtobufReceiver(settings) as receiver:
            waiting = asyncio.ensure_future(receiver.await_trace(lambda s: True, timeout=60))
            exporter.export([make_span()])
            await waiting
            await asyncio.to_thread(until, lambda: exporter.exported >= 1)
            await asyncio.to_thread(exporter.close)

    asyncio.run(receive())
    assert exporter.exported + exporter.dropped == 2

"""Answers piece by piece, and the drain that counts them."""

from __future__ import annotations

import asyncio

import pytest
from transport_wire import GET, Bench, run

CHUNKS = b"transfer-encoding: chunked\r\n"


def test_pieces_are_chunks_and_the_end_is_marked() -> None:
    async def test() -> None:
        bench = Bench()
        connection, wire = bench.connect()
        connection.data_received(GET)
        stream = bench.application.asked[0].open_stream(200, b"x-a: b\r\n")
        assert bench.server.streams == 1
        stream.write(b"hello")
        stream.write(b"")
        stream.end()
        stream.end()
        head, _, body = wire.sent.partition(b"\r\n\r\n")
        assert CHUNKS in head + b"\r\n" and b"x-a: b" in head
        assert body == b"5\r\nhello\r\n0\r\n\r\n"
        assert bench.server.streams == 0
        assert bench.application.done == bench.application.asked
        with pytest.raises(RuntimeError):
            stream.write(b"more")

    run(test())


def test_a_stream_waits_for_its_turn() -> None:
    async def test() -> None:
        bench = Bench()
        connection, wire = bench.connect()
        connection.data_received(GET * 3)
        first, second, third = bench.application.asked
        third.respond(200, b"", b"third")
        stream = second.open_stream(200, b"")
        turns: list[bool] = []
        stream.on_writable = lambda: turns.append(stream.writable)
        stream.write(b"early")
        assert not stream.writable and wire.sent == b""
        first.respond(200, b"", b"first")
        assert turns == [True]
        assert wire.sent.endswith(b"5\r\nearly\r\n")
        stream.end()
        assert wire.sent.endswith(b"third")

    run(test())


def test_a_stream_that_ends_in_its_callback_lets_the_next_answer_out() -> None:
    async def test() -> None:
        bench = Bench()
        connection, wire = bench.connect()
        connection.data_received(GET * 3)
        first, second, third = bench.application.asked
        third.respond(200, b"", b"third")
        stream = second.open_stream(200, b"")
        stream.on_writable = stream.end
        first.respond(200, b"", b"first")
        assert wire.sent.endswith(b"third")

    run(test())


def test_a_writer_waits_while_the_client_does_not_read() -> None:
    async def test() -> None:
        bench = Bench()
        connection, _ = bench.connect()
        connection.data_received(GET)
        stream = bench.application.asked[0].open_stream(200, b"")
        await stream.drained()
        connection.pause_writing()
        assert not stream.writable
        waiting = asyncio.ensure_future(stream.drained())
        await asyncio.sleep(0)
        assert not waiting.done()
        connection.resume_writing()
        await waiting

    run(test())


def test_a_client_that_leaves_wakes_the_writer() -> None:
    async def test() -> None:
        bench = Bench()
        connection, wire = bench.connect()
        connection.data_received(GET)
        exchange = bench.application.asked[0]
        stream = exchange.open_stream(200, b"")
        connection.pause_writing()
        waiting = asyncio.ensure_future(stream.drained())
        await asyncio.sleep(0)
        connection.connection_lost(None)
        await waiting
        sent = wire.sent
        stream.write(b"dropped")
        stream.end()
        assert exchange.gone and wire.sent == sent
        assert bench.server.streams == 0

    run(test())


def test_the_end_of_input_ends_a_stream_but_not_a_plain_answer() -> None:
    async def test() -> None:
        bench = Bench()
        connection, _ = bench.connect()
        connection.data_received(GET)
        assert connection.eof_received() is True
        streaming, _ = bench.connect()
        streaming.data_received(GET)
        bench.application.asked[1].open_stream(200, b"")
        assert streaming.eof_received() is False

    run(test())


def test_the_end_of_input_ends_what_will_be_a_stream() -> None:
    async def test() -> None:
        bench = Bench()
        connection, _ = bench.connect()
        connection.data_received(GET)
        bench.application.asked[0].ends_at_eof = True
        assert connection.eof_received() is False

    run(test())


def test_a_draining_stream_does_not_close_over_the_answers_behind_it() -> None:
    async def test() -> None:
        bench = Bench()
        connection, wire = bench.connect()
        connection.data_received(GET * 2)
        bench.server.draining = True
        first, second = bench.application.asked
        first.open_stream(200, b"").end()
        assert not wire.closed and b"connection: close" not in wire.sent
        second.respond(200, b"", b"last")
        assert wire.closed and wire.sent.endswith(b"connection: close\r\n\r\nlast")

    run(test())


def test_an_aborted_stream_is_not_ended() -> None:
    async def test() -> None:
        bench = Bench()
        connection, wire = bench.connect()
        connection.data_received(GET)
        stream = bench.application.asked[0].open_stream(200, b"")
        stream.write(b"half")
        stream.abort()
        assert wire.aborted and not wire.sent.endswith(b"0\r\n\r\n")
        await asyncio.sleep(0)
        assert bench.server.streams == 0

    run(test())


def test_a_drain_waits_for_answers_and_streams_and_closes_what_is_idle() -> None:
    async def test() -> None:
        bench = Bench()
        _, idle = bench.connect()
        plain, plain_wire = bench.connect()
        plain.data_received(GET)
        streaming, stream_wire = bench.connect()
        streaming.data_received(GET)
        answer, streamed = bench.application.asked
        stream = streamed.open_stream(200, b"")
        draining = asyncio.ensure_future(bench.server.drain(0.0, 30.0))
        while not idle.closed:
            await asyncio.sleep(0)
        assert not plain_wire.closed and not stream_wire.closed
        answer.respond(200, b"", b"last")
        assert b"connection: close\r\n" in plain_wire.sent and plain_wire.closed
        await asyncio.sleep(0)
        assert not draining.done()
        stream.write(b"end")
        stream.end()
        assert stream_wire.closed and stream_wire.sent.endswith(b"0\r\n\r\n")
        await draining
        assert bench.server.connections == 0

    run(test())


def test_a_draining_connection_answers_all_that_it_was_asked() -> None:
    async def test() -> None:
        bench = Bench()
        connection, wire = bench.connect()
        connection.data_received(GET * 2)
        bench.server.draining = True
        first, second = bench.application.asked
        first.respond(200, b"", b"1")
        assert not wire.closed and b"connection: close" not in wire.sent
        second.respond(200, b"", b"2")
        assert wire.closed and b"connection: close" in wire.sent

    run(test())


def test_a_drain_breaks_what_is_left_at_its_end() -> None:
    async def test() -> None:
        bench = Bench()
        connection, wire = bench.connect()
        connection.data_received(GET)
        await bench.server.drain(0.0, 0.01)
        assert wire.aborted
        assert bench.application.asked[0].gone

    run(test())

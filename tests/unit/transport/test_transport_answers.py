"""Order, ends and back-pressure of answers."""

from __future__ import annotations

import asyncio

import pytest
from transport_wire import GET, Bench, bodies, run

from seaway.core.errors import UserError
from seaway.transport.limits import TransportLimits


def test_answers_leave_in_the_order_of_their_requests() -> None:
    async def test() -> None:
        bench = Bench()
        connection, wire = bench.connect()
        connection.data_received(GET * 3)
        first, second, third = bench.application.asked
        third.respond(200, b"", b"3")
        second.respond(200, b"", b"2")
        assert wire.sent == b""
        first.respond(200, b"", b"1")
        assert bodies(wire.sent) == [b"1", b"2", b"3"]
        assert bench.application.done == [first, second, third]

    run(test())


def test_answers_to_one_segment_are_one_write() -> None:
    async def test() -> None:
        bench = Bench()
        bench.application.answer = lambda exchange: exchange.respond(200, b"", b"ok")
        connection, wire = bench.connect()
        connection.data_received(GET * 20)
        assert wire.writes == 1
        assert bodies(wire.sent) == [b"ok"] * 20

    run(test())


def test_the_answer_has_the_status_line_the_fields_and_the_body() -> None:
    async def test() -> None:
        bench = Bench()
        connection, wire = bench.connect()
        connection.data_received(GET)
        bench.application.asked[0].respond(418, b"x-a: b\r\n", b"tea")
        date = bench.server.date_line
        assert (
            wire.sent == b"HTTP/1.1 418 I'm a Teapot\r\nx-a: b\r\n" + date + b"content-length: 3\r\n\r\ntea"
        )

    run(test())


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_of_a_bodyless_status_has_no_body_and_no_length(status: int) -> None:
    async def test() -> None:
        bench = Bench()
        connection, wire = bench.connect()
        connection.data_received(GET)
        bench.application.asked[0].respond(status, b"", b"ignored")
        assert wire.sent.endswith(b"\r\n\r\n")
        assert b"content-length" not in wire.sent

    run(test())


def test_a_second_answer_is_a_programming_error() -> None:
    async def test() -> None:
        bench = Bench()
        connection, _ = bench.connect()
        connection.data_received(GET)
        exchange = bench.application.asked[0]
        exchange.respond(200, b"", b"")
        with pytest.raises(RuntimeError):
            exchange.respond(200, b"", b"")
        with pytest.raises(RuntimeError):
            exchange.open_stream(200, b"")

    run(test())


def test_an_answer_after_the_client_left_is_dropped_and_told_once() -> None:
    async def test() -> None:
        bench = Bench()
        connection, wire = bench.connect()
        connection.data_received(GET)
        exchange = bench.application.asked[0]
        left: list[bool] = []
        exchange.on_gone = lambda: left.append(exchange.gone)
        connection.connection_lost(None)
        exchange.respond(200, b"", b"late")
        assert wire.sent == b""
        assert left == [True]
        assert bench.application.done == [exchange]
        assert bench.server.connections == 0

    run(test())


def test_the_application_holds_no_more_than_the_depth_of_the_pipeline() -> None:
    async def test() -> None:
        bench = Bench(TransportLimits(pipeline_depth=4))
        connection, wire = bench.connect()
        connection.data_received(GET * 11)
        asked = bench.application.asked
        assert len(asked) == 4
        assert not wire.reading
        answered = 0
        while answered < len(asked):
            asked[answered].respond(200, b"", b"%d" % answered)
            answered += 1
        assert bodies(wire.sent) == [b"%d" % n for n in range(11)]
        assert wire.reading

    run(test())


def test_a_deep_pipeline_of_immediate_answers_does_not_recurse() -> None:
    async def test() -> None:
        bench = Bench(TransportLimits(pipeline_depth=2))
        connection, wire = bench.connect()
        connection.data_received(GET * 5000)
        bench.application.answer = lambda exchange: exchange.respond(200, b"", b"")
        for exchange in bench.application.asked[:2]:
            exchange.respond(200, b"", b"")
        assert len(bodies(wire.sent)) == 5000

    run(test())


def test_nothing_is_asked_after_an_answer_that_closes() -> None:
    async def test() -> None:
        bench = Bench()

        def close(exchange: object) -> None:
            bench.application.asked[-1].close_after = True
            bench.application.asked[-1].respond(200, b"", b"last")

        bench.application.answer = close
        connection, wire = bench.connect()
        connection.data_received(GET * 3)
        assert len(bench.application.asked) == 1
        assert bodies(wire.sent) == [b"last"]
        assert b"connection: close\r\n" in wire.sent
        assert wire.closed

    run(test())


def test_what_is_open_behind_an_answer_that_closes_is_gone() -> None:
    async def test() -> None:
        bench = Bench()
        connection, wire = bench.connect()
        connection.data_received(GET * 3)
        first, second, third = bench.application.asked
        third.respond(200, b"", b"never sent")
        first.close_after = True
        first.respond(200, b"", b"last")
        assert second.gone and third.gone
        second.respond(200, b"", b"dropped")
        assert bodies(wire.sent) == [b"last"]
        assert wire.half_closed
        assert bench.application.done == [first, second, third]

    run(test())


def test_a_failing_application_is_answered_by_fault_and_the_connection_goes_on() -> None:
    async def test() -> None:
        bench = Bench()
        connection, wire = bench.connect()

        def fail(_: object) -> None:
            raise ZeroDivisionError

        bench.application.answer = fail
        connection.data_received(GET)
        bench.application.answer = lambda exchange: exchange.respond(200, b"", b"ok")
        connection.data_received(GET)
        assert bodies(wire.sent) == [b"fault", b"ok"]
        assert isinstance(bench.application.faults[0], ZeroDivisionError)

    run(test())


@pytest.mark.parametrize("error", [UserError("route_not_found", "no"), ZeroDivisionError()])
def test_an_error_at_the_head_is_answered_before_the_body(error: Exception) -> None:
    async def test() -> None:
        bench = Bench()
        bench.application.raises = error
        connection, wire = bench.connect()
        connection.data_received(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n")
        assert len(bodies(wire.sent)) == 1
        assert wire.half_closed and not wire.closed
        connection.data_received(b"123456789" + GET)
        assert bench.application.asked == []
        bench.sweep_in(bench.server.limits.linger_s + 1)
        assert wire.closed

    run(test())


def test_what_is_dropped_after_a_refusal_is_bounded() -> None:
    async def test() -> None:
        bench = Bench(TransportLimits(linger_bytes=1000))
        connection, wire = bench.connect()
        connection.data_received(b"garbage\r\n\r\n")
        connection.data_received(b"x" * 1001)
        assert wire.aborted

    run(test())


def test_connections_beyond_the_limit_are_refused() -> None:
    async def test() -> None:
        bench = Bench(TransportLimits(connections=1))
        bench.connect()
        _, wire = bench.connect()
        assert bench.application.refused == ["too_many_connections"]
        assert wire.sent and wire.half_closed

    run(test())


def test_reading_stops_while_the_client_does_not_read() -> None:
    async def test() -> None:
        bench = Bench()
        connection, wire = bench.connect()
        connection.pause_writing()
        assert not wire.reading
        connection.resume_writing()
        assert wire.reading

    run(test())


def test_r15_a_client_that_takes_nothing_is_broken_off_and_one_that_reads_is_not() -> None:
    async def test() -> None:
        bench = Bench(TransportLimits(write_stall_s=10))
        connection, wire = bench.connect()
        connection.data_received(GET)
        bench.application.asked[0].respond(200, b"", b"x" * 100_000)
        wire.stuck = 90_000
        for seconds in (1, 6, 10.9):
            bench.sweep_in(seconds)
        assert not wire.aborted
        wire.stuck = 80_000
        for seconds in (11.2, 16, 21):
            bench.sweep_in(seconds)
        assert not wire.aborted
        bench.sweep_in(21.5)
        assert wire.aborted

    run(test())


def test_a_pause_of_reading_is_not_held_against_the_client() -> None:
    async def test() -> None:
        bench = Bench(TransportLimits(body_idle_s=5))
        connection, wire = bench.connect()
        connection.data_received(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n1")
        connection.pause_writing()
        bench.sweep_in(100)
        connection.resume_writing()
        assert wire.sent == b""
        bench.sweep_in(6)
        assert bench.application.refused == ["request_timeout"]

    run(test())


@pytest.mark.parametrize(
    ("sent", "seconds", "code"),
    [
        (b"GET /", 10.1, "request_timeout"),
        (GET[:-2], 10.1, "request_timeout"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n1", 10.1, "request_timeout"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;", 10.1, "request_timeout"),
    ],
)
def test_r14_a_slow_request_is_refused_in_time_and_not_before(sent: bytes, seconds: float, code: str) -> None:
    async def test() -> None:
        bench = Bench()
        connection, _ = bench.connect()
        connection.data_received(sent)
        bench.sweep_in(seconds - 0.3)
        assert bench.application.refused == []
        bench.sweep_in(seconds)
        assert bench.application.refused == [code]

    run(test())


def test_an_idle_connection_is_closed_without_a_word() -> None:
    async def test() -> None:
        bench = Bench()
        _, wire = bench.connect()
        bench.sweep_in(74)
        assert not wire.closed
        bench.sweep_in(76)
        assert wire.closed and wire.sent == b""

    run(test())


def test_a_connection_that_waits_for_its_answer_is_not_idle() -> None:
    async def test() -> None:
        bench = Bench()
        connection, wire = bench.connect()
        connection.data_received(GET)
        bench.sweep_in(1000)
        assert not wire.closed

    run(test())


def test_the_connection_is_freed_when_it_is_lost() -> None:
    async def test() -> None:
        bench = Bench()
        bench.application.answer = lambda exchange: exchange.respond(200, b"", b"")
        connection, _ = bench.connect()
        connection.data_received(GET)
        connection.eof_received()
        connection.connection_lost(None)
        await asyncio.sleep(0)
        assert bench.server.connections == 0

    run(test())

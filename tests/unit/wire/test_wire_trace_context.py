"""W3C Trace Context: what is to the letter is read, everything else is as if it were not sent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seaway.wire import trace_context
from seaway.wire.trace_context import TraceContext

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SENT = f"00-{TRACE}-{SPAN}-01".encode()


def test_the_example_of_the_specification() -> None:
    found = trace_context.parse_traceparent(SENT)
    assert found == TraceContext(TRACE, SPAN, 1)
    assert found.sampled
    assert trace_context.format_traceparent(found) == SENT


@pytest.mark.parametrize(
    "given_header",
    [
        pytest.param(None, id="none"),
        pytest.param(b"", id="empty"),
        pytest.param(b"00", id="version alone"),
        pytest.param(SENT.replace(b"00-", b"ff-", 1), id="version ff"),
        pytest.param(SENT.replace(b"00-", b"0-", 1), id="version of one digit"),
        pytest.param(f"00-{'0' * 32}-{SPAN}-01".encode(), id="trace id of zeros"),
        pytest.param(f"00-{TRACE}-{'0' * 16}-01".encode(), id="span id of zeros"),
        pytest.param(SENT.upper(), id="upper case"),
        pytest.param(SENT[:-1], id="flags of one digit"),
        pytest.param(SENT + b"-more", id="more than version 00 has"),
        pytest.param(SENT.replace(b"00-", b"cc-", 1) + b"more", id="later version, no dash before more"),
        pytest.param(SENT + b"\n", id="newline"),
        pytest.param(b" " + SENT, id="space"),
        pytest.param(SENT.replace(b"4bf9", b"4bg9"), id="no hex digit"),
        pytest.param(SENT.replace(b"4bf9", "４bf9".encode()), id="full-width digit"),
        pytest.param(SENT + b", " + SENT, id="two of them, joined"),
        pytest.param(b"cc-" + SENT[3:] + b"-" + b"a" * 100_000, id="100 kB"),
        pytest.param(b"00-' OR 1=1 --", id="injection"),
    ],
)
def test_a_traceparent_that_is_not_to_the_letter_is_not_there(given_header: bytes | None) -> None:
    assert trace_context.parse_traceparent(given_header) is None


@pytest.mark.parametrize("more", [b"", b"-", b"-what-comes-later"])
def test_of_a_later_version_the_known_fields_count(more: bytes) -> None:
    later = f"cc-{TRACE}-{SPAN}-fd".encode() + more
    assert trace_context.parse_traceparent(later) == TraceContext(TRACE, SPAN, 1)


def test_unknown_flags_are_not_passed_on() -> None:
    found = trace_context.parse_traceparent(f"00-{TRACE}-{SPAN}-fe".encode())
    assert found is not None and not found.sampled
    assert trace_context.format_traceparent(found).endswith(b"-02")


@given(st.binary(max_size=80))
def test_no_bytes_raise(anything: bytes) -> None:
    trace_context.parse_tracestate(anything)
    found = trace_context.parse_traceparent(anything)
    assert found is None or trace_context.parse_traceparent(trace_context.format_traceparent(found)) == found


HEX = st.sampled_from("0123456789abcdef")
IDS = (st.text(HEX, min_size=n, max_size=n).filter(lambda text: text.strip("0")) for n in (32, 16))


@given(*IDS, st.integers(0, 3))
def test_what_is_made_reads_back(trace_id: str, span_id: str, flags: int) -> None:
    context = TraceContext(trace_id, span_id, flags)
    assert trace_context.parse_traceparent(trace_context.format_traceparent(context)) == context


def test_a_tracestate_keeps_its_order() -> None:
    given_header = b"rojo=00f067aa0ba902b7 ,\tcongo=t61rcWkgMzE, ,1a@vendor=x"
    members = trace_context.parse_tracestate(given_header)
    assert members == (("rojo", "00f067aa0ba902b7"), ("congo", "t61rcWkgMzE"), ("1a@vendor", "x"))


@pytest.mark.parametrize(
    "given_header",
    [
        pytest.param(b"a=1,a=2", id="a key twice"),
        pytest.param(b"A=1", id="upper case"),
        pytest.param(b"a", id="no value"),
        pytest.param(b"a=", id="empty value"),
        pytest.param(b"a=b=c", id="equals sign in a value"),
        pytest.param(b"a=1\r\nx-evil: 1", id="header injection"),
        pytest.param(b"a=\xff", id="no ASCII"),
        pytest.param(b"1a=x", id="a key that begins with a digit and names no vendor"),
        pytest.param(b",".join(b"k%d=v" % n for n in range(33)), id="33 members"),
        pytest.param(b"a=" + b"x" * 600, id="too long"),
    ],
)
def test_a_tracestate_that_is_not_to_the_letter_is_not_there(given_header: bytes) -> None:
    assert trace_context.parse_tracestate(given_header) == ()


def test_a_child_is_the_same_wherever_it_is_asked_for_and_differs_for_each_request() -> None:
    parent = TraceContext(TRACE, SPAN, 1)
    made = trace_context.child(parent, b"r-1", 12.5)
    assert made == trace_context.child(parent, b"r-1", 12.5)
    assert (made.trace_id, made.flags) == (TRACE, 1)
    others = {trace_context.child(parent, b"r-2", 12.5), trace_context.child(parent, b"r-1", 12.6)}
    others |= {trace_context.inner(made, "queue"), trace_context.inner(made, "predict"), parent, made}
    assert len({one.span_id for one in others}) == 6
    assert all(
        trace_context.parse_traceparent(trace_context.format_traceparent(one)) == one for one in others
    )

"""W3C Trace Context (https://www.w3.org/TR/trace-context/, level 1; level 2's flags pass): headers in and out.

Read strictly: what is not to the letter is as if it were not sent, and then a request has no trace of its client's.
"""

from __future__ import annotations

import hashlib
import os
import re
from typing import Final, NamedTuple

SAMPLED: Final = 1
_KNOWN_FLAGS: Final = 3  # sampled, and level 2's "random"
_TRACEPARENT: Final = re.compile(
    rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-[\x20-\x7e]*)?\Z"
)
_LONGEST: Final = 512
_MEMBERS: Final = 32
_MEMBER: Final = re.compile(
    rb"([a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})"
    rb"=([\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e])\Z"
)
_KEY: Final = os.urandom(16)


class TraceContext(NamedTuple):
    """A span as others name it: `trace_id` of 32 and `span_id` of 16 lower-case hex digits, neither all zeros."""

    trace_id: str
    span_id: str
    flags: int

    @property
    def sampled(self) -> bool:
        return bool(self.flags & SAMPLED)


def parse_traceparent(given: bytes | None) -> TraceContext | None:
    """What a `traceparent` says, None where it says nothing valid.

    Of versions above 00 the first four fields count, and only the flags that are known (section 4.3).
    """
    if given is None or len(given) > _LONGEST:
        return None
    found = _TRACEPARENT.match(given)
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == b"ff" or (version == b"00" and more is not None):
        return None
    if trace_id.strip(b"0") == b"" or span_id.strip(b"0") == b"":
        return None
    return TraceContext(trace_id.decode(), span_id.decode(), int(flags, 16) & _KNOWN_FLAGS)


def format_traceparent(context: TraceContext) -> bytes:
    """The header of version 00 that passes a context on."""
    return f"00-{context.trace_id}-{context.span_id}-{context.flags:02x}".encode()


def parse_tracestate(given: bytes | None) -> tuple[tuple[str, str], ...]:
    """The members of a `tracestate`, in order; empty where it is missing, malformed, too long or names one twice."""
    if given is None or len(given) > _LONGEST:
        return ()
    members: dict[str, str] = {}
    for part in given.split(b","):
        member = part.strip(b" \t")
        if not member:
            continue
        found = _MEMBER.match(member)
        if found is None or found[1].decode() in members:
            return ()
        members[found[1].decode()] = found[2].decode()
    return tuple(members.items()) if len(members) <= _MEMBERS else ()


def child(parent: TraceContext, request_id: bytes, received_s: float) -> TraceContext:
    """Our span of one request below its client's, for the `traceparent` of what is called on its behalf.

    The same in all of this process for the same request, so that nothing need be kept until its span is made; the
    flags are the parent's.
    """
    said = b"%b %b %b" % (parent.span_id.encode(), request_id, received_s.hex().encode())
    return parent._replace(span_id=_span_id(parent.trace_id, said))


def traceresponse(given: bytes | None, request_id: bytes, received_s: float) -> bytes | None:
    """The `traceresponse` (level 2) that tells a client which span its request has; None unless it is sampled."""
    parent = parse_traceparent(given)
    if parent is None or not parent.sampled:
        return None
    return format_traceparent(child(parent, request_id, received_s))


def inner(context: TraceContext, name: str) -> TraceContext:
    """A part of our own span, such as the time in the queue."""
    return context._replace(span_id=_span_id(context.trace_id, f"{context.span_id} {name}".encode()))


def _span_id(trace_id: str, said: bytes) -> str:
    """By a hash with a key of this process: no other process, and no client, makes the same."""
    return hashlib.blake2b(trace_id.encode() + said, digest_size=8, key=_KEY).hexdigest()

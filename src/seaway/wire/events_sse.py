"""Server-Sent Events: replies, and the error that ends a stream, as bytes.

The format is the "event stream" of the HTML standard, section 9.2. The doors that stream write their replies with
it; whoever runs the stream adds the error.
"""

from __future__ import annotations

import re
from typing import Final

from seaway.core.errors import SeawayError
from seaway.wire import status

CONTENT_TYPE: Final = b"text/event-stream"
_LINE_END: Final = re.compile(rb"\r\n|\r|\n")


def event(data: bytes) -> bytes:
    """One event; `data` is UTF-8. A line break inside it, of whatever kind, reaches the client as LF."""
    if b"\n" not in data and b"\r" not in data:
        return b"data: %b\n\n" % data
    return b"".join(b"data: %b\n" % line for line in _LINE_END.split(data)) + b"\n"


def error_event(error: SeawayError, request_id: str) -> bytes:
    """The last event of a stream that failed after its head was sent; its data is an `ErrorBody`."""
    return b"event: error\n" + event(status.error_body(error, request_id))

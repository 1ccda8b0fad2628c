"""Who asks, and which request it is: what clients may say of themselves over HTTP and gRPC alike.

Values come as bytes. What is no plain token is as if it were not said: it would reach logs and other headers.
"""

from __future__ import annotations

import itertools
import os
import re
from typing import Final

_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}\Z")
_CALLER: Final = re.compile(rb"[\x21-\x7e]{1,128}\Z")
_prefix: Final = os.urandom(8).hex().encode()
_numbers: Final = itertools.count(1)


def request_id(given: bytes | None) -> bytes | None:
    """The client's own `x-request-id`, None where it is no plain token."""
    return given if given is not None and _REQUEST_ID.match(given) else None


def protocol_id(given: str | None) -> bytes | None:
    """The `id` inside an Open Inference Protocol request as a request id, None where it is none or no plain token."""
    return request_id(given.encode("utf-8", "replace")) if given else None


def new_request_id() -> bytes:
    """One of our own, that no other process gives."""
    return b"%b-%x" % (_prefix, next(_numbers))


def caller(given: bytes | None) -> str | None:
    """Whom fairness counts a request for, as `seaway-caller` says; None where it says nothing usable."""
    return given.decode("ascii") if given is not None and _CALLER.match(given) else None

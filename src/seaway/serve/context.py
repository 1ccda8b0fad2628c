"""What is known of one request while it is answered."""

from __future__ import annotations

import itertools
import os
import re
from typing import Final

import msgspec
from starlette.types import Scope

_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}\Z")
_TRACEPARENT: Final = re.compile(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}\Z")
_KEY: Final = "seaway"
_prefix = os.urandom(8).hex()
_numbers = itertools.count(1)


class Context(msgspec.Struct):
    """Filled as the request is understood; the envelope reads it when the answer leaves."""

    request_id: str
    started_s: float
    traceparent: str | None = None
    door: str = "other"
    endpoint: str = ""
    revision: int | None = None
    digest: str = ""
    code: str = ""


def attach(scope: Scope, started_s: float) -> Context:
    """Make the context of a request. The client's `x-request-id` is kept if it is a plain token, else replaced."""
    request_id: str | None = None
    traceparent: str | None = None
    for name, value in scope["headers"]:
        if name == b"x-request-id" and request_id is None and _REQUEST_ID.match(value):
            request_id = value.decode("ascii")
        elif name == b"traceparent" and _TRACEPARENT.match(value):
            traceparent = value.decode("ascii")
    context = Context(request_id or f"{_prefix}-{next(_numbers):x}", started_s, traceparent)
    scope[_KEY] = context
    return context


def of(scope: Scope) -> Context:
    """The context of a request."""
    context: Context = scope[_KEY]
    return context

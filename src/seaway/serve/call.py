"""What is known of one HTTP request while it is answered: the engine's Job, and whose answer it becomes."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Mapping
from typing import Final

from seaway.core.errors import SeawayError
from seaway.core.tensors import Tensors
from seaway.engine.jobs import Job
from seaway.engine.pool import Handle
from seaway.serve.door import Answer, Door
from seaway.transport.exchange import Exchange

_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}\Z")
_CALLER: Final = re.compile(rb"[\x21-\x7e]{1,128}\Z")
_TRACEPARENT: Final = re.compile(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}\Z")
_prefix = os.urandom(8).hex().encode()
_numbers = itertools.count(1)


class Call(Job):
    """One exchange's state: filled as the request is understood, read when the answer leaves.

    `endpoint` is "" until one was found, so that metric labels stay bounded; `code` is the error's code or the status.
    """

    __slots__ = (
        "code",
        "door",
        "encode",
        "endpoint",
        "exchange",
        "handle",
        "headers",
        "label",
        "request_id",
        "version",
    )

    def __init__(self, exchange: Exchange, done: Callable[[Job], None]) -> None:
        super().__init__({}, exchange.received_s, done)
        self.exchange = exchange
        self.headers: Mapping[bytes, bytes] = dict(exchange.headers)
        given = self.headers.get(b"x-request-id")
        self.request_id: bytes = (
            given if given is not None and _REQUEST_ID.match(given) else b"%s-%x" % (_prefix, next(_numbers))
        )
        named = self.headers.get(b"seaway-caller")
        self.caller = named.decode("ascii") if named is not None and _CALLER.match(named) else exchange.peer
        self.door: Door | None = None
        self.label = "other"
        self.endpoint = ""
        self.version: int | None = None
        self.handle: Handle | None = None
        self.encode: Callable[[Tensors, str, int], Answer] | None = None
        self.code = ""

    @property
    def trace_id(self) -> str | None:
        """The trace that the client's `traceparent` names (W3C Trace Context)."""
        given = self.headers.get(b"traceparent")
        return given.split(b"-")[1].decode() if given is not None and _TRACEPARENT.match(given) else None

    def fail(self, error: SeawayError) -> None:
        """Note why there is no answer."""
        self.code = error.code

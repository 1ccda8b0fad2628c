"""What is known of one HTTP request while it is answered: the engine's Job, and whose answer it becomes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from seaway.core.records import Chosen
from seaway.core.tensors import Tensors
from seaway.engine.jobs import Job
from seaway.engine.pool import Handle
from seaway.serve import media
from seaway.serve.door import Answer, Decoded, Door
from seaway.serve.routes import Target
from seaway.transport.exchange import Exchange
from seaway.wire import identity, trace_context

_NO_TENSORS: Final[Tensors] = {}
_ONLY: Final = Chosen.ONLY


class Head:
    """What a request's head alone says; equal heads share one.

    `label` is the door's, or "other"; `taken` is whether the door takes what the headers announce.
    """

    __slots__ = ("caller", "door", "endpoint", "headers", "label", "request_id", "taken", "version")

    def __init__(self, exchange: Exchange, target: Target | None) -> None:
        headers = self.headers = dict(exchange.headers)
        self.request_id = identity.request_id(headers.get(b"x-request-id"))
        self.caller = identity.caller(headers.get(b"seaway-caller"))
        self.door: Door | None = None
        self.endpoint = ""
        self.version: int | None = None
        self.label = "other"
        self.taken = True
        if target is not None:
            self.label = target.door.name
            if exchange.method == "POST":
                self.door, self.endpoint, self.version = target
                self.taken = media.refusal(headers, target.door) is None


class Call(Job):
    """One exchange's state: filled as the request is understood, read when the answer leaves.

    `endpoint` is "" until one was found, so that metric labels stay bounded; `code` is the error's code or the status.
    """

    __slots__ = (
        "chosen",
        "code",
        "encode",
        "ended_s",
        "endpoint",
        "exchange",
        "handle",
        "head",
        "request_id",
        "running",
    )

    def __init__(self, exchange: Exchange, head: Head, done: Callable[[Job], None]) -> None:
        super().__init__(_NO_TENSORS, exchange.received_s, done, head.caller or exchange.peer)
        self.exchange = exchange
        self.head = head
        self.request_id: bytes = head.request_id or identity.new_request_id()
        self.endpoint = ""
        self.handle: Handle | None = None
        self.chosen: Chosen = _ONLY
        self.encode: Callable[[Tensors, str, int], Answer] | None = None
        self.code = ""
        self.ended_s = 0.0
        self.running = False
        """Whether the engine has it, and its handle counts it."""

    def understood(self, decoded: Decoded) -> None:
        """Take what the door read. An id in the body names the request where no header does."""
        self.tensors, self.encode, self.checked, named = decoded
        if named is not None and self.head.request_id is None:
            self.request_id = named

    @property
    def door(self) -> str:
        """The label of its door."""
        return self.head.label

    @property
    def size(self) -> int:
        """Of its body, in bytes."""
        return len(self.exchange.body)

    def header(self, name: str) -> bytes | None:
        """A header of the request, by its name in lower case."""
        return self.head.headers.get(name.encode("ascii"))

    @property
    def traceparent(self) -> bytes | None:
        """As the client sent it."""
        return self.head.headers.get(b"traceparent")

    @property
    def trace_id(self) -> str | None:
        """The trace that the client's `traceparent` names."""
        found = trace_context.parse_traceparent(self.traceparent)
        return None if found is None else found.trace_id

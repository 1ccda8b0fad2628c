"""Spans: what a trace tells of one request, and the port that takes them out of the process.

`monitor` makes them of what is known of a request, adapters write them in the collector's format.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Protocol

import msgspec

Attribute = str | int | float | bool


class SpanKind(enum.StrEnum):
    """The server's side of a request, or a part of the work inside."""

    SERVER = "server"
    INTERNAL = "internal"


class Span(msgspec.Struct, frozen=True):
    """One finished piece of work. Ids are lower-case hex (32 and 16 digits), times nanoseconds since 1970.

    `parent_id` is None for the first of a trace; `remote` says that the parent is another process's. `error` is the
    error's code where it is this server's fault. Attributes hold no payload and nothing of the URL.
    """

    name: str
    kind: SpanKind
    trace_id: str
    span_id: str
    parent_id: str | None
    remote: bool
    flags: int
    state: tuple[tuple[str, str], ...]
    start_ns: int
    end_ns: int
    attributes: dict[str, Attribute]
    error: str | None = None


class SpanExporter(Protocol):
    """Takes spans out of this process. Thread-safe."""

    @property
    def exported(self) -> int:
        """Spans that the collector has taken."""

    @property
    def dropped(self) -> int:
        """Spans that were lost: no room, or the collector did not take them."""

    def export(self, spans: Sequence[Span]) -> None:
        """Take finished spans; never blocks, and drops (and counts) what there is no room for."""

    def close(self) -> None:
        """Send what is left, for at most some seconds. Idempotent; may block so long."""

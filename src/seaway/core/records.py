"""A Record: what is known of one answered request. The data plane tells it, `monitor` keeps and reads it."""

from __future__ import annotations

import enum
from typing import Final, Protocol

import msgspec

from seaway.core.tensors import Tensors
from seaway.core.user_keys import UserKey


class RecordRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an endpoint's workers record beyond counts and summaries; part of a Route.

    `capture_percent` of the requests are kept with their payloads, without the columns and headers in `redact`, for
    `retain_s`. `subject` is a lower-case header name: whose data a request is (for erasure). `slices` are input columns by
    whose values live quality is told apart. While a rollout is `judged`, the units of its verdicts are counted apart: with
    `unit`, the first request of each user key in each turn of a rollout, whose number is `scope`.
    """

    capture_percent: float = 0.0
    redact: tuple[str, ...] = ()
    retain_s: float = 30 * 86_400.0
    subject: str | None = None
    judged: bool = False
    unit: UserKey | None = None
    scope: int = 0
    slices: tuple[str, ...] = ()


class Chosen(enum.StrEnum):
    """Why a request went to its revision."""

    ONLY = "only"
    """There was no other."""
    SPLIT = "split"
    SLICE = "slice"
    """The split too: its user is one of those by whom the stable revision is compared with itself (`core.traffic.Split`)."""
    NAMED = "named"
    """The client asked for it."""
    FLAG = "flag"
    FALLBACK = "fallback"
    """Another revision could not answer it."""


SAMPLED: Final = (Chosen.SPLIT, Chosen.SLICE, Chosen.ONLY)
"""What is a sample of the traffic, so what the units of a verdict may be."""


class MirroredAnswer(msgspec.Struct, frozen=True):
    """What a revision said to a request that was mirrored to it: the output that `core.answers` reads, its other ones left
    out; None where it failed on the request."""

    request_id: bytes
    rows: int
    outputs: Tensors | None

    @property
    def size(self) -> int:
        """In bytes; of texts their pointers alone."""
        return len(self.request_id) + sum([array.nbytes for array in (self.outputs or {}).values()])


class Answered(Protocol):
    """One request that has ended, as a door shows it. Read on the recorder's thread, so nothing changes it any more.

    `code` is the error's code, or the HTTP status (or "OK") of what was answered well. `outputs` is None where it failed
    or was streamed. `batch_rows` is 0 where it did not run. Times are in seconds: `received_s` and `ended_s` on the
    monotonic scale, `queue_s` from its head to its run, `run_s` of its batch, `cpu_s` what its rows took of the batch's
    processor time.
    """

    code: str
    endpoint: str
    caller: str
    rows: int
    batch_rows: int
    received_s: float
    ended_s: float
    queue_s: float
    run_s: float
    tensors: Tensors
    outputs: Tensors | None
    chosen: Chosen

    @property
    def cpu_s(self) -> float: ...

    @property
    def size(self) -> int:
        """Of its body, in bytes."""

    @property
    def door(self) -> str: ...

    @property
    def request_id(self) -> bytes: ...

    @property
    def traceparent(self) -> bytes | None:
        """As the client sent it, unchecked."""

    def header(self, name: str) -> bytes | None:
        """A header of the request, or its gRPC metadata, by its name in lower case."""

"""Where the recorder's thread puts what it was told: each Sink keeps one kind of record.

Sinks are made by wiring, for one worker. All their methods are called on the recorder's thread, one at a time: they may
block for a disk, and may raise `OSError`, which the recorder counts as dropped requests and reports once; whatever they
do is never felt by a request.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, Protocol, runtime_checkable

import msgspec

from seaway.core.answers import AnswerSpec
from seaway.core.records import Answered, RecordRules
from seaway.core.tensors import Signature
from seaway.wire.prometheus import Family


class Subject(msgspec.Struct, frozen=True):
    """The revision whose requests a block holds. `signature` is its bundle's."""

    endpoint: str
    revision: int
    digest: str
    ref: str
    signature: Signature
    answer: AnswerSpec | None
    rules: RecordRules


class Block(msgspec.Struct, frozen=True):
    """Requests of one revision that ended one after the other.

    `seen` is how many requests ended, with `seen_rows` answered rows; `rate` the share of them that was drawn into
    `requests`, each by itself and by chance; 1.0 is all. `base_s` turns the monotonic times of the requests into seconds since 1970 when added.
    `units` says of each request that was drawn whether a rollout's verdicts count it (of failures beyond those: False); it is
    empty where nothing is judged.
    """

    subject: Subject
    requests: Sequence[Answered]
    seen: int
    seen_rows: int
    rate: float
    base_s: float
    units: Sequence[bool] = ()


Takes = Literal["all", "sample", "failures", "sample and failures"]


class Sink(Protocol):
    """Keeps one kind of record."""

    name: str
    """The label of its drops in `/metrics`."""
    takes: Takes
    """What its blocks hold: all requests (for sinks that choose by themselves, and cheaply), those drawn at the rate that
    the recorder's budget allows, every request that failed (5xx; others may be among them), or both."""

    def take(self, block: Block) -> int | None:
        """How many of the requests it kept; None means all of them."""

    def tick(self, now_s: float) -> None:
        """About once a second, `now_s` since 1970: write what is due to be written."""

    def close(self) -> None:
        """Write what is left. Idempotent."""


@runtime_checkable
class Choosing(Sink, Protocol):
    """A Sink that chooses by itself among all requests; `takes` is "all"."""

    def wants(self, rules: RecordRules) -> bool:
        """Whether it looks at the requests of an endpoint with these rules: only then are they held for it."""


@runtime_checkable
class Picking(Sink, Protocol):
    """A Sink that says of each request by itself whether it is held; `takes` is "all". It may be given others too, that
    are held for a Choosing one."""

    def picks(self, request: Answered) -> bool:
        """On the event loop, for every request: a fraction of a microsecond, and no lock."""


@runtime_checkable
class Counted(Protocol):
    """A Sink that has metrics of its own."""

    def families(self, labels: dict[str, str]) -> Iterable[Family]:
        """What it counts, with `labels` on every series. Any thread."""


class RecordPaths(msgspec.Struct, frozen=True):
    """Where one worker's sinks write: `root` is HOME/records (in `seaway serve`, RUN/records), by endpoint inside.

    Every file that a worker writes carries `writer` in its name: no two processes ever write the same file.
    """

    root: str
    slot: int
    pid: int

    @property
    def writer(self) -> str:
        return f"{self.slot}-{self.pid}"

    def endpoint(self, name: str) -> str:
        """The directory of one endpoint's records; made by whoever writes there first, mode 0700."""
        return f"{self.root}/{name}"

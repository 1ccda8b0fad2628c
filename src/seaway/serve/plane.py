"""The data plane of one worker: what its doors share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterator, Set
from typing import Protocol

import msgspec

from seaway.core.agreement import Agreed
from seaway.core.bundles import Digest
from seaway.core.ports import Clock
from seaway.core.records import Answered, MirroredAnswer
from seaway.core.traffic import RoutingTable, without
from seaway.engine.pool import Handle
from seaway.engine.router import Router
from seaway.serve.mirror import Mirrors
from seaway.wire.prometheus import Family


class Recorder(Protocol):
    """Told of every request that has ended; on the event loop's thread, and it never blocks."""

    def answered(self, handle: Handle, request: Answered, door: str) -> None:
        """A request to a revision, which may hold no model: then it was not ready."""

    def unrouted(self, door: str, endpoint: str, code: str, took_s: float) -> None:
        """A request for which no revision was found; `endpoint` is "" where there is none either."""

    def compared(self, handle: Handle, found: Agreed, user: bytes | None) -> None:
        """A request that the revision of `handle` was to answer too, its answer thrown away; `user` is its key where units are
        by user, else None."""

    def mirrored(self, handle: Handle, told: MirroredAnswer) -> None:
        """What the revision of `handle` said to a mirrored request, where its answers are wanted."""

    def rules_changed(self) -> None:
        """The routing table was swapped."""

    async def settled(self) -> None:
        """Return once all that ended before this call is counted."""

    def pages(self, after_s: int, endpoint: str | None) -> list[bytes]:
        """Any thread: the ledger's seconds after `after_s` (since 1970): `core.ledger.Page` as JSON, one for each revision."""

    def families(self, labels: dict[str, str]) -> Iterator[Family]:
        """Any thread: what is counted, with `labels` on every series."""

    @property
    def rate(self) -> float:
        """The share of the requests that is drawn for whatever is not counted exactly; 1.0 is all."""

    @property
    def faults(self) -> tuple[str, ...]:
        """What cannot be kept now, and why; a line each."""

    def begin(self) -> None:
        """The worker serves: called once, on its running loop."""

    def close(self) -> None:
        """Keep what is left. Blocks for the disk, for some seconds at most. Idempotent."""

    def drop_retired(self, alive: Collection[tuple[str, str]]) -> None:
        """Forget what belongs to none of the (endpoint, revision) in `alive`, once every reader has seen it."""


class DataPlane(msgspec.Struct):
    """Built by the worker, read by every door. `draining` is set once, when the worker is told to stop."""

    router: Router
    recorder: Recorder
    clock: Clock
    metrics: Callable[[], Awaitable[str]]
    """Prometheus text of all workers."""
    version: str
    """Seaway's own version, for those who ask."""
    traced: bool = False
    """Whether requests are traced: a sampled client is told the span of its request (`traceresponse`)."""
    memory_limit_bytes: int | None = None
    """Beyond which the supervisor replaces this worker."""
    feedback: Counter[str] = msgspec.field(default_factory=Counter)
    """Outcomes that clients reported here, by what became of them."""
    fallbacks: Counter[tuple[str, str, str]] = msgspec.field(default_factory=Counter)
    """Requests that another revision answered, by endpoint, the revision that could not, and the code of its failure."""
    draining: bool = False
    mirrors: Mirrors | None = None
    """Shadow traffic; None where this process cannot start processes for it."""

    absent: frozenset[Digest] = frozenset()
    """Models that are being loaded, or moved into a process of their own, for no fault of theirs: others answer meanwhile."""
    whole: RoutingTable | None = None
    """The table that was committed last, with what is absent; None before the first."""

    def commit(self, table: RoutingTable) -> None:
        """Route by this table, and count and mirror as it says. Raises as `Router.commit`."""
        self.router.commit(without(table, self.absent))
        self.whole = table
        self.recorder.rules_changed()
        if self.mirrors is not None:
            self.mirrors.rules_changed()

    def set_absent(self, digests: Set[Digest]) -> None:
        """Route by the same table, with other models absent."""
        self.absent = frozenset(digests)
        if self.whole is not None:
            self.commit(self.whole)

    def retire(self, endpoint: str, number: int) -> None:
        """Drop a revision after its last request; raises as `Router.retire`.

        What was passed on from it is told until the endpoint's next one is retired, so that every scraper sees it.
        """
        self.router.retire(endpoint, number)
        for key in [key for key in self.fallbacks if key[0] == endpoint and int(key[1]) < number]:
            del self.fallbacks[key]


class GrpcDoor(Protocol):
    """The gRPC server as the worker sees it: its library is imported only where it is asked for."""

    async def start(self, address: str) -> int:
        """Listen at HOST:PORT; returns the port."""

    async def drain(self, seconds: float) -> None:
        """Take no more calls, and wait so long for those that run."""

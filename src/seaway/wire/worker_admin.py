"""What control says to a data worker: one JSON line asks, one JSON line answers, over RUN/worker-<slot>.sock.

A new table arrives in two phases. *Prepare* loads and warms one revision (a real prediction must pass) and is
idempotent; *commit* swaps the whole table and is refused unless all that it names is loaded; *retire* drops a
revision after its last request. The socket RUN/worker-<slot>.fd hands its listening socket to whoever connects
(SCM_RIGHTS), so that a new supervisor can adopt the socket of a worker that outlived the old one.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from seaway.core.bundles import Digest
from seaway.core.ledger import Page
from seaway.core.traffic import Limits, RoutedRevision, RoutingTable


class Observe(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="op", tag="observe"):
    """Ask what the worker holds; answered with `Observed`."""


class Prepare(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="op", tag="prepare"):
    """Load and warm a revision; answered when its first real prediction passed or failed."""

    endpoint: str
    revision: RoutedRevision
    limits: Limits


class Commit(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="op", tag="commit"):
    """Swap the routing table. A table older than the worker's own is refused (`generation_conflict`)."""

    table: RoutingTable


class Retire(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="op", tag="retire"):
    """Drop a revision that the table no longer names, after its last request. Unknown ones are fine."""

    endpoint: str
    number: int


class Metrics(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="op", tag="metrics"):
    """Ask for the worker's own counters, in Prometheus text; merged by whichever worker is scraped."""


class Seconds(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="op", tag="seconds"):
    """Ask for the ledger's seconds after `after_s` (since 1970), of one endpoint or all, at most of the last 15 minutes.

    The second that is being filled is not among them; one that is over comes at most a tick of the worker later.
    """

    after_s: int
    endpoint: str | None = None


Request = Observe | Prepare | Commit | Retire | Metrics | Seconds


class Execution(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a revision's requests are run in one worker, added up since it was loaded.

    `lane` is `inline` or `thread`; one run of n rows takes `a_s` + `b_s` * n seconds, as learned. `queue_s` is
    summed over the requests that ran, `run_s` over the batches.
    """

    lane: str
    requests: int
    batches: int
    rows: int
    queue_s: float
    run_s: float
    refused: int
    late: int
    a_s: float
    b_s: float


class LoadedRevision(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A revision in the worker's memory. A failed load stays listed, with its error, until it is retired.

    Loading has three phases: `verify_s` opens the bundle and checks every byte, `load_s` builds the model, `warm_s` makes
    the first predictions. `memory_bytes` is what the worker grew by meanwhile. `unmirrored`: requests are to be mirrored to
    it, and none are, since the worker has no process for that now. `faults` counts how often the process of its own, where it
    has one, ended by its own fault.
    """

    endpoint: str
    number: int
    digest: Digest
    ready: bool
    in_flight: int = 0
    verify_s: float = 0.0
    load_s: float = 0.0
    warm_s: float = 0.0
    memory_bytes: int = 0
    isolated: bool = False
    unmirrored: bool = False
    faults: int = 0
    execution: Execution | None = None
    error_code: str | None = None
    error: str | None = None


class Observed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a worker holds.

    `recorder_rate` is the share of the requests that is drawn for summaries, provenance and logs; `recorder_faults` name
    what cannot be kept now, and why.
    """

    slot: int
    pid: int
    generation: int
    ready: bool
    draining: bool
    loaded: tuple[LoadedRevision, ...]
    rss_bytes: int = 0
    recorder_rate: float = 1.0
    recorder_faults: tuple[str, ...] = ()


class Failure(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A `SeawayError` on its way over the socket."""

    code: str
    message: str
    hint: str | None = None


class Reply(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The answer: `failure` is None when the request was carried out."""

    failure: Failure | None = None
    observed: Observed | None = None
    metrics: str | None = None
    pages: tuple[Page, ...] = ()


def socket_path(run: Path, slot: int) -> Path:
    """Where a worker takes these requests."""
    return run / f"worker-{slot}.sock"


def socket_paths(run: Path) -> list[Path]:
    """All of them; whether somebody listens there is another question."""
    return sorted(run.glob("worker-*.sock"))


def door_path(run: Path, slot: int) -> Path:
    """Where a worker hands its listening socket over."""
    return run / f"worker-{slot}.fd"


def box_path(run: Path, slot: int) -> Path:
    """A worker's black box (`engine.blackbox`)."""
    return run / f"worker-{slot}.box"

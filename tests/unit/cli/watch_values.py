"""Fixed values for the tests of `seaway watch`: what control told, and the seconds of revisions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from rich.console import Console, RenderableType

from seaway.control import views
from seaway.core.answers import AnswerKind
from seaway.core.bundles import Digest
from seaway.core.deployments import Phase, Revision, deployment_of
from seaway.core.events import Event, EventKind, timestamp
from seaway.core.ledger import Counts, Page, Second, count_latency, sparse
from seaway.wire.worker_admin import Execution, LoadedRevision

NOW_S = 1_800_000_000.25
THROUGH_S = 1_799_999_997


def digest(number: int) -> Digest:
    return Digest(f"sha256:{number:064x}")


def revision(number: int, endpoint: str = "prices") -> Revision:
    ref = f"prices:v{number}"
    return Revision(endpoint, number, digest(number), ref, deployment_of(endpoint, ref), "2026-11-22", "ada")


def status(
    live: int | None = 3, endpoint: str = "prices", revisions: Sequence[int] = (3,), **changes: object
) -> views.EndpointStatus:
    values: dict[str, object] = {
        "endpoint": endpoint,
        "phase": Phase.LIVE,
        "generation": 7,
        "desired": live,
        "live": live,
        "previous": None,
        "rollback": False,
        "warm_until": None,
        "failed": None,
        "reason": None,
        "revisions": tuple(revision(n, endpoint) for n in revisions),
    }
    return views.EndpointStatus(**{**values, **changes})  # type: ignore[arg-type]


def execution(requests: int = 1000, batches: int = 250, rows: int = 2000, seconds: float = 1.0) -> Execution:
    return Execution("inline", requests, batches, rows, seconds, seconds / 2, 0, 0, 1e-3, 1e-4)


def loaded(number: int, run: Execution | None = None, endpoint: str = "prices") -> LoadedRevision:
    return LoadedRevision(
        endpoint, number, digest(number), ready=True, in_flight=2, memory_bytes=40 << 20, execution=run
    )


def worker(slot: int, *found: LoadedRevision) -> views.WorkerStatus:
    return views.WorkerStatus(slot, 1000 + slot, True, False, 7, 180 << 20, loaded=found)


def told(
    *pages: Page,
    endpoint: views.EndpointStatus | None = None,
    workers: Sequence[views.WorkerStatus] | None = None,
    missing: Sequence[views.MissingWorker] = (),
    kind: AnswerKind = AnswerKind.CLASS,
    now_s: float = NOW_S,
) -> views.Seconds:
    shown = endpoint or status()
    return views.Seconds(
        endpoint=shown,
        now_s=now_s,
        through_s=THROUGH_S + round(now_s - NOW_S),
        pages=pages,
        workers=tuple(workers if workers is not None else [worker(0, loaded(3, execution()))]),
        missing=tuple(missing),
        answers={r.number: kind for r in shown.revisions},
    )


def counts(
    requests: int, took_ms: float = 2.0, answers: Sequence[tuple[str, int]] = (), **more: int
) -> Counts:
    latency = sparse(count_latency(np.full(requests, took_ms / 1e3))) if requests else ()
    return Counts(finished=requests, rows=requests, latency=latency, answers=tuple(answers), **more)


def page(number: int, seconds: int, of_second: Callable[[int], Counts], endpoint: str = "prices") -> Page:
    """The last `seconds` of a revision; `of_second` gets 0 for the newest."""
    return Page(
        endpoint,
        number,
        digest(number),
        tuple(Second(THROUGH_S - ago, of_second(ago)) for ago in reversed(range(seconds))),
    )


def event(seq: int, kind: EventKind, number: int, message: str = "", ago_s: float = 60.0) -> Event:
    return Event(
        at=timestamp(NOW_S - ago_s),
        kind=kind,
        principal="ada",
        endpoint="prices",
        revision=number,
        ref=f"prices:v{number}",
        message=message,
        seq=seq,
    )


EVENTS = (
    event(1, EventKind.DEPLOY_REQUESTED, 3, ago_s=3805.0),
    event(2, EventKind.REVISION_LIVE, 3, ago_s=3800.0),
    event(3, EventKind.REVISION_FAILED, 4, "its first prediction failed: bad axis", ago_s=65.0),
)


def drawn(picture: RenderableType, width: int) -> list[str]:
    """The lines of a picture as plain text."""
    console = Console(width=width, color_system=None, force_terminal=False, legacy_windows=False)
    with console.capture() as capture:
        console.print(picture)
    return [line.rstrip() for line in capture.get().splitlines()]

"""What `seaway watch` shows, computed from what control told: pure, so that it can be tested with fixed values.

`cli.watch` polls and keeps a `Memory`, `cli.watch_view` draws a `Watch`. Its fields are also the document of `--json`.
"""

from __future__ import annotations

import datetime
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from seaway.cli import watch_answers
from seaway.cli.watch_answers import Answers
from seaway.control import views
from seaway.control.rollouts.views import RolloutStatus
from seaway.core import ledger
from seaway.core.answers import AnswerKind
from seaway.core.events import Event, EventKind
from seaway.wire.worker_admin import Execution, LoadedRevision

NOW_S: Final = 10
RECENT_S: Final = 300
TRAFFIC_S: Final = 120
_EVENTS: Final = 8

Runs = Mapping[tuple[int, int, int], Execution]
"""By slot, process and revision: what a worker has added up since it loaded the revision."""


class Window(msgspec.Struct, frozen=True):
    """The requests of the last `seconds` whole seconds; all but the rate and the quantiles are exact counts."""

    seconds: int
    requests: int
    per_s: float
    failed: int
    overdue: int
    refused: int
    rejected: int
    cancelled: int
    invalid: int
    rows: int
    p50_ms: float | None
    p90_ms: float | None
    p99_ms: float | None


class Running(msgspec.Struct, frozen=True):
    """How a revision is run, over all workers: mean rows in a batch, mean times of a request's wait and a batch's run.

    The means are of the last seconds, or of all since loading (`since_loading`) where nothing earlier is known; None
    where nothing ran.
    """

    lane: str
    in_flight: int
    memory_bytes: int
    batch_rows: float | None
    queue_ms: float | None
    run_ms: float | None
    since_loading: bool


class RevisionView(msgspec.Struct, frozen=True):
    """One revision. `share_percent` is its part of the requests of `now`; `ref` is None where it is no longer known."""

    number: int
    digest: str
    ref: str | None
    live: bool
    share_percent: float
    now: Window
    recent: Window
    running: Running | None
    answers: Answers | None


class WorkerView(msgspec.Struct, frozen=True):
    """A worker; `in_flight` counts this endpoint's requests alone."""

    slot: int
    pid: int
    state: str
    memory_bytes: int
    in_flight: int


class Watch(msgspec.Struct, frozen=True):
    """An endpoint at a moment. `traffic` and `bad` count the requests of each second, the last being `through_s`.

    `sampled_percent` of the requests are looked at for summaries, provenance and logs, in the worker that looks at the
    least; `unkept` says what cannot be kept of them, and why. `missing` names workers whose figures are not in it. `rollout` is
    the last one, `opening` the versions whose bundles are being opened. `silent_since_s` is when the server stopped to answer, and
    `silence` what was said then: all else is as it was before.
    """

    endpoint: str
    phase: str
    live: int | None
    live_since_s: float | None
    desired: int | None
    failed: int | None
    reason: str | None
    now_s: float
    through_s: int
    traffic: tuple[int, ...]
    bad: tuple[int, ...]
    now: Window
    recent: Window
    revisions: tuple[RevisionView, ...]
    workers: tuple[WorkerView, ...]
    sampled_percent: float = 100.0
    failing: tuple[str, ...] = ()
    unkept: tuple[str, ...] = ()
    missing: tuple[views.MissingWorker, ...] = ()
    events: tuple[Event, ...] = ()
    rollout: RolloutStatus | None = None
    opening: tuple[str, ...] = ()
    silent_since_s: float | None = None
    silence: str | None = None

    @classmethod
    def from_pages(
        cls,
        told: views.Seconds,
        pages: Sequence[ledger.Page],
        events: Sequence[Event] = (),
        before: Runs | None = None,
    ) -> Watch:
        """What to show. `told` is control's last answer, `pages` all seconds that are known of the endpoint, `before`
        what the workers had run some seconds ago."""
        status, through_s = told.endpoint, told.through_s
        sums = {(page.revision, page.digest): _sums(page, through_s) for page in pages}
        now = _window(ledger.merge_counts(found.now for found in sums.values()), NOW_S)
        return cls(
            endpoint=status.endpoint,
            phase=status.phase.value,
            live=status.live,
            live_since_s=_live_since_s(events, status.live),
            desired=status.desired,
            failed=status.failed,
            reason=status.reason,
            now_s=told.now_s,
            through_s=through_s,
            traffic=_series(pages, through_s, lambda found: found.finished),
            bad=_series(pages, through_s, lambda found: found.bad),
            now=now,
            recent=_window(ledger.merge_counts(found.recent for found in sums.values()), RECENT_S),
            revisions=_revisions(told, sums, now.requests, before),
            workers=tuple(_worker(w) for w in sorted(told.workers, key=lambda w: w.slot)),
            sampled_percent=100.0 * min((w.recorder_rate for w in told.workers), default=1.0),
            failing=tuple(dict.fromkeys(text for w in told.workers for text in w.failing)),
            unkept=tuple(dict.fromkeys(text for w in told.workers for text in w.recorder_faults)),
            missing=told.missing,
            events=tuple(events[-_EVENTS:]),
            rollout=told.rollout,
            opening=status.opening,
        )


class Memory:
    """What the polls have told so far; holds five minutes of seconds at most."""

    def __init__(self) -> None:
        self.asked_after_s = 0
        """The second to ask on from: all before it is complete."""
        self._seconds: dict[tuple[int, str], dict[int, ledger.Second]] = {}
        self._runs: deque[tuple[float, Runs]] = deque()

    def take(self, told: views.Seconds) -> None:
        """Keep the answer to a question for the seconds after `asked_after_s`.

        Where a worker was missing, the same seconds are asked for again, and what comes then replaces them.
        """
        oldest_s = told.through_s - RECENT_S
        for key, seconds in list(self._seconds.items()):
            kept = {at_s: s for at_s, s in seconds.items() if oldest_s < at_s <= self.asked_after_s}
            self._seconds[key] = kept
        for page in told.pages:
            seconds = self._seconds.setdefault((page.revision, page.digest), {})
            seconds.update((second.at_s, second) for second in page.seconds if second.at_s > oldest_s)
        self._seconds = {key: seconds for key, seconds in self._seconds.items() if seconds}
        if not told.missing:
            self.asked_after_s = max(self.asked_after_s, told.through_s)
        self._runs.append((told.now_s, runs_of(told)))
        while len(self._runs) > 2 and self._runs[1][0] <= told.now_s - NOW_S:
            self._runs.popleft()

    def pages(self, endpoint: str) -> tuple[ledger.Page, ...]:
        """All seconds that are kept."""
        return tuple(
            ledger.Page(endpoint, revision, digest, tuple(seconds[at_s] for at_s in sorted(seconds)))
            for (revision, digest), seconds in sorted(self._seconds.items())
        )

    @property
    def before(self) -> Runs | None:
        """What had been run about `NOW_S` ago; None at the first poll."""
        return self._runs[0][1] if len(self._runs) > 1 else None


def runs_of(told: views.Seconds) -> Runs:
    """What each worker has added up of each revision."""
    return {
        (worker.slot, worker.pid, loaded.number): loaded.execution
        for worker in told.workers
        for loaded in worker.loaded
        if loaded.execution is not None
    }


class _Sums(NamedTuple):
    """All that a revision was asked in each window: added up once, as that is most of the work."""

    now: ledger.Counts = ledger.Counts()
    recent: ledger.Counts = ledger.Counts()


def _sums(page: ledger.Page, through_s: int) -> _Sums:
    def last(seconds: int) -> ledger.Counts:
        return ledger.merge_counts(
            second.counts for second in page.seconds if through_s - seconds < second.at_s <= through_s
        )

    return _Sums(last(NOW_S), last(RECENT_S))


def _series(
    pages: Iterable[ledger.Page], through_s: int, number: Callable[[ledger.Counts], int]
) -> tuple[int, ...]:
    found = [0] * TRAFFIC_S
    for page in pages:
        for second in page.seconds:
            place = second.at_s - through_s + TRAFFIC_S - 1
            if 0 <= place < TRAFFIC_S:
                found[place] += number(second.counts)
    return tuple(found)


def _window(counts: ledger.Counts, seconds: int) -> Window:
    return Window(
        seconds=seconds,
        requests=counts.finished,
        per_s=counts.finished / seconds,
        failed=counts.failed,
        overdue=counts.overdue,
        refused=counts.refused,
        rejected=counts.rejected,
        cancelled=counts.cancelled,
        invalid=counts.invalid,
        rows=counts.rows,
        p50_ms=_quantile_ms(counts, 0.5),
        p90_ms=_quantile_ms(counts, 0.9),
        p99_ms=_quantile_ms(counts, 0.99),
    )


def _quantile_ms(counts: ledger.Counts, q: float) -> float | None:
    found_s = ledger.latency_quantile_s(counts.latency, q)
    return None if found_s is None else found_s * 1e3


def _revisions(
    told: views.Seconds,
    sums: Mapping[tuple[int, str], _Sums],
    requests: int,
    before: Runs | None,
) -> tuple[RevisionView, ...]:
    """Those that are live, loaded or were asked in the last minutes, by number, the newest first."""
    status = told.endpoint
    refs = {r.number: (r.digest, r.ref) for r in status.revisions}
    loaded: dict[tuple[int, str], list[tuple[int, int, LoadedRevision]]] = {}
    for worker in told.workers:
        for one in worker.loaded:
            if one.ready:
                loaded.setdefault((one.number, one.digest), []).append((worker.slot, worker.pid, one))
    live = next(((n, digest) for n, (digest, _) in refs.items() if n == status.live), None)
    found = []
    for number, digest in sorted({*sums, *loaded, *([live] if live else [])}, reverse=True):
        key = number, digest
        own = sums.get(key, _Sums())
        now, recent = _window(own.now, NOW_S), _window(own.recent, RECENT_S)
        if not recent.requests and key not in loaded and key != live:
            continue
        kind = told.answers.get(number) or next(iter(told.answers.values()), AnswerKind.CLASS)
        found.append(
            RevisionView(
                number=number,
                digest=digest,
                ref=refs.get(number, ("", None))[1],
                live=key == live,
                share_percent=100.0 * now.requests / requests if requests else 0.0,
                now=now,
                recent=recent,
                running=_running(loaded.get(key, ()), before),
                answers=watch_answers.read(own.recent, kind),
            )
        )
    return tuple(found)


def _running(loaded: Sequence[tuple[int, int, LoadedRevision]], before: Runs | None) -> Running | None:
    if not loaded:
        return None
    requests, batches, rows, queue_s, run_s = 0, 0, 0, 0.0, 0.0
    for slot, pid, one in loaded:
        run, old = one.execution, (before or {}).get((slot, pid, one.number))
        if run is None:
            continue
        if old is None or old.requests > run.requests:  # loaded anew since
            old = Execution(run.lane, 0, 0, 0, 0.0, 0.0, 0, 0, 0.0, 0.0)
        requests, batches, rows = (
            requests + run.requests - old.requests,
            batches + run.batches - old.batches,
            rows + run.rows - old.rows,
        )
        queue_s, run_s = queue_s + run.queue_s - old.queue_s, run_s + run.run_s - old.run_s
    lanes = {"apart" if one.isolated else one.execution.lane for _, _, one in loaded if one.execution}
    return Running(
        lane="mixed" if len(lanes) > 1 else "".join(lanes) or "-",
        in_flight=sum(one.in_flight for _, _, one in loaded),
        memory_bytes=sum(one.memory_bytes for _, _, one in loaded),
        batch_rows=rows / batches if batches else None,
        queue_ms=queue_s / requests * 1e3 if requests else None,
        run_ms=run_s / batches * 1e3 if batches else None,
        since_loading=before is None,
    )


def _worker(worker: views.WorkerStatus) -> WorkerView:
    state = "draining" if worker.draining else "ready" if worker.ready else "not ready"
    in_flight = sum(one.in_flight for one in worker.loaded)
    return WorkerView(worker.slot, worker.pid, state, worker.rss_bytes, in_flight)


def _live_since_s(events: Sequence[Event], live: int | None) -> float | None:
    """Since its first event behind that of another revision: one that a rollout came back to was live all the time."""
    since_s = None
    for event in reversed(events):
        if event.kind is EventKind.ENDPOINT_DELETED:
            break
        if event.kind is EventKind.REVISION_LIVE:
            if event.revision != live:
                break
            since_s = datetime.datetime.fromisoformat(event.at).timestamp()
    return since_s

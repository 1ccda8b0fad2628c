"""Carries out what `core.reconciliation` decided; each effect may be repeated without harm.

Preparing a revision can take long, so it runs beside the loop: until it is done, `observe` shows the revision as
loaded but not ready, which keeps the decision from asking twice. So does the opening of its bundle before that.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, assert_never

import msgspec

from seaway.control import changes, table_file
from seaway.control.deployments import Bundles
from seaway.control.openings import Openings
from seaway.control.preparations import Preparation, Preparations
from seaway.control.workers import WorkerEnded, Workers
from seaway.core import observed, routing
from seaway.core import reconciliation as core
from seaway.core.answers import AnswerKind, answer_spec
from seaway.core.deployments import Phase, Revision
from seaway.core.errors import SeawayError, UserError
from seaway.core.ports import Change, Clock, StateStore
from seaway.core.traffic import RoutingTable
from seaway.wire import worker_admin

PREPARE_S: Final = 600.0
_ASK_S: Final = 30.0
_TELL_S: Final = 2.0
"""For what a worker does within milliseconds: one that hangs is told again once it is seen, and must not hold up the loop."""
_log = logging.getLogger(__name__)


class Effects:
    """Observes and acts on one home: its store, its table file, its workers. Lives on one event loop."""

    def __init__(
        self,
        store: StateStore,
        bundles: Bundles,
        workers: Workers,
        table: Path,
        clock: Clock,
        done: Callable[[], None],
    ) -> None:
        """`done` is called, from any thread, when a preparation or an opening has ended."""
        self._store = store
        self.workers = workers
        self._table = table
        self._clock = clock
        self._done = done
        self._openings = Openings(bundles, clock, done)
        self._preparations = Preparations(clock)
        self._tasks: set[asyncio.Task[None]] = set()
        self.observed: tuple[worker_admin.Observed, ...] = ()
        self.seen: observed.Snapshot | None = None
        """What was observed last; what is decided on it is stored by compare-and-set, so an old one does no harm."""
        self._awaited: Mapping[str, tuple[str, ...]] = {}

    @property
    def busy(self) -> bool:
        """Whether a preparation runs, or a bundle was being opened when it was last observed."""
        seen = {} if self.seen is None else self.seen.bundles
        return bool(self._preparations.running) or any(isinstance(b, observed.Opening) for b in seen.values())

    def opening(self, endpoint: str) -> tuple[str, ...]:
        """What an endpoint waits for while it is being opened, as NAME:vN; what the workers serve already is not told."""
        return self._awaited.get(endpoint, ())

    def unmirrored(self, endpoint: str, number: int) -> tuple[int, ...]:
        """The workers that have no process now for a revision that requests are to be mirrored to."""
        return tuple(
            worker.slot
            for worker in self.observed
            for one in worker.loaded
            if (one.endpoint, one.number) == (endpoint, number) and one.unmirrored
        )

    def answer_kind(self, endpoint: str, number: int) -> AnswerKind | None:
        """Whether a revision answers with classes or numbers; None where its bundle is not open, or for neither."""
        manifest = self._openings.manifest((endpoint, number))
        spec = None if manifest is None else answer_spec(manifest.signature, manifest.classes)
        return None if spec is None else spec.kind

    async def observe(self) -> observed.Snapshot:
        """All that the decision needs, as it is now. Raises what the store raises."""
        self.observed = await self.workers.observe()
        self._preparations.keep_workers({(o.pid, o.slot) for o in self.observed})
        views = tuple(self._view(o) for o in self.observed)
        snapshot = await asyncio.to_thread(self._snapshot, views, self._preparations.deaths)
        self._preparations.keep_revisions(snapshot.revisions.keys())
        self.seen, self._awaited = snapshot, _awaited(snapshot)
        return snapshot

    def _snapshot(
        self, workers: tuple[observed.WorkerView, ...], deaths: Mapping[tuple[str, int], int]
    ) -> observed.Snapshot:
        table = table_file.read(self._table)
        states = tuple(s for s in self._store.states() if s.phase is not Phase.DELETED)
        needed = {(s.endpoint, number) for s in states for number in routing.needed(s)}
        previous = {(s.endpoint, s.previous) for s in states if s.previous is not None}
        served = {(route.endpoint, r.number) for route in table.routes for r in route.revisions}
        revisions: dict[tuple[str, int], Revision] = {}
        for endpoint, number in sorted(needed | previous | served):
            revision = self._store.revision(endpoint, number)
            if revision is not None:
                revisions[endpoint, number] = revision
        self._openings.keep(revisions.values())
        known = RoutingTable(
            table.generation,
            tuple(r for r in table.routes if all((r.endpoint, n.number) in revisions for n in r.revisions)),
        )
        awaited = needed - served
        return observed.Snapshot(
            now_s=self._clock.now_s(),
            states=states,
            revisions=revisions,
            bundles={
                key: self._openings.find(one, last=key not in awaited) for key, one in revisions.items()
            },
            table=known,
            workers=workers,
            deaths=deaths,
        )

    def _view(self, told: worker_admin.Observed) -> observed.WorkerView:
        """What a worker says it holds, and what this side knows of its attempts to load more."""
        place, known = (told.pid, told.slot), self._preparations
        ready = {}
        for r in told.loaded:
            one = Preparation(*place, r.endpoint, r.number, r.digest)
            ready[one] = r.ready
            if r.error is not None and one not in known.failures() and one not in known.running:
                known.failed(one, r.error_code or "internal", r.error)  # it loaded the table when it started
        for one in (*known.failures(), *known.running):
            if one[:2] == place:
                ready.setdefault(one, False)
        loaded = tuple(
            observed.WorkerRevision(
                one.endpoint, one.number, one.digest, is_ready, None if is_ready else known.failure(one)
            )
            for one, is_ready in ready.items()
        )
        return observed.WorkerView(told.slot, told.generation, told.draining, loaded)

    async def apply(self, action: core.Action) -> None:
        """Do it. Raises `SeawayError` where it could not be done; the next observation decides what then."""
        match action:
            case core.Prepare():
                self._prepare(action)
            case core.WriteTable():
                await asyncio.to_thread(table_file.write, self._table, action.table)
            case core.Commit():
                commit = worker_admin.Commit(action.table)
                asked = (self.workers.ask(slot, commit, _TELL_S) for slot in action.slots)
                for failure in await asyncio.gather(*asked, return_exceptions=True):
                    if isinstance(failure, BaseException):
                        raise failure
            case core.Retire():
                retire = worker_admin.Retire(action.endpoint, action.number)
                await self.workers.ask(action.slot, retire, _TELL_S)
                self._preparations.retired(action.slot, action.endpoint, action.number)
            case core.MarkLive() | core.MarkFailed() | core.MarkDeleted() | core.EndBake():
                await asyncio.to_thread(self._mark, action)
            case _:
                assert_never(action)

    def _prepare(self, action: core.Prepare) -> None:
        pids = {o.slot: o.pid for o in self.observed}
        revision = action.revision
        for slot in action.slots:
            one = Preparation(pids[slot], slot, action.endpoint, revision.number, revision.digest)
            self._preparations.running.add(one)
            task = asyncio.create_task(self._prepare_one(one, action))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _prepare_one(self, one: Preparation, action: core.Prepare) -> None:
        request = worker_admin.Prepare(action.endpoint, action.revision, action.limits)
        try:
            await self.workers.ask(one.slot, request, PREPARE_S)
            self._preparations.succeeded(one)
        except WorkerEnded as error:
            _log.warning("%s: %s (%s)", one, error.message, error.code)
            if await self._nobody_at(one.slot):  # else a new worker has taken its place, and it left in order
                self._preparations.killed(one)
        except SeawayError as error:
            _log.warning("%s: %s (%s)", one, error.message, error.code)
            if error.code != "not_ready":  # nobody was there to prepare it
                self._preparations.failed(one, error.code, error.message)
                self._openings.forget((one.endpoint, one.number))
        finally:
            self._preparations.running.discard(one)
            self._done()

    async def _nobody_at(self, slot: int) -> bool:
        try:
            await self.workers.ask(slot, worker_admin.Observe(), _ASK_S)
        except SeawayError:
            return True
        return False

    def _mark(self, action: core.Stored) -> None:
        """Store what has become true, with its event; who changed the endpoint meanwhile goes first."""
        state = self._store.state(action.endpoint)
        if state is None or state.generation != action.generation:
            return
        now_s = self._clock.now_s()
        number = getattr(action, "number", state.previous)
        revision = None if number is None else self._store.revision(action.endpoint, number)
        new, events = changes.settle(action, state, revision, now_s)
        new = msgspec.structs.replace(new, generation=state.generation + 1)
        try:
            self._store.apply(Change(events=events, state=new))
        except UserError as error:
            if error.code != "generation_conflict":
                raise

    async def close(self) -> None:
        """Give up the preparations that run."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _awaited(seen: observed.Snapshot) -> dict[str, tuple[str, ...]]:
    """By endpoint what of it is being opened that it needs and no worker serves yet."""
    opening = {
        key: bundle.ref for key, bundle in seen.bundles.items() if isinstance(bundle, observed.Opening)
    }
    if not opening:
        return {}
    needed = {(state.endpoint, number) for state in seen.states for number in routing.needed(state)}
    served = {(route.endpoint, r.number) for route in seen.table.routes for r in route.revisions}
    found: dict[str, set[str]] = {}
    for endpoint, number in (opening.keys() & needed) - served:
        found.setdefault(endpoint, set()).add(opening[endpoint, number])
    return {endpoint: tuple(sorted(refs)) for endpoint, refs in found.items()}

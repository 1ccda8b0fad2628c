"""Carries out what `core.reconciliation` decided; each effect may be repeated without harm.

Preparing a revision can take long, so it runs beside the loop: until it is done, `observe` shows the revision as
loaded but not ready, which keeps the decision from asking twice.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple, assert_never

import msgspec

from seaway.control import changes, table_file
from seaway.control.deployments import Bundles
from seaway.control.workers import Workers
from seaway.core import reconciliation as core
from seaway.core.bundles import Digest, ModelRef
from seaway.core.deployments import Phase, Revision
from seaway.core.errors import SeawayError, UserError
from seaway.core.ports import Change, Clock, StateStore
from seaway.core.traffic import RoutingTable
from seaway.wire import worker_admin

PREPARE_S: Final = 600.0
_ASK_S: Final = 30.0
_log = logging.getLogger(__name__)


class _Preparation(NamedTuple):
    """One revision on its way into one worker."""

    pid: int
    slot: int
    endpoint: str
    number: int
    digest: Digest


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
        """`done` is called when a preparation has ended."""
        self._store = store
        self._bundles = bundles
        self._workers = workers
        self._table = table
        self._clock = clock
        self._done = done
        self._opened: dict[tuple[str, int], str | core.Broken] = {}
        self._preparing: dict[_Preparation, asyncio.Task[None]] = {}
        self._unprepared: dict[_Preparation, str] = {}
        self.observed: tuple[worker_admin.Observed, ...] = ()

    @property
    def busy(self) -> bool:
        """Whether a preparation runs."""
        return bool(self._preparing)

    async def observe(self) -> core.Snapshot:
        """All that the decision needs, as it is now. Raises what the store raises."""
        self.observed = await self._workers.observe()
        pids = {(o.pid, o.slot) for o in self.observed}
        self._unprepared = {key: why for key, why in self._unprepared.items() if key[:2] in pids}
        return await asyncio.to_thread(self._snapshot, tuple(self._view(o) for o in self.observed))

    def _snapshot(self, workers: tuple[core.WorkerView, ...]) -> core.Snapshot:
        table = table_file.read(self._table)
        states = tuple(s for s in self._store.states() if s.phase is not Phase.DELETED)
        wanted = {(s.endpoint, n) for s in states for n in (s.desired, s.live, s.previous) if n is not None}
        wanted |= {(route.endpoint, r.number) for route in table.routes for r in route.revisions}
        revisions: dict[tuple[str, int], Revision] = {}
        for endpoint, number in sorted(wanted):
            revision = self._store.revision(endpoint, number)
            if revision is not None:
                revisions[endpoint, number] = revision
                if (endpoint, number) not in self._opened:
                    self._opened[endpoint, number] = self._open(revision)
        known = RoutingTable(
            table.generation,
            tuple(r for r in table.routes if all((r.endpoint, n.number) in revisions for n in r.revisions)),
        )
        return core.Snapshot(
            now_s=self._clock.now_s(),
            states=states,
            revisions=revisions,
            bundles=dict(self._opened),
            table=known,
            workers=workers,
        )

    def _open(self, revision: Revision) -> str | core.Broken:
        try:
            ref = ModelRef(name=ModelRef.parse(revision.ref).name, digest=revision.digest)
            return self._bundles.open(self._bundles.resolve(ref)).directory
        except SeawayError as error:
            return core.Broken(f"{error.message} ({error.code})")

    def _view(self, observed: worker_admin.Observed) -> core.WorkerView:
        loaded = {
            (r.endpoint, r.number): core.WorkerRevision(r.endpoint, r.number, r.digest, r.ready, r.error)
            for r in observed.loaded
        }
        for one, error in {**dict.fromkeys(self._preparing), **self._unprepared}.items():
            key = one.endpoint, one.number
            if (one.pid, one.slot) == (observed.pid, observed.slot) and key not in loaded:
                loaded[key] = core.WorkerRevision(*key, one.digest, ready=False, error=error)
        return core.WorkerView(observed.slot, observed.generation, observed.draining, tuple(loaded.values()))

    async def apply(self, action: core.Action) -> None:
        """Do it. Raises `SeawayError` where it could not be done; the next observation decides what then."""
        match action:
            case core.Prepare():
                self._prepare(action)
            case core.WriteTable():
                await asyncio.to_thread(table_file.write, self._table, action.table)
            case core.Commit():
                asked = (
                    self._workers.ask(s, worker_admin.Commit(action.table), _ASK_S) for s in action.slots
                )
                for failure in await asyncio.gather(*asked, return_exceptions=True):
                    if isinstance(failure, BaseException):
                        raise failure
            case core.Retire():
                retire = worker_admin.Retire(action.endpoint, action.number)
                await self._workers.ask(action.slot, retire, _ASK_S)
            case core.MarkLive() | core.MarkFailed() | core.MarkDeleted() | core.EndBake():
                await asyncio.to_thread(self._mark, action)
            case _:
                assert_never(action)

    def _prepare(self, action: core.Prepare) -> None:
        pids = {o.slot: o.pid for o in self.observed}
        for slot in action.slots:
            key = _Preparation(
                pids[slot], slot, action.endpoint, action.revision.number, action.revision.digest
            )
            self._preparing[key] = asyncio.create_task(self._prepare_one(key, action))

    async def _prepare_one(self, key: _Preparation, action: core.Prepare) -> None:
        request = worker_admin.Prepare(action.endpoint, action.revision, action.limits)
        try:
            await self._workers.ask(key.slot, request, PREPARE_S)
        except SeawayError as error:
            _log.warning("%s: %s (%s)", key, error.message, error.code)
            if error.code != "not_ready":  # a worker that died is no fault of the revision
                self._unprepared[key] = error.message
        finally:
            del self._preparing[key]
            self._done()

    def _mark(self, action: core.Stored) -> None:
        """Store what has become true, with its event; who changed the endpoint meanwhile goes first."""
        state = self._store.state(action.endpoint)
        if state is None or state.generation != action.generation:
            return
        now_s = self._clock.now_s()
        number = getattr(action, "number", state.previous)
        revision = None if number is None else self._store.revision(action.endpoint, number)
        new, event = changes.settle(action, state, revision, now_s)
        new = msgspec.structs.replace(new, generation=state.generation + 1)
        try:
            self._store.apply(Change(events=(event,), state=new))
        except UserError as error:
            if error.code != "generation_conflict":
                raise

    async def close(self) -> None:
        """Give up the preparations that run."""
        tasks = tuple(self._preparing.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

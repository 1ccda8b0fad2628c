"""Shadow traffic: a share of the answered requests is run on another revision too, compared, and thrown away.

The doors call `Mirrors.answered` once a live answer has left. The mirrored revision runs in a process of its own, at the lowest
priority, whatever else of it is loaded here: what it crashes, blocks or eats there is never a live request's. What it
cannot take is dropped and counted, so is all of an endpoint that waits for such a process; nothing of it is counted among the
live answers of any revision.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable
from queue import SimpleQueue
from typing import Final, Protocol

import msgspec

from seaway.core import agreement
from seaway.core.agreement import Agreed, Rule
from seaway.core.answers import AnswerSpec, answer_spec
from seaway.core.bundles import Digest, OpenedBundle
from seaway.core.errors import SeawayError
from seaway.core.ports import LoadedModel
from seaway.core.records import SAMPLED, Answered, MirroredAnswer
from seaway.core.tensors import InputCheck, Tensors, check_outputs
from seaway.core.traffic import Mirror, Route
from seaway.engine.handle import Handle
from seaway.engine.router import Router
from seaway.serve import log

MOST_OUTSTANDING: Final = 64
"""Requests of one endpoint that wait for their mirrored answer or run."""
MOST_BYTES: Final = 32 * 1024 * 1024
"""What those may hold: their bodies or what was read from them, whichever is larger, and what is kept of their answers."""
MOST_PROCESSES: Final = 4
"""Mirrored revisions that have a process at a time in one worker: each is one more copy of a model in memory."""
_REST: Final = 4.0
"""After each run the mirror's thread rests this many times as long as it computed: it takes at most a fifth of a core
from the worker, whose interpreter it shares."""
NO_PROCESS: Final = "no_process"
"""In `Mirrors.counts`: dropped, since its endpoint waits for a process."""
_NOBODY: Final = b""
"""Whose request has no key where units are by user: it is never one."""
_AGAIN_S: Final = 10.0
"""Until a process that could not be started is tried again."""
_SPARED: Final = frozenset({"deadline_exceeded", "not_ready"})
"""Errors that say nothing of the model: it got no time, or its process is being started."""


class Ledger(Protocol):
    """Where pairs are counted."""

    def compared(self, handle: Handle, found: Agreed, user: bytes | None) -> None:
        """One mirrored request of the revision that it was mirrored to; on the event loop's thread. `user` is its key where units
        are by user, else None."""

    def mirrored(self, handle: Handle, told: MirroredAnswer) -> None:
        """What that revision said to it, where its answers are wanted; on the event loop's thread, and it never blocks."""


class Pair(msgspec.Struct):
    """A live answer that waits to be compared: the request's tensors, and what is kept of the answer."""

    request_id: bytes
    tensors: Tensors
    rows: int
    row: int
    spec: AnswerSpec | None
    kept: Tensors
    size: int
    user: bytes | None


class Wanted(msgspec.Struct, frozen=True):
    """What is done with a pair: compared by a rule, and where `answers` are wanted, the mirrored one kept for labels."""

    rule: Rule
    answers: bool = False


class Mirrors:
    """The mirrors of one worker. On the event loop's thread only."""

    def __init__(self, router: Router, ledger: Ledger, load: Callable[[OpenedBundle], LoadedModel]) -> None:
        """`load` loads a model in a process of its own; blocking. Nothing is mirrored before `rules_changed`."""
        self.routes: dict[str, Route] = {}
        """The routes that have a mirror now; where it is empty, the doors pass by."""
        self.counts: Counter[tuple[str, str, str]] = Counter()
        """Mirrored requests since the process began, by (endpoint, revision, what became of them or `NO_PROCESS`)."""
        self._router = router
        self._ledger = ledger
        self._load = load
        self._shadows: dict[str, Shadow] = {}
        self._processes = 0
        """Those of shadows, and of closed ones that have yet to end theirs."""
        self._waiting: dict[str, None] = {}
        """Endpoints for which there is no process now, the one that has waited longest first."""
        self._specs: dict[Digest, AnswerSpec | None] = {}
        """What an answer of a live model is, by its digest."""
        self._closed = False

    def answered(self, request: Answered, handle: Handle) -> None:
        """A request was answered well by `handle`: run it on the mirrored revision too, if it is drawn.

        Costs the live path a hash, and one of those drawn a copy of its answer; never raises, never waits.
        """
        route = self.routes.get(handle.endpoint)
        mirror = None if route is None else route.mirror
        if route is None or mirror is None or handle.revision.number == mirror.number:
            return
        if request.chosen not in SAMPLED or request.outputs is None or not request.rows:
            return
        drawn = agreement.draw(request.request_id, route.salt)
        if drawn.point >= mirror.percent:
            return
        other = self._router.pool.get(handle.endpoint, mirror.number)
        if other is None or not other.filled:
            return  # not loaded here: there is nothing to count it for
        unit = route.record.unit
        user = None if unit is None else unit.read(request.header) or _NOBODY
        shadow = self._shadows.get(handle.endpoint) or self._begin(route, mirror)
        if shadow is None or not shadow.has_room or handle.predictor.waiting:
            self._compared(other, Agreed.DROPPED, user, NO_PROCESS if self.waits(other) else None)
            return
        row, rows = drawn.row(request.rows), request.rows
        kept = agreement.kept(request.outputs, rows, row, shadow.rule)
        asked = sum([array.nbytes for array in request.tensors.values()])
        size = max(request.size, asked) + sum([array.nbytes for array in kept.values()])
        spec = self._spec(handle)
        shadow.take(Pair(request.request_id, request.tensors, rows, row, spec, kept, size, user))

    def rules_changed(self) -> None:
        """The routing table was swapped: start what is mirrored now, end what no longer is. Idempotent."""
        self.routes = {
            route.endpoint: route
            for route in self._router.table.routes
            if route.mirror is not None and route.mirror.percent > 0
        }
        self._specs.clear()
        known = {
            (route.endpoint, str(r.number)) for route in self._router.table.routes for r in route.revisions
        }
        for key in [key for key in self.counts if key[:2] not in known]:
            del self.counts[key]
        for endpoint, shadow in list(self._shadows.items()):
            route = self.routes.get(endpoint)
            mirror = None if route is None else route.mirror
            present = None if route is None or mirror is None else route.revision(mirror.number)
            own = shadow.handle.revision
            # Two revisions may hold the same bundle, and differ in their limits.
            same = present is not None and (present.number, present.digest) == (own.number, own.digest)
            if mirror is None or not same or shadow.wanted != _wanted(mirror):
                shadow.close()
                del self._shadows[endpoint]
        self._waiting = {endpoint: None for endpoint in self._waiting if endpoint in self.routes}
        for endpoint, route in self.routes.items():
            if endpoint not in self._shadows and route.mirror is not None:
                self._begin(route, route.mirror)

    def close(self) -> None:
        """The worker drains: all that waits or comes is dropped. Does not wait for the processes' end. Idempotent."""
        self._closed = True
        for shadow in self._shadows.values():
            shadow.close()
        self._shadows.clear()
        self._waiting.clear()

    def waits(self, handle: Handle) -> bool:
        """Whether requests are to be mirrored to a revision, and there is no process for it now."""
        route = self.routes.get(handle.endpoint) if handle.endpoint in self._waiting else None
        return (
            route is not None and route.mirror is not None and route.mirror.number == handle.revision.number
        )

    def _spec(self, handle: Handle) -> AnswerSpec | None:
        digest = handle.revision.digest
        if digest not in self._specs:
            manifest = handle.bundle.manifest
            self._specs[digest] = answer_spec(manifest.signature, manifest.classes)
        return self._specs[digest]

    def _compared(self, handle: Handle, found: Agreed, user: bytes | None, why: str | None = None) -> None:
        self.counts[handle.endpoint, str(handle.revision.number), why or found.value] += 1
        if user != _NOBODY:
            self._ledger.compared(handle, found, user)

    def _begin(self, route: Route, mirror: Mirror) -> Shadow | None:
        """A shadow of the mirrored revision, whose process starts now; None where that revision is not loaded here, or where
        others have all the processes: then it waits for one."""
        handle = self._router.pool.get(route.endpoint, mirror.number)
        if self._closed or handle is None or not handle.filled:
            return None
        if self._processes >= MOST_PROCESSES:
            if route.endpoint not in self._waiting:
                log.write_line(
                    f"seaway: {handle.bundle.ref} waits to be mirrored to: {MOST_PROCESSES} are here"
                )
            self._waiting.setdefault(route.endpoint)
            return None
        self._waiting.pop(route.endpoint, None)
        self._processes += 1
        ended = self._compared, self._ledger.mirrored
        shadow = Shadow(handle, _wanted(mirror), route.limits.deadline_s, self._load, *ended)
        try:
            shadow.begin(self._freed)
        except RuntimeError:  # too many threads: the next request tries it again
            self._processes -= 1
            return None
        self._shadows[route.endpoint] = shadow
        return shadow

    def _freed(self) -> None:
        """A shadow has ended, and its process with it: whoever has waited longest begins."""
        self._processes -= 1
        for endpoint in list(self._waiting):
            route = self.routes[endpoint]
            if route.mirror is not None:
                self._begin(route, route.mirror)


class Shadow:
    """One revision that is mirrored to: its process, and the one thread that speaks to it. Made and told on the loop."""

    def __init__(
        self,
        handle: Handle,
        wanted: Wanted,
        deadline_s: float,
        load: Callable[[OpenedBundle], LoadedModel],
        compared: Callable[[Handle, Agreed, bytes | None], None],
        told: Callable[[Handle, MirroredAnswer], None],
    ) -> None:
        """`compared` is called on the loop once for each pair that was taken, and `told` with the answer where there is one to
        keep."""
        self.handle = handle
        self.wanted = wanted
        self.rule = wanted.rule
        self._deadline_s = deadline_s
        self._load = load
        self._compared = compared
        self._told = told
        self._loop = asyncio.get_running_loop()
        manifest = handle.bundle.manifest
        self._bundle = handle.bundle
        self._signature = manifest.signature
        self._spec = answer_spec(manifest.signature, manifest.classes)
        self._check = InputCheck(manifest.signature)
        self._pairs: SimpleQueue[Pair | None] = SimpleQueue()
        self._outstanding = 0
        self._bytes = 0
        self._loaded: LoadedModel | None = None
        self._closed = threading.Event()
        self._closing = threading.Lock()

    @property
    def has_room(self) -> bool:
        """Whether one more may wait; False while its process is not there."""
        return self._loaded is not None and self._outstanding < MOST_OUTSTANDING and self._bytes < MOST_BYTES

    def begin(self, over: Callable[[], None]) -> None:
        """Start the thread, and with it the process; `over` is called on the loop once both have ended."""
        threading.Thread(target=self._live, args=(over,), name="seaway-mirror", daemon=True).start()

    def take(self, pair: Pair) -> None:
        """Let a pair wait; only where there is room."""
        self._outstanding += 1
        self._bytes += pair.size
        self._pairs.put(pair)

    def close(self) -> None:
        """End the process at once: a run that goes on is cut off, and dropped like all that wait. Idempotent."""
        with self._closing:
            self._closed.set()
            loaded, self._loaded = self._loaded, None
        self._pairs.put(None)
        if loaded is not None:
            loaded.close()

    def _live(self, over: Callable[[], None]) -> None:
        """On the mirror's own thread."""
        try:
            self._run()
        finally:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(over)

    def _run(self) -> None:
        """Until it is closed."""
        if not self._start():
            return
        while (pair := self._pairs.get()) is not None:
            began_s = time.thread_time()
            found, told = self._compare(pair)
            size, user = pair.size, pair.user
            del pair  # while it waits for the next, it holds no request's memory
            try:
                self._loop.call_soon_threadsafe(self._ended, size, found, told, user)
            except RuntimeError:
                return  # the loop is closed: nobody counts any more
            del told
            self._closed.wait(_REST * (time.thread_time() - began_s))

    def _start(self) -> bool:
        """Load the model in its process; False where it was closed meanwhile."""
        while not self._closed.is_set():
            try:
                loaded = self._load(self._bundle)
            except Exception as error:  # noqa: BLE001 - the thread's edge: whatever it is, it may pass
                code = error.code if isinstance(error, SeawayError) else type(error).__name__
                log.write_line(f"seaway: {self._bundle.ref} cannot be mirrored to now: {code}: {error}")
                self._closed.wait(_AGAIN_S)
                continue
            with self._closing:
                if not self._closed.is_set():
                    self._loaded = loaded
                    return True
            loaded.close()
        return False

    def _compare(self, pair: Pair) -> tuple[Agreed, MirroredAnswer | None]:
        """What became of a pair, and what is to be kept of it."""
        found, answers = self._answer(pair)
        if not self.wanted.answers or self._spec is None or found is Agreed.DROPPED:
            return found, None
        return found, MirroredAnswer(pair.request_id, pair.rows, answers)

    def _answer(self, pair: Pair) -> tuple[Agreed, Tensors | None]:
        """What became of a pair, and the output that is the answer; None where there is none, or nobody wants it."""
        loaded = self._loaded
        if loaded is None:
            return Agreed.DROPPED, None
        try:
            rows = self._check.rows(pair.tensors)
            outputs = loaded.predict(pair.tensors, self._deadline_s)
            check_outputs(self._signature, outputs)
            own = agreement.kept(outputs, rows, pair.row, self.rule)
            same = agreement.agree((pair.spec, pair.kept), (self._spec, own), self.rule)
            answers = None
            if self.wanted.answers and self._spec is not None:
                answers = {self._spec.output: outputs[self._spec.output].copy()}
            return (Agreed.SAME if same else Agreed.DIFFER), answers
        except SeawayError as error:
            spared = error.code in _SPARED or self._closed.is_set()
            return (Agreed.DROPPED if spared else Agreed.FAILED), None
        except Exception:  # noqa: BLE001 - the thread's edge: what a model answers may be of any form
            return Agreed.FAILED, None

    def _ended(self, size: int, found: Agreed, told: MirroredAnswer | None, user: bytes | None) -> None:
        """On the loop."""
        self._outstanding -= 1
        self._bytes -= size
        self._compared(self.handle, found, user)
        if told is not None:
            self._told(self.handle, told)


def _wanted(mirror: Mirror) -> Wanted:
    tolerance = agreement.TOLERANCE if mirror.tolerance is None else mirror.tolerance
    return Wanted(Rule(mirror.by, tolerance), mirror.answers)

"""The models that this process holds: loaded, warmed by a real prediction, counted while in use, dropped after.

Loading runs on any one thread at a time; everything else on the event loop's thread, so that picking a revision
and counting its request in is one step that no swap can divide.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence

import msgspec

from seaway.core.answers import answer_spec
from seaway.core.bundles import Digest, OpenedBundle
from seaway.core.errors import PermanentError, SeawayError, UserError
from seaway.core.ports import Clock, LoadedModel, Runtime
from seaway.core.tensors import Tensors, placeholder_inputs
from seaway.core.traffic import Limits, RoutedRevision
from seaway.engine import memory, warmup
from seaway.engine.handle import Handle as Handle
from seaway.engine.handle import Model
from seaway.engine.jobs import Learned, Screen, Unwatched, Watcher
from seaway.engine.predictor import Predictor


class Sources(msgspec.Struct, frozen=True):
    """Where models come from; wiring gives it."""

    open_bundle: Callable[[RoutedRevision], OpenedBundle]
    """Opens and verifies a revision's bundle; raises `PermanentError("digest_mismatch")`. Blocking."""
    runtime: Callable[[str], Runtime]
    """The Runtime of a bundle format."""
    sample: Callable[[OpenedBundle], Tensors | None]
    """Input tensors of the bundle's own sample rows, or None where it has none."""
    isolate: Callable[[RoutedRevision, OpenedBundle], LoadedModel] | None = None
    """Loads a model in a process of its own; None where this process cannot. Blocking."""


class Pool:
    """Handles by endpoint and revision number."""

    def __init__(
        self,
        sources: Sources,
        clock: Clock,
        watcher: Watcher | None = None,
        screen: Callable[[Digest], Screen] | None = None,
        learned: Mapping[Digest, Learned] | None = None,
    ) -> None:
        """`screen` gives the Screen of a model; `learned` is what an earlier process found out about its models."""
        self.isolated: set[Digest] = set()
        """Models that are loaded in a process of their own from now on."""
        self._sources = sources
        self._clock = clock
        self._watcher = watcher
        self._screen = screen
        self._learned = dict(learned or {})
        self._loading = threading.Lock()  # held for seconds: never taken on the event loop's thread
        self._counting = threading.Lock()  # held for a few instructions
        self._models: dict[tuple[Digest, bool], Model] = {}
        """By digest, and whether it has a process of its own."""
        self._handles: dict[tuple[str, int], Handle] = {}
        self._leaving: list[Handle] = []

    def get(self, endpoint: str, number: int) -> Handle | None:
        return self._handles.get((endpoint, number))

    def handles(self) -> Sequence[Handle]:
        """All that is held, with those that wait for their last request."""
        return [*self._handles.values(), *self._leaving]

    def learned(self) -> dict[Digest, Learned]:
        """What is known of every model that can answer now, for the next process that loads it."""
        found: dict[Digest, Learned] = {}
        for handle in self.handles():
            if handle.ready:
                digest = handle.revision.digest
                found[digest] = _together(found.get(digest), handle.predictor.learned())
        return found

    def load(self, endpoint: str, revision: RoutedRevision, limits: Limits) -> None:
        """Load and warm a revision; blocking, from any thread. Nothing happens where it is ready already.

        Raises the `SeawayError` that stopped it (`PermanentError("internal")` for a fault of another kind); the
        handle stays listed with that error until it is retired or loaded again.
        """
        with self._loading:
            present = self._handles.get((endpoint, revision.number))
            held = present is not None and present.filled
            if present is not None and held:
                if present.ready and present.revision.digest == revision.digest:
                    return
                if present.revision.digest != revision.digest:
                    raise UserError(
                        "generation_conflict",
                        f"revision {revision.number} of {endpoint!r} is loaded with another digest",
                        "retire it first",
                    )
            handle = Handle(endpoint, revision, limits)
            try:
                model = self._acquire(handle, held)
                handle.fill(model, self._predictor(model, handle))
            except SeawayError as error:
                handle.failure = error
                raise
            except Exception as error:  # an edge: one bad model must not end a process that serves others
                handle.failure = _fault(error)
                raise handle.failure from error
            finally:
                self._handles[endpoint, revision.number] = handle

    async def replace(self, digest: Digest, load: Callable[[OpenedBundle], LoadedModel]) -> None:
        """Put another LoadedModel behind all handles of a digest in this process, such as one in a process of its own.

        From the call on, new requests get `not_ready`, those that wait too, and those that run are still answered.
        `load` and the first predictions run on a thread. Raises what stopped it; the handles then stay listed with
        that error. Nothing happens where the digest is not loaded.
        """
        model = self._models.get((digest, False))
        if model is None:
            return
        handles = [handle for handle in self.handles() if handle.filled and handle.model is model]
        for handle in handles:
            handle.suspend()
        try:
            await asyncio.to_thread(self._reload, model, load)
        except SeawayError as error:
            for handle in handles:
                handle.failure = error
            raise
        for handle in handles:
            handle.fill(model, self._predictor(model, handle))

    def _reload(self, model: Model, load: Callable[[OpenedBundle], LoadedModel]) -> None:
        with self._loading:
            try:
                loaded = load(model.bundle)
                try:
                    learned = warmup.warm(loaded, model.sample, self._clock, None)
                except BaseException:
                    loaded.close()
                    raise
            except SeawayError:
                raise
            except Exception as error:  # an edge, as in `load`
                raise _fault(error) from error
            with self._counting:
                before, model.loaded = model.loaded, loaded
                model.learned, model.isolated = learned, True
                gone = model.users == 0
                digest = model.bundle.digest
                if self._models.get((digest, False)) is model and (digest, True) not in self._models:
                    self._models[digest, True] = self._models.pop((digest, False))
            before.close()
            if gone:  # its last revision was retired meanwhile
                loaded.close()

    def _predictor(self, model: Model, handle: Handle) -> Predictor:
        digest = handle.revision.digest
        learned = model.learned
        if model.isolated:  # another process answers: waiting for it is not for the event loop's thread
            learned = msgspec.structs.replace(learned, inline_allowed=False)
        return Predictor(
            model.loaded,
            digest,
            handle.limits,
            self._clock,
            None if model.isolated else self._watcher,
            None if self._screen is None else self._screen(digest),
            learned,
            answer_spec(model.bundle.manifest.signature, model.bundle.manifest.classes),
        )

    def _acquire(self, handle: Handle, held: bool) -> Model:
        """`held` says that this revision counts as a user already."""
        key = handle.revision.digest, self._apart(handle.revision)
        with self._counting:
            model = self._models.get(key)
            if model is not None:
                model.users += not held
                return model
        model = self._open(handle)
        with self._counting:
            self._models[key] = model
        return model

    def _apart(self, revision: RoutedRevision) -> bool:
        """Whether this revision's model is to run in a process of its own."""
        return self._sources.isolate is not None and (revision.isolated or revision.digest in self.isolated)

    def _open(self, handle: Handle) -> Model:
        """Open, load and warm a model, and tell the handle what each took."""
        revision, now_s = handle.revision, self._clock.monotonic_s
        resident_bytes = memory.resident_bytes()
        began_s = now_s()
        bundle = self._sources.open_bundle(revision)
        opened_s = now_s()
        handle.open_s = opened_s - began_s
        isolate = self._sources.isolate if self._apart(revision) else None
        watcher = self._watcher if isolate is None and self._watcher is not None else Unwatched()
        place = watcher.enter(revision.digest)  # it may end the process here, too
        try:
            if isolate is None:
                loaded = self._sources.runtime(bundle.manifest.format).load(bundle)
            else:
                loaded = isolate(revision, bundle)
            loaded_s = now_s()
            handle.load_s = loaded_s - opened_s
            try:
                sample = self._sources.sample(bundle) or placeholder_inputs(loaded.signature)
                learned = warmup.warm(loaded, sample, self._clock, self._learned.get(revision.digest))
            except Exception:
                loaded.close()
                raise
        finally:
            watcher.leave(place)
        handle.warm_s = now_s() - loaded_s
        handle.memory_bytes = max(0, memory.resident_bytes() - resident_bytes)
        return Model(bundle, loaded, sample, learned, isolated=isolate is not None)

    def retire(self, endpoint: str, number: int) -> None:
        """Drop a revision after its last request; an unknown one is fine."""
        handle = self._handles.pop((endpoint, number), None)
        if handle is None or not handle.filled:
            return
        self._leaving.append(handle)
        handle.retire(lambda: self._close(handle))

    def _close(self, handle: Handle) -> None:
        self._leaving.remove(handle)
        handle.suspend()
        model = handle.model
        with self._counting:
            model.users -= 1
            if model.users > 0:
                return
            del self._models[next(key for key, held in self._models.items() if held is model)]
        model.loaded.close()


def _together(one: Learned | None, other: Learned) -> Learned:
    """What two predictors of one model know: the times of the one that has seen more, the restrictions of both."""
    if one is None:
        return other
    more = one if one.samples >= other.samples else other
    return msgspec.structs.replace(
        more,
        inline_allowed=one.inline_allowed and other.inline_allowed,
        batchable=one.batchable and other.batchable,
        inline_left=max(one.inline_left, other.inline_left),
    )


def _fault(error: Exception) -> PermanentError:
    """A fault in words without paths: its own text may hold some, the system's word for its number does not."""
    reason = f" ({error.strerror})" if isinstance(error, OSError) and error.strerror else ""
    return PermanentError(
        "internal", f"the revision cannot be loaded: {type(error).__name__}{reason}", "see the worker's log"
    )

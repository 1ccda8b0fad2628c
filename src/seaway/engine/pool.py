"""The models that this process holds: loaded, warmed by a real prediction, counted while in use, dropped after.

Loading runs on any one thread at a time; everything else on the event loop's thread, so that picking a revision
and counting its request in is one step that no swap can divide.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from types import TracebackType

import msgspec

from seaway.core.bundles import Digest, OpenedBundle
from seaway.core.errors import PermanentError, SeawayError, UserError
from seaway.core.ports import Clock, LoadedModel, Runtime
from seaway.core.tensors import Signature, Tensors, check_inputs, check_outputs, placeholder_inputs
from seaway.core.traffic import Limits, RoutedRevision
from seaway.engine.predictor import Predictor

WARM_UP_S = 30.0
"""How long the first prediction may take."""


class Sources(msgspec.Struct, frozen=True):
    """Where models come from; wiring gives it."""

    open_bundle: Callable[[RoutedRevision], OpenedBundle]
    """Opens and verifies a revision's bundle; raises `PermanentError("digest_mismatch")`. Blocking."""
    runtime: Callable[[str], Runtime]
    """The Runtime of a bundle format."""
    sample: Callable[[OpenedBundle], Tensors | None]
    """Input tensors of the bundle's own sample rows, or None where it has none."""


class _Model(msgspec.Struct):
    """A model in memory, shared by all revisions of its digest."""

    bundle: OpenedBundle
    loaded: LoadedModel
    sample: Tensors
    users: int


class Handle:
    """One revision of one endpoint; `with handle:` counts a request in and out."""

    def __init__(self, endpoint: str, revision: RoutedRevision) -> None:
        self.endpoint = endpoint
        self.revision = revision
        self.in_flight = 0
        self.load_s = 0.0
        self.failure: SeawayError | None = None
        self._ready: tuple[_Model, Predictor] | None = None
        self._retired: Callable[[], None] | None = None

    @property
    def ready(self) -> bool:
        return self._ready is not None

    @property
    def signature(self) -> Signature:
        return self._parts()[0].bundle.manifest.signature

    @property
    def bundle(self) -> OpenedBundle:
        return self._parts()[0].bundle

    @property
    def sample(self) -> Tensors:
        """The rows that the first prediction was made with."""
        return self._parts()[0].sample

    @property
    def predictor(self) -> Predictor:
        return self._parts()[1]

    def _parts(self) -> tuple[_Model, Predictor]:
        assert self._ready is not None, "the router hands out ready handles only"
        return self._ready

    def __enter__(self) -> Handle:
        self.in_flight += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.in_flight -= 1
        if self.in_flight == 0 and self._retired is not None:
            self._retired()

    def fill(self, model: _Model, predictor: Predictor) -> None:
        self._ready = (model, predictor)

    def retire(self, close: Callable[[], None]) -> None:
        """Call `close` once no request is in flight: now, or when the last one leaves."""
        if self.in_flight == 0:
            close()
        else:
            self._retired = close


class Pool:
    """Handles by endpoint and revision number."""

    def __init__(self, sources: Sources, clock: Clock, threads: int = 2) -> None:
        """`threads` is how many predictions of one model may run at once; the second keeps a slow one from blocking."""
        self._sources = sources
        self._clock = clock
        self._threads = threads
        self._loading = threading.Lock()  # held for seconds: never taken on the event loop's thread
        self._counting = threading.Lock()  # held for a few instructions
        self._models: dict[Digest, _Model] = {}
        self._handles: dict[tuple[str, int], Handle] = {}
        self._leaving: list[Handle] = []

    def get(self, endpoint: str, number: int) -> Handle | None:
        return self._handles.get((endpoint, number))

    def handles(self) -> Sequence[Handle]:
        """All that is held, with those that wait for their last request."""
        return [*self._handles.values(), *self._leaving]

    def load(self, endpoint: str, revision: RoutedRevision, limits: Limits) -> None:
        """Load and warm a revision; blocking, from any thread. Nothing happens where it is ready already.

        Raises the `SeawayError` that stopped it (`PermanentError("internal")` for a fault of another kind); the
        handle stays listed with that error until it is retired or loaded again.
        """
        with self._loading:
            present = self._handles.get((endpoint, revision.number))
            if present is not None and present.ready:
                if present.revision.digest == revision.digest:
                    return
                raise UserError(
                    "generation_conflict",
                    f"revision {revision.number} of {endpoint!r} is loaded with another digest",
                    "retire it first",
                )
            handle = Handle(endpoint, revision)
            started_s = self._clock.monotonic_s()
            try:
                model = self._acquire(revision)
                handle.fill(model, Predictor(model.loaded, limits, self._clock, self._threads))
            except SeawayError as error:
                handle.failure = error
                raise
            except Exception as error:  # an edge: one bad model must not end a process that serves others
                handle.failure = PermanentError("internal", _fault(error), "see the worker's log")
                raise handle.failure from error
            finally:
                handle.load_s = self._clock.monotonic_s() - started_s
                self._handles[endpoint, revision.number] = handle

    def _acquire(self, revision: RoutedRevision) -> _Model:
        with self._counting:
            model = self._models.get(revision.digest)
            if model is not None:
                model.users += 1
                return model
        model = self._open(revision)
        with self._counting:
            self._models[revision.digest] = model
        return model

    def _open(self, revision: RoutedRevision) -> _Model:
        bundle = self._sources.open_bundle(revision)
        loaded = self._sources.runtime(bundle.manifest.format).load(bundle)
        try:
            sample = self._sources.sample(bundle) or placeholder_inputs(loaded.signature)
            check_inputs(loaded.signature, sample)
            check_outputs(loaded.signature, loaded.predict(sample, WARM_UP_S))
        except Exception:
            loaded.close()
            raise
        return _Model(bundle, loaded, sample, users=1)

    def retire(self, endpoint: str, number: int) -> None:
        """Drop a revision after its last request; an unknown one is fine."""
        handle = self._handles.pop((endpoint, number), None)
        if handle is None or not handle.ready:
            return
        self._leaving.append(handle)
        handle.retire(lambda: self._close(handle))

    def _close(self, handle: Handle) -> None:
        self._leaving.remove(handle)
        handle.predictor.close()
        model = self._models[handle.revision.digest]
        with self._counting:
            model.users -= 1
            if model.users > 0:
                return
            del self._models[handle.revision.digest]
        model.loaded.close()


def _fault(error: Exception) -> str:
    """A fault in words without paths: its own text may hold some, the system's word for its number does not."""
    reason = f" ({error.strerror})" if isinstance(error, OSError) and error.strerror else ""
    return f"the revision cannot be loaded: {type(error).__name__}{reason}"

"""A loaded model, and the handle by which requests of one revision reach it."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any

import msgspec

from seaway.core.bundles import OpenedBundle
from seaway.core.errors import SeawayError
from seaway.core.ports import LoadedModel, StreamingModel
from seaway.core.tensors import Signature, Tensors
from seaway.core.traffic import Limits, RoutedRevision
from seaway.engine.isolated import IsolatedModel
from seaway.engine.jobs import Learned
from seaway.engine.predictor import Predictor


class Model(msgspec.Struct):
    """A model in memory, shared by all revisions of its digest."""

    bundle: OpenedBundle
    loaded: LoadedModel
    sample: Tensors
    learned: Learned
    isolated: bool = False
    users: int = 1


class Handle:
    """One revision of one endpoint. `enter` and `leave`, or `with handle:`, count a request in and out.

    How long its loading took is told by phase, and is 0 where the model was in memory already: `open_s` (fetched and
    verified), `load_s`, `warm_s` (first predictions); `memory_bytes` is what the process has grown by.
    """

    __slots__ = (
        "_model",
        "_predictor",
        "_retired",
        "_suspended",
        "endpoint",
        "failure",
        "fallback",
        "in_flight",
        "limits",
        "load_s",
        "memory_bytes",
        "open_s",
        "revision",
        "sheet",
        "warm_s",
    )

    def __init__(self, endpoint: str, revision: RoutedRevision, limits: Limits) -> None:
        self.endpoint = endpoint
        self.revision = revision
        self.limits = limits
        self.in_flight = 0
        self.open_s = 0.0
        self.load_s = 0.0
        self.warm_s = 0.0
        self.memory_bytes = 0
        self.failure: SeawayError | None = None
        self.fallback: int | None = None
        """Once the table names it no more: the revision that answers what this one cannot, of what it still runs."""
        self.sheet: Any = None
        """The recorder's own: where the requests of this revision are gathered."""
        self._model: Model | None = None
        self._predictor: Predictor | None = None
        self._suspended = False
        self._retired: Callable[[], None] | None = None

    @property
    def streams(self) -> bool:
        """Whether the model can answer piece by piece."""
        return isinstance(self.model.loaded, StreamingModel)

    @property
    def ready(self) -> bool:
        return self._predictor is not None and not self._suspended

    @property
    def filled(self) -> bool:
        """Whether a model was loaded for it, though it may be suspended now."""
        return self._predictor is not None

    @property
    def signature(self) -> Signature:
        return self.bundle.manifest.signature

    @property
    def bundle(self) -> OpenedBundle:
        return self.model.bundle

    @property
    def sample(self) -> Tensors:
        """The rows that the first prediction was made with."""
        return self.model.sample

    @property
    def isolated(self) -> bool:
        """Whether its model runs in a process of its own."""
        return self.model.isolated

    @property
    def faults(self) -> int:
        """How often that process has ended by its own fault; 0 where there is none."""
        loaded = self.model.loaded
        return loaded.faults if isinstance(loaded, IsolatedModel) else 0

    @property
    def predictor(self) -> Predictor:
        """What requests are submitted to."""
        assert self._predictor is not None, "the router hands out ready handles only"
        return self._predictor

    @property
    def model(self) -> Model:
        """What answers for it."""
        assert self._model is not None, "the router hands out ready handles only"
        return self._model

    def enter(self) -> None:
        """A request begins."""
        self.in_flight += 1

    def leave(self) -> None:
        """A request has ended."""
        self.in_flight -= 1
        if self.in_flight == 0 and self._retired is not None:
            self._retired()

    def __enter__(self) -> Handle:
        self.enter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()

    def fill(self, model: Model, predictor: Predictor) -> None:
        """From now on it can answer."""
        self._model = model
        self._predictor = predictor
        self._suspended = False
        self.failure = None

    def suspend(self) -> None:
        """Answer nothing until it is filled again; what runs now is still answered. Idempotent."""
        self._suspended = True
        if self._predictor is not None:
            self._predictor.close()

    def retire(self, close: Callable[[], None]) -> None:
        """Call `close` once no request is in flight: now, or when the last one leaves."""
        if self.in_flight == 0:
            close()
        else:
            self._retired = close

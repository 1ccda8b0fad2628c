"""A model in a process of its own: to the pool it is a LoadedModel like any other, to its process a caller.

Here is what happens when that process ends, hangs or grows; how it is started and spoken to is the `Engine`'s affair,
which wiring gives.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Final, Protocol

from seaway.core.errors import PermanentError, TemporaryError
from seaway.core.ports import Clock
from seaway.core.tensors import Signature, Tensors

_BACKOFF_S: Final = (0.0, 0.5, 1.0, 2.0, 5.0)
_STABLE_S: Final = 10.0


class EngineEnded(Exception):
    """The engine process ended while it was spoken to, or was killed since it did not answer in time.

    `own_fault`: by what it ran, and not since somebody killed it.
    """

    def __init__(self, said: str, *, own_fault: bool = False) -> None:
        super().__init__(said)
        self.own_fault = own_fault


class Engine(Protocol):
    """One running engine process that has loaded its model."""

    @property
    def streams(self) -> bool:
        """Whether the model can answer piece by piece."""

    @property
    def worn(self) -> str | None:
        """Why the process should be replaced by a fresh one, in words; None while it need not be."""

    def predict(self, inputs: Tensors, timeout_s: float | None) -> Tensors:
        """As `LoadedModel.predict`; raises `EngineEnded` too. Any thread."""

    def stream(self, inputs: Tensors, timeout_s: float | None) -> Iterator[Tensors]:
        """As `StreamingModel.stream`; raises `EngineEnded` too."""

    def retire(self) -> None:
        """End the process once it has answered all that it was asked; nothing new is asked. Idempotent."""

    def close(self) -> None:
        """End the process at once; does not wait for its end. Idempotent."""


def isolated(
    signature: Signature, start: Callable[[], Engine], clock: Clock, say: Callable[[str], None]
) -> IsolatedModel:
    """A model behind a first engine process; blocks while it starts. `say` gets a line at each crash and restart.

    Raises what the runtime raises, and `PermanentError("execution_failed")` where the model ends its process while it
    is loaded. One that streams is a `StreamingModel` too.
    """
    try:
        engine = start()
    except EngineEnded as error:
        raise PermanentError(
            "execution_failed", f"the model's own process {error} while it loaded the model"
        ) from error
    return (IsolatedStreamingModel if engine.streams else IsolatedModel)(signature, engine, start, clock, say)


class IsolatedModel:
    """`core.ports.LoadedModel` over one engine process after the other.

    One prediction at a time: when the process ends, what it was working on is known. A crash costs the requests that
    were in it (`TemporaryError("engine_crashed")`); until the next process has loaded the model, `not_ready`.
    """

    def __init__(
        self,
        signature: Signature,
        engine: Engine,
        start: Callable[[], Engine],
        clock: Clock,
        say: Callable[[str], None],
    ) -> None:
        self._signature = signature
        self._start = start
        self._clock = clock
        self._say = say
        self._turn = threading.Lock()  # held during a prediction
        self._changing = threading.Lock()  # held for a few instructions
        self._engine: Engine | None = engine
        self._since_s = clock.monotonic_s()
        self._crashes = 0
        self.faults = 0
        """How often the process has ended by its own fault, in all."""
        self._starting = False
        self._closed = threading.Event()

    @property
    def signature(self) -> Signature:
        return self._signature

    @property
    def up(self) -> bool:
        """Whether there is a process that can answer now."""
        return self._engine is not None

    def predict(self, inputs: Tensors, timeout_s: float | None = None) -> Tensors:
        """As the port says; also raises `TemporaryError` (`engine_crashed`, `not_ready`)."""
        end_s = None if timeout_s is None else self._clock.monotonic_s() + timeout_s
        if not self._turn.acquire(timeout=-1 if timeout_s is None else max(0.0, timeout_s)):
            raise TemporaryError("deadline_exceeded", "the model's process did not come to this in time")
        try:
            engine = self._present()
            left_s = None if end_s is None else max(0.0, end_s - self._clock.monotonic_s())
            try:
                outputs = engine.predict(inputs, left_s)
            except EngineEnded as error:
                raise self._lost(engine, error) from error
        finally:
            self._turn.release()
        if engine.worn is not None:
            self._renew(engine)
        return outputs

    def close(self) -> None:
        """End the process. Idempotent."""
        self._closed.set()
        with self._changing:
            engine, self._engine = self._engine, None
        if engine is not None:
            engine.close()

    def _present(self) -> Engine:
        engine = self._engine
        if engine is None:
            with self._changing:
                self._begin(None)  # where that could not be done when it ended
            raise TemporaryError(
                "not_ready", "the model's own process is being started", retry_after_s=self._backoff_s() + 1.0
            )
        return engine

    def _lost(self, engine: Engine, error: EngineEnded) -> TemporaryError:
        """Start the next process, once for each that ended; the error for the request that saw it."""
        with self._changing:
            if self._engine is engine:
                self._engine = None
                self.faults += error.own_fault
                stable = self._clock.monotonic_s() - self._since_s >= _STABLE_S
                self._crashes = 1 if stable else self._crashes + 1
                self._begin(engine)
        return TemporaryError(
            "engine_crashed",
            f"the model's own process {error} while it worked on this request; it is being started again",
            "try again; a request that ends it every time is refused in the end",
            retry_after_s=self._backoff_s() + 1.0,
        )

    def _renew(self, engine: Engine) -> None:
        """Have a fresh process ready before the old one is let go: no request fails."""
        with self._changing:
            if self._engine is engine:
                self._begin(engine)

    def _begin(self, old: Engine | None) -> None:
        if self._starting or self._closed.is_set():
            return
        self._starting = True
        try:
            threading.Thread(target=self._replace, args=(old,), name="seaway-engine", daemon=True).start()
        except RuntimeError as error:  # too many threads: that may pass
            self._starting = False
            self._say(f"a model's own process cannot be started now: {error}")

    def _replace(self, old: Engine | None) -> None:
        if self._engine is None and old is not None:
            old.close()  # it has ended: only reaped here
        fresh = self._fresh()
        if fresh is None:
            return
        with self._changing:
            self._starting = False
            self._since_s = self._clock.monotonic_s()
            if self._closed.is_set():
                leaving: Engine | None = fresh
            else:
                leaving, self._engine = old, fresh
        worn = None if old is None else old.worn
        self._say(f"a model's own process was replaced by a fresh one ({worn or 'it had ended'})")
        if leaving is not None:
            leaving.retire()

    def _fresh(self) -> Engine | None:
        """The next process; None where the model was closed meanwhile, or where the old one must still do."""
        while not self._closed.wait(0.0 if self.up else self._backoff_s()):
            try:
                return self._start()
            except Exception as error:  # noqa: BLE001 - the thread's edge: whatever it is, it may pass
                self._say(f"a model's own process cannot be started: {error or type(error).__name__}")
            with self._changing:
                self._crashes += 1
                if self._engine is not None:
                    self._starting = False  # its next answer asks for a successor again
                    return None
        return None

    def _backoff_s(self) -> float:
        return _BACKOFF_S[min(max(self._crashes, 1), len(_BACKOFF_S)) - 1]


class IsolatedStreamingModel(IsolatedModel):
    """`core.ports.StreamingModel` as well: streams run beside predictions, each on a thread of the process."""

    def stream(self, inputs: Tensors, timeout_s: float | None = None) -> Iterator[Tensors]:
        """As the port says; also raises `TemporaryError` (`engine_crashed`, `not_ready`)."""
        engine = self._present()
        try:
            yield from engine.stream(inputs, timeout_s)
        except EngineEnded as error:
            raise self._lost(engine, error) from error

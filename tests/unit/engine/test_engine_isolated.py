"""A model whose engine processes end, hang and grow, as a test tells them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from engine_fakes import SIGNATURE, FakeClock

from seaway.core.errors import PermanentError, TemporaryError, UserError
from seaway.core.ports import LoadedModel, StreamingModel
from seaway.core.tensors import Tensors
from seaway.engine import isolated
from seaway.engine.isolated import EngineEnded, IsolatedModel


def x(value: float) -> Tensors:
    return {"x": np.array([value], np.float32)}


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


class FakeEngine:
    """Doubles its input; negative rows end it, and `gate` holds it."""

    def __init__(self, streams: bool = False) -> None:
        self.streams = streams
        self.worn: str | None = None
        self.ended = self.retired = self.closed = False
        self.gate: threading.Event | None = None
        self.inside = 0
        self.most_inside = 0

    def predict(self, inputs: Tensors, timeout_s: float | None) -> Tensors:
        self.inside += 1
        self.most_inside = max(self.most_inside, self.inside)
        try:
            if self.gate is not None:
                assert self.gate.wait(60)
            if self.ended or (np.asarray(inputs["x"]) < 0).any():
                self.ended = True
                raise EngineEnded("was ended by SIGSEGV", own_fault=True)
            return {"y": np.asarray(inputs["x"]) * np.float32(2)}
        finally:
            self.inside -= 1

    def stream(self, inputs: Tensors, timeout_s: float | None) -> Iterator[Tensors]:
        yield self.predict(inputs, timeout_s)
        yield self.predict(inputs, timeout_s)

    def retire(self) -> None:
        self.retired = True

    def close(self) -> None:
        self.closed = True


class Factory:
    """Starts FakeEngines; what stands in `failures` is raised first, one per start."""

    def __init__(self, streams: bool = False) -> None:
        self.streams = streams
        self.engines: list[FakeEngine] = []
        self.failures: list[Exception] = []
        self.held: threading.Event | None = None

    def __call__(self) -> FakeEngine:
        if self.held is not None:
            assert self.held.wait(60)
        if self.failures:
            raise self.failures.pop(0)
        self.engines.append(FakeEngine(self.streams))
        return self.engines[-1]


@pytest.fixture
def factory() -> Factory:
    return Factory()


def load(factory: Factory) -> IsolatedModel:
    return isolated.isolated(SIGNATURE, factory, FakeClock(), lambda line: None)


@pytest.fixture
def model(factory: Factory) -> Iterator[IsolatedModel]:
    model = load(factory)
    yield model
    model.close()


def answer(model: LoadedModel, value: float) -> float:
    return float(model.predict(x(value), 60.0)["y"][0])  # type: ignore[arg-type]


def test_it_is_a_model_like_any_other(model: IsolatedModel) -> None:
    assert model.signature == SIGNATURE
    assert answer(model, 2) == 4
    assert not isinstance(model, StreamingModel)


def test_f02_a_crash_costs_the_request_that_was_in_it(model: IsolatedModel, factory: Factory) -> None:
    with pytest.raises(TemporaryError, match="SIGSEGV") as crash:
        answer(model, -1)
    assert crash.value.code == "engine_crashed"
    until(lambda: model.up)
    assert answer(model, 2) == 4
    assert len(factory.engines) == 2
    assert factory.engines[0].closed
    assert model.faults == 1


def test_f02_while_the_next_process_starts_requests_are_refused_with_a_hint_when(
    model: IsolatedModel, factory: Factory
) -> None:
    factory.held = threading.Event()
    with pytest.raises(TemporaryError):
        answer(model, -1)
    with pytest.raises(TemporaryError) as refused:
        answer(model, 2)
    assert refused.value.code == "not_ready"
    assert refused.value.retry_after_s >= 1
    factory.held.set()
    until(lambda: model.up)
    assert answer(model, 2) == 4


def test_a_process_that_cannot_be_started_is_tried_again(model: IsolatedModel, factory: Factory) -> None:
    factory.failures = [OSError("no memory"), PermanentError("digest_mismatch", "for a moment")]
    with pytest.raises(TemporaryError):
        answer(model, -1)
    until(lambda: model.up)
    assert factory.failures == []
    assert answer(model, 2) == 4


def test_a_model_that_ends_its_process_while_it_loads_is_refused(factory: Factory) -> None:
    factory.failures = [EngineEnded("was ended by SIGSEGV")]
    with pytest.raises(PermanentError, match="while it loaded"):
        load(factory)
    factory.failures = [UserError("invalid_model", "no model")]
    with pytest.raises(UserError, match="no model"):
        load(factory)


def test_f04_a_worn_process_is_replaced_before_it_is_let_go(model: IsolatedModel, factory: Factory) -> None:
    old = factory.engines[0]
    old.worn = "300 MiB"
    factory.held = threading.Event()
    assert answer(model, 2) == 4
    assert answer(model, 3) == 6
    assert not old.retired
    factory.held.set()
    until(lambda: old.retired)
    assert not old.closed
    assert answer(model, 4) == 8
    assert len(factory.engines) == 2


def test_f04_a_worn_process_that_cannot_be_replaced_goes_on(model: IsolatedModel, factory: Factory) -> None:
    old = factory.engines[0]
    old.worn = "300 MiB"
    factory.failures = [OSError("no memory")]
    assert answer(model, 2) == 4
    until(lambda: not factory.failures)
    assert answer(model, 2) == 4
    until(lambda: answer(model, 2) == 4 and old.retired)


def test_one_prediction_at_a_time_so_that_blame_is_exact(model: IsolatedModel, factory: Factory) -> None:
    engine = factory.engines[0]
    engine.gate = threading.Event()
    answers: list[float] = []
    threads = [threading.Thread(target=lambda: answers.append(answer(model, 1))) for _ in range(4)]
    for thread in threads:
        thread.start()
    until(lambda: engine.inside == 1)
    with pytest.raises(TemporaryError) as late:
        model.predict(x(1), 0.01)
    assert late.value.code == "deadline_exceeded"
    engine.gate.set()
    for thread in threads:
        thread.join()
    assert answers == [2.0] * 4
    assert engine.most_inside == 1


def test_streams_where_the_model_streams() -> None:
    factory = Factory(streams=True)
    model = load(factory)
    assert isinstance(model, StreamingModel)
    assert [float(reply["y"][0]) for reply in model.stream(x(2), 1.0)] == [4, 4]  # type: ignore[arg-type]
    with pytest.raises(TemporaryError, match="SIGSEGV"):
        list(model.stream(x(-1), 1.0))
    until(lambda: len(factory.engines) == 2)
    model.close()


def test_closing_ends_the_process_and_starts_no_other(factory: Factory) -> None:
    model = load(factory)
    factory.held = threading.Event()
    with pytest.raises(TemporaryError):
        answer(model, -1)
    model.close()
    model.close()
    factory.held.set()
    until(lambda: all(engine.closed or engine.retired for engine in factory.engines))
    with pytest.raises(TemporaryError):
        answer(model, 1)


def test_a_restart_that_cannot_even_begin_is_begun_with_the_next_request(
    model: IsolatedModel, factory: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", refuse)
        with pytest.raises(TemporaryError, match="worked on this request"):
            answer(model, -1)
    with pytest.raises(TemporaryError, match="is being started"):
        answer(model, 1)
    until(lambda: model.up)
    assert answer(model, 1) == 2


def test_a_fault_of_any_kind_while_it_restarts_is_no_reason_to_give_up(
    model: IsolatedModel, factory: Factory
) -> None:
    factory.failures = [MemoryError()]
    with pytest.raises(TemporaryError):
        answer(model, -1)
    until(lambda: model.up)
    assert answer(model, 1) == 2

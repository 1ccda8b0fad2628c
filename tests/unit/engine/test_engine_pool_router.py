"""Loading, warming, sharing and dropping models; routing tables over them."""

from __future__ import annotations

import numpy as np
import pytest
from engine_fakes import FakeClock, FakeRuntime, revision, sources

from seaway.core.errors import PermanentError, SeawayError, TemporaryError, UserError
from seaway.core.traffic import Limits, Route, RoutedRevision, RoutingTable
from seaway.engine.pool import WARM_UP_S, Pool
from seaway.engine.router import Router


def pool_of(runtime: FakeRuntime, *loaded: RoutedRevision, damaged: str = "-") -> Pool:
    pool = Pool(sources(runtime, damaged=damaged), FakeClock())
    for item in loaded:
        pool.load("e", item, Limits())
    return pool


def table(generation: int, *revisions: RoutedRevision) -> RoutingTable:
    return RoutingTable(generation, (Route("e", revisions),))


def code_of(error: pytest.ExceptionInfo[SeawayError]) -> str:
    return error.value.code


def test_ready_means_that_a_real_prediction_passed() -> None:
    runtime = FakeRuntime()
    sample = {"x": np.array([3.0, 4.0], np.float32)}
    pool = Pool(sources(runtime, sample), FakeClock())
    pool.load("e", revision(1), Limits())
    assert runtime.models[0].calls == [(sample, WARM_UP_S)]
    handle = pool.get("e", 1)
    assert handle is not None
    assert handle.ready


def test_without_a_sample_the_first_prediction_is_made_up_from_the_signature() -> None:
    runtime = FakeRuntime()
    pool_of(runtime, revision(1))
    assert runtime.models[0].calls[0][0]["x"].tolist() == [0.0]


@pytest.mark.parametrize(
    "answer",
    [
        lambda inputs: {},
        lambda inputs: {"y": np.zeros(1, np.float64)},
        lambda inputs: {"y": np.zeros((1, 1), np.float32)},
    ],
)
def test_an_answer_that_breaks_the_signature_is_no_first_prediction(answer) -> None:
    runtime = FakeRuntime(answer)
    pool = Pool(sources(runtime), FakeClock())
    with pytest.raises(PermanentError) as caught:
        pool.load("e", revision(1), Limits())
    assert code_of(caught) == "execution_failed"
    assert runtime.models[0].closed
    handle = pool.get("e", 1)
    assert handle is not None
    assert not handle.ready
    assert handle.failure is caught.value


def test_a_failed_load_can_be_tried_again_and_retired() -> None:
    pool = pool_of(FakeRuntime(), damaged="b")
    with pytest.raises(PermanentError):
        pool.load("e", revision(1, "b"), Limits())
    pool.load("e", revision(1, "a"), Limits())
    handle = pool.get("e", 1)
    assert handle is not None
    assert handle.ready
    with pytest.raises(PermanentError):
        pool.load("e", revision(2, "b"), Limits())
    pool.retire("e", 2)
    assert pool.get("e", 2) is None


def test_loading_again_does_nothing_and_other_bytes_are_refused() -> None:
    runtime = FakeRuntime()
    pool = pool_of(runtime, revision(1), revision(1))
    assert len(runtime.models) == 1
    with pytest.raises(UserError) as caught:
        pool.load("e", revision(1, "c"), Limits())
    assert code_of(caught) == "generation_conflict"


def test_revisions_of_one_digest_share_a_model_until_the_last_goes() -> None:
    runtime = FakeRuntime()
    pool = pool_of(runtime, revision(1), revision(2))
    assert len(runtime.models) == 1
    pool.retire("e", 1)
    assert not runtime.models[0].closed
    pool.retire("e", 2)
    assert runtime.models[0].closed
    assert pool.handles() == []


def test_a_retired_revision_goes_after_its_last_request() -> None:
    runtime = FakeRuntime()
    pool = pool_of(runtime, revision(1))
    handle = pool.get("e", 1)
    assert handle is not None
    with handle:
        with handle:
            pool.retire("e", 1)
            assert pool.get("e", 1) is None
            assert pool.handles() == [handle]
        assert not runtime.models[0].closed
    assert runtime.models[0].closed
    assert pool.handles() == []
    pool.retire("e", 1)


def test_picking() -> None:
    pool = pool_of(FakeRuntime(), revision(1), revision(2, "b"))
    router = Router(
        pool, table(1, revision(1, percent=100.0), revision(2, "b", percent=0.0), revision(3, percent=0.0))
    )
    assert router.pick("e", "key").revision.number == 1
    assert router.pick("e", "key", 2).revision.number == 2
    for endpoint, number, code in (("f", None, "endpoint_not_found"), ("e", 9, "revision_not_found")):
        with pytest.raises(UserError) as caught:
            router.pick(endpoint, "key", number)
        assert code_of(caught) == code
    with pytest.raises(TemporaryError) as late:
        router.pick("e", "key", 3)
    assert late.value.code == "not_ready"
    assert router.ready


def test_a_split_follows_its_shares_and_keeps_each_key_where_it_is() -> None:
    pool = pool_of(FakeRuntime(), revision(1), revision(2, "b"))
    router = Router(pool, table(1, revision(1, percent=75.0), revision(2, "b", percent=25.0)))
    picks = [router.pick("e", f"key-{n}").revision.number for n in range(4000)]
    assert 0.22 < picks.count(2) / len(picks) < 0.28
    assert picks == [router.pick("e", f"key-{n}").revision.number for n in range(4000)]


def test_commit_is_refused_unless_all_is_ready_or_was_broken_before() -> None:
    pool = pool_of(FakeRuntime(), revision(1))
    router = Router(pool, table(5, revision(1), revision(7, "c", percent=0.0)))
    for bad, code in (
        (table(4, revision(1)), "generation_conflict"),
        (table(6, revision(2, "b")), "revision_failed"),
    ):
        with pytest.raises(UserError) as caught:
            router.commit(bad)
        assert code_of(caught) == code
        assert router.table.generation == 5
    router.commit(table(6, revision(1), revision(7, "c", percent=0.0)))
    router.commit(table(6, revision(1)))
    assert router.table == table(6, revision(1))


def test_what_the_table_names_is_not_retired() -> None:
    router = Router(pool_of(FakeRuntime(), revision(1)), table(1, revision(1)))
    with pytest.raises(UserError) as caught:
        router.retire("e", 1)
    assert code_of(caught) == "generation_conflict"
    router.commit(RoutingTable(2))
    router.retire("e", 1)
    assert router.pool.handles() == []


def test_not_ready_while_a_revision_with_traffic_is_missing() -> None:
    router = Router(pool_of(FakeRuntime()), table(1, revision(1)))
    assert not router.ready
    assert [handle for _, handle in router.serving()] == [None]
    router.pool.load("e", revision(1), Limits())
    assert router.ready
    assert next(router.serving())[1] is router.pool.get("e", 1)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (OSError(28, "No space left on device", "/home/me/secret.onnx"), "OSError (No space left on device)"),
        (MemoryError("/home/me 17 GB"), "MemoryError"),
        (NameError("name '/home/me' is not defined"), "NameError"),
    ],
)
def test_a_fault_of_any_kind_while_loading_is_the_revisions_failure_and_others_load(
    fault: Exception, words: str
) -> None:
    def breaks(inputs: object) -> dict[str, np.ndarray]:
        raise fault

    runtime = FakeRuntime(breaks)
    pool = Pool(sources(runtime), FakeClock())
    with pytest.raises(PermanentError) as caught:
        pool.load("e", revision(1), Limits())
    assert (caught.value.code, caught.value.__cause__) == ("internal", fault)
    assert caught.value.message.endswith(words)
    assert "/home" not in caught.value.message
    handle = pool.get("e", 1)
    assert handle is not None
    assert handle.failure is caught.value
    assert not handle.ready
    assert runtime.models[0].closed
    runtime.answer = None
    pool.load("e", revision(2, "b"), Limits())
    pool.load("e", revision(1), Limits())
    assert [(h.ready, h.failure) for h in pool.handles()] == [(True, None), (True, None)]

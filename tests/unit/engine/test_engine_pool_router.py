"""Loading, warming, sharing and dropping models; routing tables over them."""

from __future__ import annotations

import asyncio
import threading

import msgspec
import numpy as np
import pytest
from engine_fakes import Asked, FakeClock, FakeModel, FakeRuntime, digest, predict, revision, sources

from seaway.core.errors import PermanentError, SeawayError, TemporaryError, UserError
from seaway.core.tensors import Tensors
from seaway.core.traffic import Limits, Route, RoutedRevision, RoutingTable
from seaway.engine import warmup
from seaway.engine.jobs import Learned
from seaway.engine.pool import Pool
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
    assert runtime.models[0].calls[0] == (sample, warmup.FIRST_S)
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


def test_the_first_lane_is_chosen_by_what_the_warm_up_measured() -> None:
    clock = FakeClock()

    def takes(inputs: Tensors) -> Tensors:
        clock.at_s += 0.004 + 0.0001 * len(inputs["x"])
        return {"y": inputs["x"]}

    pool = Pool(sources(FakeRuntime(takes)), clock)
    pool.load("e", revision(1), Limits())
    (learned,) = pool.learned().values()
    assert (learned.a_s, learned.b_s) == (pytest.approx(0.004), pytest.approx(0.0001))
    handle = pool.get("e", 1)
    assert handle is not None
    assert handle.predictor.facts().lane == "thread"
    assert handle.warm_s >= 0.0041
    assert handle.memory_bytes >= 0
    cheap = pool_of(FakeRuntime(), revision(1)).get("e", 1)
    assert cheap is not None
    assert cheap.predictor.facts().lane == "inline"


def test_what_an_earlier_process_learned_is_not_measured_again() -> None:
    runtime = FakeRuntime()
    known = Learned(0.01, 0.002, 500, inline_allowed=False, batchable=False)
    pool = Pool(sources(runtime), FakeClock(), learned={digest("a"): known})
    pool.load("e", revision(1), Limits())
    assert len(runtime.models[0].calls) == 1
    assert pool.learned() == {digest("a"): known}


@pytest.mark.parametrize(
    "answer",
    [
        lambda inputs: {"y": inputs["x"].sum(keepdims=True)},
        lambda inputs: {"y": np.asarray(inputs["x"]) / max(1.0, float(inputs["x"].sum()))},
    ],
)
def test_a_model_whose_rows_influence_each_other_is_not_batched(answer) -> None:
    sample = {"x": np.array([3.0, 4.0], np.float32)}
    pool = Pool(
        sources(FakeRuntime(lambda inputs: {"y": answer(inputs)["y"].astype(np.float32)}), sample),
        FakeClock(),
    )
    pool.load("e", revision(1), Limits())
    assert not pool.learned()[digest("a")].batchable


def test_a_model_is_put_behind_its_handles_anew() -> None:
    async def main() -> None:
        runtime = FakeRuntime()
        pool = pool_of(runtime, revision(1), revision(2))
        router = Router(pool, table(1, revision(1), revision(2, percent=0.0)))
        handle = router.pick("e", Asked())
        other = FakeModel(lambda inputs: {"y": np.asarray(inputs["x"]) + np.float32(100)})
        began, go_on = threading.Event(), threading.Event()

        def load(bundle: object) -> FakeModel:
            began.set()
            assert go_on.wait(60)
            return other

        with handle:
            replacing = asyncio.ensure_future(pool.replace(digest("a"), load))
            await asyncio.to_thread(began.wait)
            with pytest.raises(TemporaryError, match="not ready"):
                router.pick("e", Asked())
            go_on.set()
            await replacing
        assert router.pick("e", Asked()) is handle
        assert runtime.models[0].closed
        assert handle.isolated
        assert handle.predictor.facts().lane == "thread"
        found = await predict(handle.predictor, {"x": np.array([1.0], np.float32)}, 1000.0)
        assert found["y"].tolist() == [101.0]
        await pool.replace(digest("f"), load)
        pool.retire("e", 1)
        pool.retire("e", 2)
        assert other.closed

    asyncio.run(main())


def test_a_replacement_that_fails_leaves_its_handles_listed_with_the_error() -> None:
    async def main() -> None:
        runtime = FakeRuntime()
        pool = pool_of(runtime, revision(1))

        def load(bundle: object) -> FakeModel:
            raise OSError(28, "No space left on device", "/home/me")

        with pytest.raises(PermanentError, match="OSError"):
            await pool.replace(digest("a"), load)
        handle = pool.get("e", 1)
        assert handle is not None
        assert not handle.ready
        assert handle.failure is not None
        pool.load("e", revision(1), Limits())
        assert [(h.ready, h.failure) for h in pool.handles()] == [(True, None)]
        pool.retire("e", 1)
        assert runtime.models[0].closed

    asyncio.run(main())


def test_isolated_models_are_loaded_in_a_process_of_their_own() -> None:
    runtime, apart = FakeRuntime(), FakeRuntime()
    given = msgspec.structs.replace(sources(runtime), isolate=lambda wanted, bundle: apart.load(bundle))
    pool = Pool(given, FakeClock())
    pool.isolated.add(digest("b"))
    pool.load("e", msgspec.structs.replace(revision(1), isolated=True), Limits())
    pool.load("e", revision(2, "b"), Limits())
    pool.load("e", revision(3, "c"), Limits())
    assert (len(apart.models), len(runtime.models)) == (2, 1)
    assert [handle.isolated for handle in pool.handles()] == [True, True, False]
    assert [handle.predictor.facts().lane for handle in pool.handles()] == ["thread", "thread", "inline"]


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
    assert router.pick("e", Asked()).revision.number == 1
    assert router.pick("e", Asked(), 2).revision.number == 2
    for endpoint, number, code in (("f", None, "endpoint_not_found"), ("e", 9, "revision_not_found")):
        with pytest.raises(UserError) as caught:
            router.pick(endpoint, Asked(), number)
        assert code_of(caught) == code
    with pytest.raises(TemporaryError) as late:
        router.pick("e", Asked(), 3)
    assert late.value.code == "not_ready"
    assert router.ready


def test_a_split_follows_its_shares_and_keeps_each_key_where_it_is() -> None:
    pool = pool_of(FakeRuntime(), revision(1), revision(2, "b"))
    router = Router(pool, table(1, revision(1, percent=75.0), revision(2, "b", percent=25.0)))
    picks = [router.pick("e", Asked(f"key-{n}")).revision.number for n in range(4000)]
    assert 0.22 < picks.count(2) / len(picks) < 0.28
    assert picks == [router.pick("e", Asked(f"key-{n}")).revision.number for n in range(4000)]


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


def test_a_revision_that_asks_for_its_own_process_gets_one_though_the_model_is_here_already() -> None:
    inside, outside = FakeRuntime(), FakeRuntime()
    found = msgspec.structs.replace(sources(inside), isolate=lambda _, bundle: outside.load(bundle))
    pool = Pool(found, FakeClock())
    pool.load("shared", revision(1), Limits())
    apart = msgspec.structs.replace(revision(1), isolated=True)
    pool.load("apart", apart, Limits())
    handles = {handle.endpoint: handle for handle in pool.handles()}
    assert (handles["shared"].isolated, handles["apart"].isolated) == (False, True)
    assert (len(inside.models), len(outside.models)) == (1, 1)
    pool.retire("apart", 1)
    assert (inside.models[0].closed, outside.models[0].closed) == (False, True)


def test_a_replacement_whose_first_prediction_fails_in_any_way_is_told_and_can_be_tried_again() -> None:
    async def main() -> None:
        runtime = FakeRuntime()
        pool = pool_of(runtime, revision(1))

        def fail(inputs: Tensors) -> Tensors:
            raise ValueError("a fault of the model's own")

        with pytest.raises(PermanentError, match="ValueError"):
            await pool.replace(digest("a"), lambda bundle: FakeModel(fail))
        handle = pool.get("e", 1)
        assert handle is not None and handle.failure is not None
        fresh = FakeModel()
        await pool.replace(digest("a"), lambda bundle: fresh)
        assert (handle.ready, handle.failure, handle.isolated) == (True, None, True)
        assert runtime.models[0].closed
        pool.retire("e", 1)
        assert fresh.closed

    asyncio.run(main())


def test_a_model_that_moved_into_its_own_process_is_shared_with_later_revisions() -> None:
    async def main() -> None:
        inside, outside = FakeRuntime(), FakeRuntime()
        found = msgspec.structs.replace(sources(inside), isolate=lambda _, bundle: outside.load(bundle))
        pool = Pool(found, FakeClock())
        pool.load("e", revision(1), Limits())
        pool.isolated.add(digest("a"))
        await pool.replace(digest("a"), outside.load)
        pool.load("e", revision(2), Limits())
        assert len(outside.models) == 1
        pool.retire("e", 1)
        assert not outside.models[0].closed
        pool.retire("e", 2)
        assert outside.models[0].closed

    asyncio.run(main())

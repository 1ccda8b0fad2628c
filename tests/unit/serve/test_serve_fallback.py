"""S9: what a candidate cannot answer the stable revision does, and it counts against the candidate exactly once."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
from collections.abc import Callable, Coroutine, Iterator

import pytest
from engine_fakes import Steps, revision
from rollout_front import BROKEN, CANDIDATE, CRASHED, STABLE, Arms, Rollout, in_flight

from seaway.core.errors import PermanentError, SeawayError, TemporaryError, UserError
from seaway.core.records import Chosen
from seaway.core.tensors import Tensors
from seaway.core.traffic import Route, RoutingTable
from seaway.serve import worker_metrics


def run(test: Callable[[], Coroutine[None, None, None]]) -> None:
    """Fails where something went wrong with nobody left to hear of it."""

    async def scenario() -> None:
        heard: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: heard.append(context))
        await test()
        gc.collect()
        assert heard == []

    asyncio.run(scenario())


class Failing(threading.Event):
    """A gate at which the model fails."""

    def wait(self, timeout: float | None = None) -> bool:
        raise BROKEN


@pytest.mark.parametrize(
    "fault",
    [
        BROKEN,
        CRASHED,
        PermanentError("internal", "the runtime failed"),
        TemporaryError("not_ready", "its process is being started"),
    ],
)
def test_s09_a_request_that_the_candidate_fails_is_answered_by_the_stable_one(fault: SeawayError) -> None:
    async def scenario() -> None:
        server = Rollout()
        server.arms.fault = fault
        status, headers, body = await server.ask("/predict/e", b"[1]")
        assert (status, json.loads(body)) == (200, {"predictions": [2.0]})
        assert headers["seaway-revision"] == str(STABLE)
        assert server.counted() == {
            ("predict", "e", "2", fault.code): 1,
            ("predict", "e", "1", "200"): 1,
        }
        assert server.told() == [(fault.code, "split"), ("200", "fallback")]
        failed, answered = server.recorder.requests
        assert failed.request_id == answered.request_id
        assert failed.outputs is None and answered.outputs is not None
        assert server.plane.fallbacks == {("e", "2", fault.code): 1}
        assert in_flight(server) == 0
        shown = worker_metrics.render(server.plane, 0, 1)
        assert (
            f'seaway_fallbacks_total{{endpoint="e",revision="2",code="{fault.code}",worker="0"}} 1' in shown
        )

    run(scenario)


def test_s09_a_candidate_that_is_not_ready_fails_over_before_anything_is_read() -> None:
    async def scenario() -> None:
        server = Rollout(ready=False)
        status, headers, _ = await server.ask("/predict/e", b"[1]")
        assert (status, headers["seaway-revision"]) == (200, "1")
        assert server.told() == [("not_ready", "split"), ("200", "fallback")]
        assert server.counted()["predict", "e", "2", "not_ready"] == 1

    run(scenario)


def test_without_a_fallback_a_revision_that_is_not_ready_is_named_in_its_answer_and_in_the_counts() -> None:
    """Else a candidate that cannot answer at all would show no failure to those who judge it."""

    async def scenario() -> None:
        server = Rollout(ready=False, fallback=None)
        status, headers, body = await server.ask("/predict/e", b"[1]")
        assert (status, json.loads(body)["code"], headers["seaway-revision"]) == (503, "not_ready", "2")
        assert server.counted() == {("predict", "e", "2", "not_ready"): 1}
        assert server.told() == [("not_ready", "split")]

    run(scenario)


def test_flagged_requests_fall_back_too_and_stay_no_sample() -> None:
    async def scenario() -> None:
        server = Rollout(percent=0.001)
        server.arms.fault = BROKEN
        status, headers, _ = await server.ask("/predict/e", b"[1]", headers=[(b"x-beta", b"yes")])
        assert (status, headers["seaway-revision"]) == (200, "1")
        assert server.told() == [("execution_failed", "flag"), ("200", "fallback")]

    run(scenario)


@pytest.mark.parametrize(
    ("fault", "body", "path"),
    [
        (BROKEN, b"[1]", "/v2/models/e/versions/2/infer"),  # the client named it
        (UserError("invalid_value", "not this one"), b"[1]", "/predict/e"),
        (UserError("quarantined", "it ended the process three times"), b"[1]", "/predict/e"),
        (TemporaryError("overloaded", "too many"), b"[1]", "/predict/e"),
        (TemporaryError("deadline_exceeded", "late"), b"[1]", "/predict/e"),
        (None, b'["no number"]', "/predict/e"),
    ],
)
def test_what_another_revision_would_not_do_better_stays_where_it_is(
    fault: SeawayError | None, body: bytes, path: str
) -> None:
    async def scenario() -> None:
        server = Rollout()
        server.arms.fault = fault
        if "infer" in path:
            tensor = {"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}
            status, headers, _ = await server.ask(path, json.dumps({"inputs": [tensor]}).encode())
        else:
            status, headers, _ = await server.ask(path, body)
        assert status >= 400 and headers["seaway-revision"] == "2"
        ((_, chosen),) = server.told()
        assert chosen == ("named" if "infer" in path else "split")
        assert not server.plane.fallbacks

    run(scenario)


def test_no_time_left_is_no_second_try() -> None:
    async def scenario() -> None:
        server = Rollout()

        def late(inputs: Tensors) -> Tensors:
            server.plane.clock.advance(2.0)  # type: ignore[attr-defined]
            raise BROKEN

        server.arms.candidate.answer = late  # type: ignore[attr-defined]
        status, _, body = await server.ask("/predict/e", b"[1]")
        assert (status, json.loads(body)["code"]) == (500, "execution_failed")
        assert [code for code, _ in server.told()] == ["execution_failed"]

    run(scenario)


def test_where_both_fail_the_stable_ones_error_is_the_answer_and_each_failure_counts_once() -> None:
    async def scenario() -> None:
        server = Rollout()
        server.arms.fault = CRASHED
        server.arms.stable.gate = Failing()  # type: ignore[attr-defined]
        status, headers, body = await server.ask("/predict/e", b"[1]")
        assert (status, headers["seaway-revision"]) == (500, "1")
        assert json.loads(body)["code"] == "execution_failed"
        assert server.told() == [("engine_crashed", "split"), ("execution_failed", "fallback")]
        assert in_flight(server) == 0

    run(scenario)


@pytest.mark.parametrize("wider", [False, True])
def test_where_the_stable_one_does_not_take_it_the_first_error_is_the_answer(wider: bool) -> None:
    async def scenario() -> None:
        server = Rollout(wider=wider)
        server.arms.fault = BROKEN
        server.handle(STABLE).predictor.close()  # it takes nothing more, and nobody knows yet
        status, headers, body = await server.ask("/predict/e", b"[1]")
        assert (status, headers["seaway-revision"]) == (500, "2")
        assert json.loads(body)["code"] == "execution_failed"
        assert server.told() == [("execution_failed", "split")]
        assert in_flight(server) == 0

    run(scenario)


@pytest.mark.parametrize("wider", [False, True])
@pytest.mark.parametrize("large", [False, True])
def test_a_candidate_of_another_signature_and_a_large_body(wider: bool, large: bool) -> None:
    """The stable revision's answer has the outputs of its own Signature."""
    rows = 150_000 if large else 2

    async def scenario() -> None:
        server = Rollout(wider=wider)
        server.arms.fault = BROKEN
        tensor = {"name": "x", "datatype": "FP32", "shape": [rows], "data": [1.0] * rows}
        body = json.dumps({"inputs": [tensor]}).encode()
        status, headers, answer = await server.ask("/v2/models/e/infer", body)
        assert (status, headers["seaway-revision"]) == (200, "1")
        (output,) = json.loads(answer)["outputs"]
        assert (output["name"], output["shape"], output["data"][:2]) == ("y", [rows], [2.0, 2.0])
        assert server.told() == [("execution_failed", "split"), ("200", "fallback")]
        assert in_flight(server) == 0

    run(scenario)


def test_the_faults_of_the_candidate_go_to_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    async def scenario() -> None:
        server = Rollout()
        server.arms.fault = BROKEN
        await server.ask("/predict/e", b"[1]")

    run(scenario)
    (line,) = [json.loads(text) for text in capsys.readouterr().err.splitlines() if text.startswith("{")]
    assert (line["error.code"], line["seaway.revision"]) == ("execution_failed", CANDIDATE)


def test_what_was_passed_on_is_told_until_the_next_candidate_goes() -> None:
    async def scenario() -> None:
        server = Rollout()
        server.arms.fault = BROKEN
        await server.ask("/predict/e", b"[1]")
        server.plane.router.commit(RoutingTable(2, (Route("e", (revision(STABLE, "a"),)),)))
        server.plane.retire("e", CANDIDATE)
        assert server.plane.fallbacks == {("e", str(CANDIDATE), "execution_failed"): 1}
        server.plane.retire("other", 9)
        assert len(server.plane.fallbacks) == 1
        server.plane.retire("e", CANDIDATE + 1)
        assert server.plane.fallbacks == {}

    run(scenario)


def test_a_client_that_leaves_while_the_stable_one_answers() -> None:
    async def scenario() -> None:
        server = Rollout()
        server.arms.fault = BROKEN
        gate = server.arms.stable.gate = threading.Event()  # type: ignore[attr-defined]
        exchange, outlet = server.begin("/predict/e", b"[1]")
        async with asyncio.timeout(60):
            while not server.recorder.requests:
                await asyncio.sleep(0.001)
        assert in_flight(server) == 1 == server.handle(STABLE).in_flight
        server.lose(exchange)
        assert in_flight(server) == 0
        gate.set()
        assert outlet.sent == []
        assert server.told() == [("execution_failed", "split"), ("cancelled", "fallback")]

    run(scenario)


class BrokenSteps(Steps):
    """Fails after as many replies as `good`."""

    good = 0

    def stream(self, inputs: Tensors, timeout_s: float | None = None) -> Iterator[Tensors]:
        yield from list(super().stream(inputs, timeout_s))[: self.good]
        raise BROKEN


@pytest.mark.parametrize(("good", "revision_told", "codes"), [(0, "1", 2), (1, "2", 1)])
def test_a_stream_is_passed_on_only_before_its_first_piece(
    good: int, revision_told: str, codes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        monkeypatch.setattr(BrokenSteps, "good", good)
        arms = Arms()
        arms.stable, arms.candidate = Steps(), BrokenSteps()
        server = Rollout(arms)
        exchange, outlet = server.exchange("/v2/models/e/generate_stream")
        opened: list[bytes] = []
        pieces: list[bytes] = []
        outlet.open = lambda stream, status, head: (opened.append(head), stream.begin(head, True))  # type: ignore[attr-defined]
        outlet.write = pieces.append  # type: ignore[attr-defined]
        outlet.writable = True  # type: ignore[attr-defined]
        ended = asyncio.Event()
        outlet.finish_stream = lambda stream: ended.set()  # type: ignore[attr-defined]
        server.front.head(exchange)
        exchange.body, exchange.whole = b'{"x": 2}', True
        server.front.request(exchange)
        async with asyncio.timeout(60):
            await ended.wait()
        server.front.finished(exchange)
        assert b"seaway-revision: %s\r\n" % revision_told.encode() in opened[0]
        assert len(server.recorder.requests) == codes
        told = [(request.code, request.chosen) for request in server.recorder.requests]
        if good:
            assert told == [("execution_failed", Chosen.SPLIT)]
        else:
            assert told == [("execution_failed", Chosen.SPLIT), ("200", Chosen.FALLBACK)]
            assert b"".join(pieces).count(b"data:") >= 2
        async with asyncio.timeout(60):
            while in_flight(server):
                await asyncio.sleep(0)

    run(scenario)

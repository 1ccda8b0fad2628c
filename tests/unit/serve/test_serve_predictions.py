"""A prediction from its start to its end: its revision counts it, and nothing is kept of it, however it ends."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
import weakref
from collections.abc import Callable, Coroutine, Mapping

import pytest
from engine_fakes import Asked, Steps, revision
from front_server import Server

from seaway.core.errors import UserError
from seaway.core.tensors import Signature
from seaway.core.traffic import Limits
from seaway.engine.predictor import Predictor
from seaway.serve.door import Decoded
from seaway.serve.doors import PREDICT

LARGE_BODY = b"[" + b"1," * 150_000 + b"1]"
LARGE_ANSWER = json.dumps([1] * 40_000).encode()


def run(test: Callable[[Server], Coroutine[None, None, None]]) -> None:
    """Fails where something went wrong with nobody left to hear of it."""

    async def scenario() -> None:
        heard: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: heard.append(context))
        await test(Server())
        gc.collect()
        assert heard == []

    asyncio.run(scenario())


async def until(met: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not met():
            await asyncio.sleep(0.001)


def in_flight(server: Server) -> int:
    return sum(handle.in_flight for handle in server.plane.router.pool.handles())


def test_a_large_body_counts_for_its_revision_from_the_start() -> None:
    async def scenario(server: Server) -> None:
        _, outlet = server.begin("/predict/e", LARGE_BODY)
        assert in_flight(server) == 1
        server.plane.router.pool.retire("e", 1)
        await until(lambda: outlet.sent)
        assert outlet.sent[0][0] == 200
        await until(lambda: server.runtime.models[0].closed)

    run(scenario)


def test_a_revision_leaves_once_after_its_last_large_answer() -> None:
    async def scenario(server: Server) -> None:
        _, outlet = server.begin("/predict/e", LARGE_ANSWER)
        server.plane.router.pool.retire("e", 1)
        await until(lambda: outlet.sent)
        assert outlet.sent[0][0] == 200
        await until(lambda: server.runtime.models[0].closed)
        assert server.plane.router.pool.handles() == []

    run(scenario)


def test_a_retired_revision_is_forgotten() -> None:
    async def scenario(server: Server) -> None:
        await server.ask("/predict/e", b"[1]")
        model = weakref.ref(server.runtime.models.pop())
        server.plane.router.pool.retire("e", 1)

        def forgotten() -> bool:
            gc.collect()
            return model() is None

        await until(forgotten)

    run(scenario)


@pytest.mark.parametrize("error", [None, UserError("wrong_shape", "no"), ZeroDivisionError("secret")])
def test_a_client_that_leaves_while_its_body_is_decoded(
    error: Exception | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    go_on = threading.Event()
    decode = PREDICT.decode

    def held(headers: Mapping[bytes, bytes], body: bytes, signature: Signature) -> Decoded:
        assert go_on.wait(60)
        if error is not None:
            raise error
        return decode(headers, body, signature)

    async def scenario(server: Server) -> None:
        monkeypatch.setattr(PREDICT, "decode", held)
        exchange, outlet = server.begin("/predict/e", LARGE_BODY)
        calls = len(server.runtime.models[0].calls)
        server.lose(exchange)
        go_on.set()
        await until(lambda: in_flight(server) == 0)
        assert len(server.runtime.models[0].calls) == calls
        assert outlet.sent == [] and exchange.state is None
        assert server.counted() == {("predict", "e", "1", "cancelled"): 1}

    run(scenario)
    logged = capsys.readouterr().err
    assert ("ZeroDivisionError" in logged) == isinstance(error, ZeroDivisionError)
    assert "secret" not in logged  # W12: the text of an exception may hold what a caller sent


@pytest.mark.parametrize("path", ["/predict/e", "/v2/models/e/infer"])
def test_v07_a_client_that_closes_is_not_waited_for(path: str) -> None:
    async def scenario(server: Server) -> None:
        exchange, _ = server.exchange(path, headers=[(b"content-type", b"application/json")])
        server.front.head(exchange)
        assert exchange.ends_at_eof

    run(scenario)


def test_a_client_that_leaves_before_its_answer() -> None:
    async def scenario(server: Server) -> None:
        exchange, outlet = server.begin("/predict/e", b"[1]")
        calls = len(server.runtime.models[0].calls)
        assert in_flight(server) == 1
        server.lose(exchange)
        assert in_flight(server) == 0
        await server.ask("/predict/e", b"[2]")
        assert len(server.runtime.models[0].calls) == calls + 1
        assert outlet.sent == []
        assert server.counted() == {
            ("predict", "e", "1", "cancelled"): 1,
            ("predict", "e", "1", "200"): 1,
        }

    run(scenario)


@pytest.mark.parametrize("ticks", range(4))
def test_a_client_that_leaves_its_stream_at_any_time_ends_it(ticks: int) -> None:
    async def scenario(server: Server) -> None:
        handle = server.plane.router.pick("e", Asked())
        model = Steps()
        model.go = threading.Semaphore(0)
        handle.fill(handle.model, Predictor(model, revision(1).digest, Limits(), server.plane.clock))
        exchange, _ = server.begin("/v2/models/e/generate_stream", b'{"x": 3}')
        assert in_flight(server) == 1
        for _ in range(ticks):
            await asyncio.sleep(0)
        server.lose(exchange)
        await until(lambda: in_flight(server) == 0)
        model.go.release()
        await until(lambda: handle.predictor.facts().streams == 0)
        assert server.counted() == {("generate", "e", "1", "cancelled"): 1}

    run(scenario)

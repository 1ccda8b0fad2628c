"""A model that segfaults in a loop beside one under load: the first crash costs what was in flight, the others nothing."""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from seaway.testing import load
from seaway.testing.load import Load, LoadResult

sys.path.append(str(Path(__file__).resolve().parents[1] / "integration"))

import faulty_bundles
from faulty_server import FaultyServer, until

CRASHES = 50
RATE_PER_S = 200.0
CONNECTIONS = 16
LOAD_S = 5.0


def measure(scale: float) -> dict[str, Any]:
    """Raises `AssertionError` where the good model loses a request after the first crash."""
    crashes = max(5, round(CRASHES * scale))
    with tempfile.TemporaryDirectory(prefix="seaway-segfaults-") as work:
        bundles = {name: faulty_bundles.write(Path(work) / name, name) for name in ("bad", "good")}
        server = FaultyServer(Path(work) / "run", bundles)
        try:
            server.up()
            began = time.monotonic()
            first = _under_load(server, lambda: _first(server))
            first_s = time.monotonic() - began
            worker = server.pids()
            seconds: list[float] = []
            later = _under_load(server, lambda: _crash(server, crashes, seconds))
            assert server.pids() == worker, "the worker ended again"
        finally:
            server.down()
    assert len(first.failed) <= CONNECTIONS, f"the first crash cost {len(first.failed)} requests"
    assert not later.failed, f"later crashes cost others {len(later.failed)} requests: {later.failures}"
    return {
        "crashes": 1 + crashes,
        "requests_to_the_good_model": len(first.outcomes) + len(later.outcomes),
        "failed_by_the_first_crash": len(first.failed),
        "failed_by_all_later_crashes": 0,
        "first_round_s": round(first_s, 2),
        "bad_model_back_s_most": round(max(seconds), 2),
        "good_p99_ms_during_crashes": round(1000 * later.latency_s(0.99), 1),
    }


def _first(server: FaultyServer) -> None:
    assert server.status("bad", 1.0) is None
    until(lambda: server.isolated() == {"bad"} and server.serves("bad"))


def _crash(server: FaultyServer, crashes: int, seconds: list[float]) -> None:
    """Each time with another value, so that no request is known to be guilty."""
    for number in range(crashes):
        status, _, body = server.ask("bad", 1.0 + (number + 1) / 1024)
        assert (status, body["code"]) == (503, "engine_crashed"), body
        began = time.monotonic()
        until(lambda: server.serves("bad"))
        seconds.append(time.monotonic() - began)


def _under_load(server: FaultyServer, act: Callable[[], None]) -> LoadResult:
    """The good model's outcomes while `act` goes on: one load after the other, until it is over."""
    body = msgspec.json.encode({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [0.25]}]})
    host = f"127.0.0.1:{server.port}"
    offered = Load(
        host="127.0.0.1",
        port=server.port,
        request=lambda _: load.post("/v2/models/good/infer", host, body),
        count=round(RATE_PER_S * LOAD_S),
        rate_per_s=RATE_PER_S,
        connections=CONNECTIONS,
        timeout_s=100,
        accept=lambda _, answer: msgspec.json.decode(answer)["outputs"][0]["data"] == [0.5],
    )
    results: list[LoadResult] = []
    over = threading.Event()

    def offer() -> None:
        while not over.is_set():
            results.append(load.run(offered))

    thread = threading.Thread(target=offer)
    thread.start()
    time.sleep(0.5)
    try:
        act()
    finally:
        over.set()
        thread.join()
    return LoadResult(tuple(outcome for result in results for outcome in result.outcomes))

"""kill -9 of a worker under open-loop load, again and again: what is lost, and how long until it is back.

A request may fail only where it was in flight on the worker that died; no other is lost, not even one that waits in
the dead worker's queue, since the supervisor holds the listening socket.
"""

from __future__ import annotations

import os
import random
import select
import signal
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import msgspec

from seaway.control import answers
from seaway.testing import load
from seaway.testing.load import Load, LoadResult
from server import PATIENT, Seaway, linear_model

KILLS = 50
RATE_PER_S = 300.0
LOAD_S = 3.0
BACK_S = 3.0


def measure(scale: float) -> dict[str, Any]:
    """Raises `AssertionError` where a request is lost that was not on the dead worker, or a worker is back late."""
    kills = max(3, round(KILLS * scale))
    chance = random.Random(20261122)
    failed, back_s, asked, stalls_s = [], [], 0, []
    with tempfile.TemporaryDirectory(prefix="seaway-worker-kills-") as work:
        seaway = Seaway(Path(work))
        seaway.limits = PATIENT if scale < 1 else {}
        model = linear_model(seaway.home / "linear.onnx", 2.0)
        seaway.run("package", str(model), "--name", "linear", "--no-lock")
        with seaway.up(workers=2):
            seaway.deploy_first("linear", "linear:v1")
            for number in range(kills):
                slot = number % 2
                result, killed, gone, took_s = _round(seaway, slot, chance.uniform(0.3, 1.0))
                asked += len(result.outcomes)
                for outcome in result.failed:
                    assert outcome.due_s <= gone and outcome.done_s >= killed, (
                        f"a request failed that was not in flight when the worker died "
                        f"({killed:.3f} to {gone:.3f}): {outcome}"
                    )
                failed.append(len(result.failed))
                stalls_s.append(result.max_stall_s)
                back_s.append(took_s)
    if scale >= 1:  # a small proof beside other tests judges what is lost, not how long it takes
        assert max(back_s) <= BACK_S, f"a worker was back only after {max(back_s):.2f} s"
    return {
        "kills": kills,
        "workers": 2,
        "offered_per_s": RATE_PER_S,
        "requests": asked,
        "failed": sum(failed),
        "failed_not_in_flight_on_the_worker": 0,
        "failed_per_kill_most": max(failed),
        "back_s": {"median": round(statistics.median(back_s), 3), "most": round(max(back_s), 3)},
        "longest_stall_s": round(max(stalls_s), 3),
    }


def _round(seaway: Seaway, slot: int, wait_s: float) -> tuple[LoadResult, float, float, float]:
    """One load with one kill: the result, the kill and the process's end in its time, and how long it was away."""
    body = msgspec.json.encode({"instances": [[1.0, 2.0]]})
    host = f"127.0.0.1:{seaway.port}"
    began = threading.Event()
    first_sent: list[float] = []

    def request(_index: int) -> bytes:
        if not first_sent:
            first_sent.append(time.monotonic())
            began.set()
        return load.post("/predict/linear", host, body)

    offered = Load(
        host="127.0.0.1",
        port=seaway.port,
        request=request,
        count=round(RATE_PER_S * LOAD_S),
        rate_per_s=RATE_PER_S,
        connections=16,
        timeout_s=100,
        accept=lambda _, answer: msgspec.json.decode(answer)["predictions"] == [6.0],
    )
    results: list[LoadResult] = []
    thread = threading.Thread(target=lambda: results.append(load.run(offered)))
    before = time.monotonic()
    thread.start()
    began.wait()
    time.sleep(wait_s)
    pid = _workers(seaway)[slot]
    assert pid is not None
    descriptor = os.pidfd_open(pid)
    killed = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    assert select.select([descriptor], [], [], 100)[0]
    gone = time.monotonic()
    os.close(descriptor)
    seaway.wait_until(lambda: _serves(seaway, slot, pid), 300, "the worker did not come back")
    took_s = time.monotonic() - killed
    thread.join()
    # The load's clock starts at some time from `before` until it first sends: by so much the window is widened.
    return results[0], killed - first_sent[0], gone - before, took_s


def _workers(seaway: Seaway) -> list[int | None]:
    record = msgspec.json.decode((seaway.home / "run" / "supervisor.json").read_bytes())
    return list(record["workers"])


def _serves(seaway: Seaway, slot: int, old: int) -> bool:
    pid = _workers(seaway)[slot]
    return pid not in (None, old) and answers.worker(seaway.home / "run", slot, pid)

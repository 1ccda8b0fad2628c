"""Rollouts of the same version against itself, at 1 % of real traffic: how often is a healthy candidate rolled back?

The small side batches less than the large one, which is the one difference that a canary of 1 % always has. Several
endpoints of one server run their rollouts at the same time, each under its own open-loop load.
"""

from __future__ import annotations

import json
import math
import statistics
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any, Final

import rollout_models
from rollout_server import RolloutServer, Sender
from seaway.core.rollouts.state import RolloutPhase
from seaway.testing import load
from server import JUDGED

ROLLOUTS: Final = 200
ENDPOINTS: Final = 5
PER_S: Final = 250.0
LASTS_S: Final = 30.0
ALPHA: Final = 0.05
_PRODUCTS: Final = 300
"""So many that requests wait for each other, and are run together."""
_ROLLOUT: Final = {
    "steps": ["1%", "100%"],
    "hold": "5m",
    "warmup": "5s",
    "checks": ["errors", "latency", "predictions", "cost"],
    "inconclusive": {"after": "1h"},
}


def measure(scale: float) -> dict[str, Any]:
    """How many of the rollouts a check ended or paused; raises `AssertionError` where that are more than alpha's share."""
    each = max(1, round(ROLLOUTS * scale / ENDPOINTS))
    with tempfile.TemporaryDirectory(prefix="seaway-aa-") as work:
        server = RolloutServer(Path(work))
        server.limits = JUDGED if scale < 1 else {}
        server.package(rollout_models.work(Path(work) / "m.onnx", 2.0, _PRODUCTS), "same")
        with server.up(workers=1):
            names = [f"e{number}" for number in range(ENDPOINTS)]
            for name in names:
                server.deploy(name, "same:v1")
                server.live(name, 1)
            seconds = 15.0 + each * (LASTS_S + 4.0)
            senders = [Sender(_load(server, name, number, seconds)) for number, name in enumerate(names)]
            for sender in senders:
                sender.start()
            time.sleep(12.0)
            found: list[dict[str, Any]] = []
            # At a small size no three of five may end by chance: each of them may once in ten thousand times.
            alpha = ALPHA if scale >= 1 else 0.0001
            runs = [threading.Thread(target=_runs, args=(server, name, each, found, alpha)) for name in names]
            for run in runs:
                run.start()
            for run in runs:
                run.join()
            failed = sum(len(sender.finish().failed) for sender in senders)
    assert len(found) == each * ENDPOINTS, f"{len(found)} rollouts of {each * ENDPOINTS} came to their end"
    ended = [one for one in found if one["phase"] != "running"]
    most = _bound(len(found))
    assert len(ended) <= most, (len(ended), ended)
    assert not failed
    return {
        "rollouts": len(found),
        "share": "1 %",
        "alpha": ALPHA,
        "rolled_back": sum(one["phase"] == "rolled_back" for one in found),
        "paused": sum(one["phase"] == "paused" for one in found),
        "causes": sorted(str(one["cause"]) for one in ended),
        "seconds_each": LASTS_S,
        "endpoints_at_once": ENDPOINTS,
        "requests_per_s_each": PER_S,
        "median_candidate_requests": sorted(one["candidate"] for one in found)[len(found) // 2],
        "median_rows_per_batch": {
            arm: round(statistics.median(one[key] for one in found), 2)
            for arm, key in (("candidate", "rows"), ("stable", "stable_rows"))
        },
        "failed_requests": failed,
    }


def _bound(rollouts: int) -> int:
    return round(ALPHA * rollouts) if rollouts >= ROLLOUTS else max(2, round(0.2 * rollouts))


def _runs(server: RolloutServer, endpoint: str, each: int, found: list[dict[str, Any]], alpha: float) -> None:
    rollout = {**_ROLLOUT, "alpha": f"{100 * alpha:g}%"}
    for number in range(each):
        revision = server.deploy(endpoint, "same:v1", rollout, labels={"round": str(number)}).revision
        server.wait_until(lambda: _running(server, endpoint), 300, f"{endpoint}: no rollout")
        time.sleep(LASTS_S)
        state = server.rollout(endpoint)
        assert state is not None and state.candidate == revision, state
        server.wait_until(lambda: server.judgement(endpoint) is not None, 300, f"{endpoint}: no look")
        judgement = server.judgement(endpoint)
        assert judgement is not None
        errors = next(one for one in judgement["checks"] if one["check"] == "errors")
        found.append(
            {
                "phase": str(state.phase),
                "cause": state.cause or state.why,
                "candidate": errors["candidate"],
                "rows": _rows_per_batch(server, endpoint, revision),
                "stable_rows": _rows_per_batch(server, endpoint, 1),
            }
        )
        if state.phase in (RolloutPhase.RUNNING, RolloutPhase.PAUSED):
            server.run("abort", endpoint)
        server.live(endpoint, 1)


def _rows_per_batch(server: RolloutServer, endpoint: str, revision: int | None) -> float:
    """The mean of all its batches so far; NaN where it has run none."""
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=60) as answer:
        lines = answer.read().decode().splitlines()
    labels = (f'endpoint="{endpoint}"', f'revision="{revision}"')
    rows, batches = (
        sum(
            float(line.split()[-1])
            for line in lines
            if line.startswith(name) and all(one in line for one in labels)
        )
        for name in ("seaway_batch_rows_sum{", "seaway_batch_rows_count{")
    )
    return rows / batches if batches else math.nan


def _running(server: RolloutServer, endpoint: str) -> bool:
    state = server.rollout(endpoint)
    return state is not None and state.since_s is not None


def _load(server: RolloutServer, endpoint: str, seed: int, seconds: float) -> load.Load:
    def request(index: int) -> bytes:
        tensor = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [float(index % 1000), 1.0]}
        return load.post(
            f"/v2/models/{endpoint}/infer",
            f"127.0.0.1:{server.port}",
            json.dumps({"inputs": [tensor]}).encode(),
        )

    return load.Load(
        "127.0.0.1",
        server.port,
        request,
        round(seconds * PER_S),
        PER_S,
        connections=16,
        timeout_s=100,
        seed=seed,
    )

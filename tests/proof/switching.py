"""No request is lost while versions change: an open-loop load over switches and rollbacks of a real server.

The generator opens its own sockets, never retries and counts latency from the time a request was due. The two versions
answer differently, and each answer names its revision, so every answer is checked against the version that gave it.
"""

from __future__ import annotations

import json
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from seaway.testing import load
from server import PATIENT, Seaway, linear_model

REQUESTS = 20_000
SWITCHES = 50
RATE_PER_S = 150.0
FACTORS = {"linear:v1": 2.0, "linear:v2": 3.0}


def measure(scale: float) -> dict[str, Any]:
    """Requests sent, lost and wrong over deploys and rollbacks; raises `AssertionError` where one is lost or wrong."""
    requests, switches = max(300, round(REQUESTS * scale)), max(4, round(SWITCHES * scale))
    with tempfile.TemporaryDirectory(prefix="seaway-switching-") as work:
        server = Seaway(Path(work))
        server.limits = PATIENT if scale < 1 else {}
        for ref, factor in FACTORS.items():
            model = linear_model(Path(work) / f"{ref[-2:]}.onnx", factor)
            server.run("package", str(model), "--name", "linear", "--no-lock")
        with server.up(workers=2):
            server.deploy_first("linear", "linear:v1")
            return _drive(server, requests, switches)


def _drive(server: Seaway, requests: int, switches: int) -> dict[str, Any]:
    answers: dict[int, tuple[str, float]] = {}

    def accept(index: int, body: bytes) -> bool:
        answer = json.loads(body)
        answers[index] = (answer["model_version"], answer["outputs"][0]["data"][0])
        return True

    work = load.Load(
        host="127.0.0.1",
        port=server.port,
        request=lambda index: _request(server.port, index),
        count=requests,
        rate_per_s=RATE_PER_S,
        connections=16,
        timeout_s=100,
        seed=20261122,
        accept=accept,
    )
    found: list[load.LoadResult] = []
    sender = threading.Thread(target=lambda: found.append(load.run(work)))
    sender.start()
    began = time.monotonic()
    deploys = rollbacks = 0
    for number in range(switches):
        # Spread evenly over the load; a switch that is late leaves the next ones their times.
        due = began + (number + 0.5) * requests / RATE_PER_S / switches
        time.sleep(max(0.0, due - time.monotonic()))
        if number % 2:
            server.run("rollback", "linear")
            rollbacks += 1
        else:
            server.run("deploy", "linear:v2")
            deploys += 1
    took_s = time.monotonic() - began
    sender.join()
    result = found[0]
    refs = {
        str(e["revision"]): e["ref"] for e in server.json("history", "linear") if e["kind"] == "revision_live"
    }
    wrong = [i for i, (revision, value) in answers.items() if value != FACTORS[refs[revision]] * _total(i)]
    assert sender is not None and len(result.outcomes) == requests
    assert not result.failed, [str(outcome) for outcome in result.failed[:5]]
    assert not wrong, [(i, answers[i]) for i in wrong[:5]]
    return {
        "requests": requests,
        "switches": deploys + rollbacks,
        "deploys": deploys,
        "rollbacks": rollbacks,
        "failed_requests": len(result.failed),
        "answers_that_do_not_fit_their_revision": len(wrong),
        "revisions_that_answered": len({revision for revision, _ in answers.values()}),
        "rate_per_s": RATE_PER_S,
        "switching_took_s": round(took_s, 1),
        "latency_from_due_ms": {f"p{q}": round(result.latency_s(q / 100) * 1000, 2) for q in (50, 99)},
        "longest_stall_ms": round(result.max_stall_s * 1000, 1),
        "workers": 2,
    }


def _total(index: int) -> float:
    return float(index % 1000 + 1)


def _request(port: int, index: int) -> bytes:
    """No two neighbours are alike: x = [total - 1, 1]."""
    tensor = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [_total(index) - 1, 1.0]}
    body = json.dumps({"id": str(index), "inputs": [tensor]}).encode()
    return load.post("/v2/models/linear/infer", f"127.0.0.1:{port}", body)

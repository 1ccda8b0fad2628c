"""Bad candidates are found by the traffic that they get, and all of it goes back: errors, NaN, slowness, worse answers.

Each case is a real canary under an open-loop load. Where the candidate gets about 200 requests a second it must fail within
two looks of the evidence; all answers come from the stable revision at most a second after the verdict.
"""

from __future__ import annotations

import functools
import json
import math
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Final

import numpy as np

import rollout_models
from rollout_server import Endless, RolloutServer, epoch_s
from seaway.core.rollouts.state import RolloutPhase
from seaway.testing import load
from server import JUDGED

TRIALS: Final = 6
BUSY_PER_S: Final = 400.0
_SMALL_PER_S: Final = 150.0
"""Instead of it at a small size, which any machine can send and answer beside other tests."""
QUIET_PER_S: Final = 20.0
_PAST_S: Final = 10.0
"""Of stable traffic before each rollout, so that there is something to compare latencies with."""
_FIRST_PAST_S: Final = 80.0
"""Before the first one, at full size: how requests hang together is known after a minute."""
_BACK_S: Final = 1.0
"""After the verdict all answers come from the stable revision."""
_LONGEST_S: Final = 300.0
_ROWS: Final = np.random.default_rng(5).permutation(1000) / 1000
_HALF: Final = {"steps": ["50%", "100%"], "hold": "60s", "warmup": "0s", "inconclusive": {"after": "10m"}}
CASES: Final[dict[str, tuple[str, dict[str, object]]]] = {
    "a fifth fails, without fallback": (
        "erring",
        {**_HALF, "checks": ["errors", "latency"], "fallback": "none"},
    ),
    "a fifth fails, the stable one answers it": ("erring", {**_HALF, "checks": ["errors", "latency"]}),
    "answers NaN": ("nan", {**_HALF, "checks": ["errors", "latency"]}),
    "five times as slow": ("slow", {**_HALF, "checks": ["errors", "latency"]}),
}


def measure(scale: float) -> dict[str, Any]:
    """Looks, requests and seconds to each verdict, and after it; raises `AssertionError` where one is missed or late."""
    trials, busy_per_s = max(1, round(TRIALS * scale)), BUSY_PER_S if scale >= 1 else _SMALL_PER_S
    with tempfile.TemporaryDirectory(prefix="seaway-detection-") as work:
        server = RolloutServer(Path(work))
        server.limits = JUDGED if scale < 1 else {}
        for version, path in _models(Path(work)):
            server.package(path, version)
        with server.up(workers=1):
            figures: dict[str, Any] = {"trials_each": trials, "busy": {}, "quiet": {}}
            server.deploy("prices", "stable:v1")
            server.live("prices", 1)
            if scale >= 1:
                _stable_traffic(server)
            for name, (candidate, rollout) in CASES.items():
                found = [_trial(server, candidate, rollout, busy_per_s, scale >= 1) for _ in range(trials)]
                figures["busy"][name] = _summary(found)
                assert scale < 1 or max(one["looks"] for one in found) <= 2, (name, found)
                if "stable one answers" in name:
                    assert not any(one["failed_requests"] for one in found), found
            for name, case in CASES.items():
                if "stable one answers" in name:
                    continue
                found = [_trial(server, *case, QUIET_PER_S, scale >= 1) for _ in range(trials)]
                figures["quiet"][name] = _summary(found)
            server.deploy("classes", "right:v1")
            server.live("classes", 1)
            figures["silently_worse"] = {
                "by_labels": [_labelled(server) for _ in range(max(1, trials // 3))],
                "by_shadow": [_mirrored(server) for _ in range(max(1, trials // 3))],
                "by_shadow_labels": [_paired(server) for _ in range(max(1, trials // 3))],
            }
            return figures


def _stable_traffic(server: RolloutServer) -> None:
    count = round(_FIRST_PAST_S * BUSY_PER_S)
    request = functools.partial(_request, server.port, "prices")
    found = load.run(load.Load("127.0.0.1", server.port, request, count, BUSY_PER_S))
    assert not found.failed


def _models(work: Path) -> list[tuple[str, Path]]:
    return [
        ("stable", rollout_models.work(work / "stable.onnx", 2.0, 10)),
        ("slow", rollout_models.work(work / "slow.onnx", 2.0, 900)),
        ("erring", rollout_models.erring(work / "erring.onnx", 2.0)),
        ("nan", rollout_models.nan(work / "nan.onnx")),
        ("right", rollout_models.threshold(work / "right.onnx", 0.5)),
        ("worse", rollout_models.threshold(work / "worse.onnx", 0.4)),
    ]


def _trial(
    server: RolloutServer, candidate: str, rollout: dict[str, object], per_s: float, full: bool
) -> dict[str, Any]:
    """One rollout of a bad candidate under load, to its end."""
    sender = Endless(
        load.Load(
            "127.0.0.1",
            server.port,
            lambda index: _request(server.port, "prices", index),
            1,
            per_s,
            connections=32,
            timeout_s=100,
        )
    )
    sender.start()
    time.sleep(_PAST_S)
    number = server.deploy("prices", f"{candidate}:v1", rollout).revision
    ended = server.ended("prices", number, _LONGEST_S)
    assert ended.phase is RolloutPhase.ROLLED_BACK, ended
    back = epoch_s(server.event("prices", "rollout_rolled_back", number))
    stepped = epoch_s(server.event("prices", "rollout_stepped", number))
    judgement = server.judgement("prices")
    time.sleep(_BACK_S + 0.5)
    server.wait_until(lambda: _is_back(server, number), 60, f"{candidate}: the candidate still answers")
    outcomes = sender.finish()
    answered = [(at, outcome) for at, outcome in outcomes if outcome.revision == str(number)]
    times = {
        arm: statistics.median(
            [o.latency_s for at, o in outcomes if (o.revision == str(number)) is arm and at > stepped]
            or [math.nan]
        )
        for arm in (True, False)
    }
    # An answer that was late on its way: what counts is when its request was sent.
    after_s = max([at - back for at, _ in answered], default=0.0)
    # A small proof beside other tests judges that it goes back, not how long that takes.
    assert after_s <= _BACK_S or not full, f"{candidate}: an answer {after_s:.2f} s after the verdict"
    return {
        "looks": 0 if judgement is None else judgement["looks"],
        "candidate_requests": len(answered),
        "seconds_from_first_share": round(back - stepped, 2),
        "median_latency_of_stable": round(times[True] / times[False], 2),
        "last_answer_after_verdict_s": round(after_s, 3),
        "failed_requests": sum(outcome.failure is not None for _, outcome in outcomes),
        "cause": ended.cause,
    }


def _is_back(server: RolloutServer, number: int | None) -> bool:
    """Whether none of so many requests comes to the candidate; with half of the traffic none would by chance."""
    answers = (server.predict("prices", [[1.0, 1.0]]) for _ in range(60))
    return all(headers.get("seaway-revision") != str(number) for _, headers, _ in answers)


def _summary(found: list[dict[str, Any]]) -> dict[str, Any]:
    keys = (
        "looks",
        "candidate_requests",
        "seconds_from_first_share",
        "last_answer_after_verdict_s",
        "median_latency_of_stable",
    )
    figures: dict[str, Any] = {
        key: {"median": statistics.median(one[key] for one in found), "max": max(one[key] for one in found)}
        for key in keys
    }
    return {
        **figures,
        "failed_requests": sum(one["failed_requests"] for one in found),
        "causes": sorted({str(one["cause"]) for one in found}),
    }


class _Labeller(threading.Thread):
    """Tells the truth about each answered request, half a second later."""

    def __init__(self, server: RolloutServer, prefix: str) -> None:
        super().__init__(daemon=True)
        self.server, self.prefix = server, prefix
        self.answered: list[int] = []
        self.told = 0
        self.stopping = threading.Event()

    def run(self) -> None:
        while not self.stopping.wait(0.5):
            new = self.answered[self.told :]
            self.told += len(new)
            if new:
                rows = [
                    {"request_id": f"{self.prefix}{index}", "outcome": str(int(_ROWS[index % 1000] > 0.5))}
                    for index in new
                ]
                lines = "\n".join(json.dumps(row) for row in rows)
                self.server.control.feedback(lines.encode(), "application/x-ndjson")


def _labelled(server: RolloutServer) -> dict[str, Any]:
    """A candidate that is wrong for a tenth of the requests: found by its labels."""
    rollout = {**_HALF, "checks": ["errors", "quality"]}
    labeller = _Labeller(server, f"l{time.time_ns()}-")

    def accept(index: int, _body: bytes) -> bool:
        labeller.answered.append(index)
        return True

    found = _classes(server, rollout, labeller, accept)
    assert found["cause"] == "quality", found
    return {**found, "labels": labeller.told}


def _mirrored(server: RolloutServer) -> dict[str, Any]:
    """The same candidate, found before it answered anybody."""
    rollout = {**_HALF, "steps": ["0%", "100%"], "shadow": "50%", "checks": ["agreement"]}
    found = _classes(server, rollout, None, lambda _index, _body: True)
    assert found["cause"] == "agreement", found
    assert found["candidate_requests"] == 0, found
    return found


def _paired(server: RolloutServer) -> dict[str, Any]:
    """The same candidate, found by labels of what it never answered to anybody; `pairs` are those that it took."""
    rollout = {**_HALF, "steps": ["0%", "100%"], "shadow": "50%", "checks": ["shadow_quality"]}
    labeller = _Labeller(server, f"p{time.time_ns()}-")

    def accept(index: int, _body: bytes) -> bool:
        labeller.answered.append(index)
        return True

    found = _classes(server, rollout, labeller, accept)
    assert found["cause"] == "shadow_quality", found
    assert found["candidate_requests"] == 0, found
    return {**found, "labels": labeller.told, "pairs": found["units"]["candidate"]}


def _classes(
    server: RolloutServer, rollout: dict[str, object], labeller: _Labeller | None, accept: Any
) -> dict[str, Any]:
    prefix = labeller.prefix if labeller is not None else "m"
    sender = Endless(
        load.Load(
            "127.0.0.1",
            server.port,
            lambda index: _request(server.port, "classes", index, prefix),
            1,
            200.0,
            connections=32,
            timeout_s=100,
            accept=accept,
        )
    )
    sender.start()
    if labeller is not None:
        labeller.start()
    time.sleep(3)
    number = server.deploy("classes", "worse:v1", rollout).revision
    ended = server.ended("classes", number, _LONGEST_S)
    judgement = server.judgement("classes")
    if labeller is not None:
        labeller.stopping.set()
    outcomes = sender.finish()
    assert ended.phase is RolloutPhase.ROLLED_BACK, ended
    assert judgement is not None
    check = next(one for one in judgement["checks"] if one["check"] == ended.cause)
    return {
        "cause": ended.cause,
        "candidate_requests": sum(outcome.revision == str(number) for _, outcome in outcomes),
        "units": {name: check[name] for name in ("candidate", "candidate_bad", "stable", "stable_bad")},
        "words": check["words"],
        "failed_requests": sum(outcome.failure is not None for _, outcome in outcomes),
    }


def _request(port: int, endpoint: str, index: int, prefix: str | None = None) -> bytes:
    value = float(_ROWS[index % 1000]) if prefix is not None else float(index % 1000)
    tensor = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [value, 1.0]}
    headers = None if prefix is None else {"x-request-id": f"{prefix}{index}"}
    body = json.dumps({"inputs": [tensor]}).encode()
    return load.post(f"/v2/models/{endpoint}/infer", f"127.0.0.1:{port}", body, headers)

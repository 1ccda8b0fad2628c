"""Labels on a whole server: two workers, real traffic on both arms, feedback early, late, twice and for requests that are no
sample; the control process is killed in between. Every label of a unit counts exactly once."""

from __future__ import annotations

import json
import math
import os
import signal
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import rollout_models
import seaway
from rollout_server import RolloutServer
from seaway.core.errors import SeawayError
from seaway.monitor.provenance import files as provenance_files

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

NAME = "prices"
STABLE, CANDIDATE = 1, 2
ROLLOUT = {
    "steps": ["50%", "100%"],
    "hold": "10m",
    "checks": [{"check": "quality", "harm": "50%", "advisory": True}, {"check": "errors"}],
}
LONGEST_S = 10
"""The deadline: for so long after a share began, answers may still be those of the share before, and do not count."""
LIMITS = {"deadline": f"{LONGEST_S}s", "queue": "60s"}
ASKED = 240


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RolloutServer]:
    """At 50 %, in seconds that count. The candidate is wrong where x0 is above 50 and not above 70."""
    found = RolloutServer(tmp_path)
    for number, at in ((STABLE, 50.0), (CANDIDATE, 70.0)):
        found.package(rollout_models.threshold(tmp_path / f"m{number}.onnx", at), NAME)
    with found.up(2):
        found.deploy(NAME, f"{NAME}:v{STABLE}", limits=LIMITS)
        found.live(NAME, STABLE)
        found.deploy(NAME, f"{NAME}:v{CANDIDATE}", ROLLOUT, limits=LIMITS)

        def counts() -> bool:
            state = found.rollout(NAME)
            return (
                state is not None
                and state.percent == 50
                and state.since_s is not None
                and time.time() > state.since_s + LONGEST_S + 3
            )

        found.wait_until(counts, 120, "the candidate got no share")
        yield found


def truth(number: int) -> int:
    return int(number % 100 > 50)


def ask(client: seaway.Client) -> dict[str, tuple[int, bool]]:
    """Which revision answered each request, and whether it was wrong."""
    found = {}
    for number in range(ASKED):
        name = f"r-{number}"
        answer = client.answer(NAME, [[float(number % 100), 0.0]], request_id=name)
        found[name] = answer.revision, answer.predictions[0] != truth(number)
        time.sleep(0.005)  # a busy machine draws a part of what comes faster
    return found


def ask_by_name(server: RolloutServer, request_id: str) -> None:
    """For the candidate's answer: that is no sample of the traffic."""
    row = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [60.0, 0.0]}
    request = urllib.request.Request(
        f"http://127.0.0.1:{server.port}/v2/models/{NAME}/versions/{CANDIDATE}/infer",
        json.dumps({"inputs": [row]}).encode(),
        {"content-type": "application/json", "x-request-id": request_id},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert answer.headers["seaway-revision"] == str(CANDIDATE)


def told(numbers: range) -> list[dict[str, object]]:
    return [{"request_id": f"r-{number}", "outcome": truth(number)} for number in numbers]


def kill_control(server: RolloutServer) -> None:
    """By SIGKILL; returns once another one answers."""
    supervisor = server.home / "run" / "supervisor.json"
    killed = json.loads(supervisor.read_text())["control"]
    os.kill(killed, signal.SIGKILL)
    server.wait_until(
        lambda: (
            json.loads(supervisor.read_text())["control"] not in (None, killed) and server.control_alive()
        ),
        120,
        "no other control process was started",
    )


def quality(server: RolloutServer) -> dict[str, Any] | None:
    """The check as it stands; None where nobody can say now."""
    try:
        judgement = server.judgement(NAME)
    except (AssertionError, SeawayError):
        return None
    checks = [] if judgement is None else judgement["checks"]
    return next((one for one in checks if one["check"] == "quality"), None)


def test_every_label_of_a_unit_counts_once(server: RolloutServer) -> None:
    with seaway.Client(f"http://127.0.0.1:{server.port}", timeout_s=60) as client:
        client.feedback(told(range(20)))  # before their predictions
        answered = ask(client)
        ask_by_name(server, "named")
        client.feedback([*told(range(120)), {"request_id": "named", "outcome": 1}])
        client.feedback([{"request_id": "nobody", "outcome": 1}])
        kill_control(server)
        corrected = [{"request_id": f"r-{number}", "outcome": 1 - truth(number)} for number in range(60)]

        def sent() -> bool:
            try:
                client.feedback([*told(range(100, ASKED)), *corrected])
            except SeawayError:
                return False
            return True

        server.wait_until(sent, 120, "feedback was not taken again")

    kept: dict[str, tuple[int, bool]] = {}

    def recorded() -> bool:
        names = list(answered)
        joined = provenance_files.lookup(server.home / "records", [name.encode() for name in names])
        for name, unit in zip(names, joined.units.tolist(), strict=True):
            if unit:
                kept[name] = answered[name]
        return int((joined.by >= 0).sum()) > 0.5 * ASKED

    server.wait_until(recorded, 120, "the requests were not recorded")

    def expected() -> list[int]:
        """By what is recorded by now: of a request that ended long ago that may come late on a machine that stands still."""
        recorded()
        return [
            sum(revision == arm and (wrong or not only_wrong) for revision, wrong in kept.values())
            for arm in (CANDIDATE, STABLE)
            for only_wrong in (False, True)
        ]

    def seen() -> list[int]:
        check = quality(server)
        names = ("candidate", "candidate_bad", "stable", "stable_bad")
        return [] if check is None else [math.floor(check[name]) for name in names]

    server.wait_until(lambda: seen() == expected(), 120, "some labels of units did not count")
    until_s = time.monotonic() + 3
    while time.monotonic() < until_s:  # looks go on, and nothing is counted again
        assert all(found <= most for found, most in zip(seen(), expected(), strict=False))
    server.wait_until(lambda: seen() == expected(), 120, "some labels of units count no more")
    (_, candidate_wrong, _, stable_wrong) = expected()
    assert candidate_wrong > 0
    assert stable_wrong == 0

"""An A/B test as its users run it: sticky users on a whole server, revenue told by request id, promoted for a gain alone."""

from __future__ import annotations

import http.client
import itertools
import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

import rollout_models
import seaway
from rollout_server import RolloutServer
from seaway.core.rollouts.state import RolloutPhase, RolloutState

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

NAME = "offers"
ROLLOUT = {
    "steps": ["50%", "100%"],
    "hold": "1s",
    "bake": "1s",
    "sticky": {"header": "x-user-id"},
    "checks": [{"check": "outcome", "kpi": "revenue", "gain": "10%", "cap": 60}],
}
LIMITS = {"deadline": "1s"}
EACH = 25
"""Users between two looks at where the rollout is."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RolloutServer]:
    found = RolloutServer(tmp_path)
    for number in (1, 2):
        found.package(rollout_models.threshold(tmp_path / f"m{number}.onnx", 50.0), NAME)
    with found.up(2):
        found.deploy(NAME, f"{NAME}:v1", limits=LIMITS)
        found.live(NAME, 1)
        yield found


def ask(server: RolloutServer, user: int, request_id: str) -> int:
    """Which revision answered."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    try:
        headers = {
            "content-type": "application/json",
            "x-user-id": f"user-{user}",
            "x-request-id": request_id,
        }
        connection.request("POST", f"/predict/{NAME}", json.dumps([[60.0, 0.0]]), headers)
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status == 200, body
        return int(answer.headers["seaway-revision"])
    finally:
        connection.close()


def spent(server: RolloutServer, means: dict[int, float]) -> RolloutState:
    """Users come, and a fifth of them buys for about so much by revision, until the rollout is over."""
    draw = random.Random(7)
    with seaway.Client(f"http://127.0.0.1:{server.port}", timeout_s=60) as client:
        for first in itertools.count(0, EACH):
            rows = []
            for user in range(first, first + EACH):
                name = f"r-{user}"
                mean = means[ask(server, user, name)]
                amount = mean * draw.uniform(0.5, 1.5) if draw.random() < 0.6 else 0.0
                rows.append({"request_id": name, "kpi": {"revenue": round(amount, 2)}})
            client.feedback(rows)
            state = server.rollout(NAME)
            assert state is not None
            if not state.judged:
                return state
            assert first < 40_000, "it never ended"
    raise AssertionError


def begin(server: RolloutServer) -> None:
    server.deploy(NAME, f"{NAME}:v2", ROLLOUT, limits=LIMITS)

    def routed() -> bool:
        state = server.rollout(NAME)
        return state is not None and state.step == 0 and state.since_s is not None

    server.wait_until(routed, 120, "the candidate got no share")


def test_a_candidate_that_earns_more_is_promoted_and_the_gain_is_told(server: RolloutServer) -> None:
    begin(server)
    state = spent(server, {1: 20.0, 2: 40.0})
    assert state.phase is RolloutPhase.PROMOTED, state.why
    said = server.run("explain", f"{NAME}/2")
    assert "revenue a request against" in " ".join(said.split())
    assert "a gain of more than 10 % is certain" in " ".join(said.split())


def test_one_that_earns_as_much_goes_back(server: RolloutServer) -> None:
    begin(server)
    state = spent(server, {1: 25.0, 2: 25.0})
    assert (state.phase, state.cause) == (RolloutPhase.ROLLED_BACK, "outcome")
    assert state.why is not None
    assert "less than the wanted gain of 10 % is certain" in state.why

"""A whole server: a candidate that nobody is sent to is caught by what its mirrored answers are, and one that agrees goes on."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from control_process import Background, Server, make_home, until

from seaway.control import endpoint_file, views
from seaway.core.events import EventKind
from seaway.core.ledger import merge_pairs

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

LIVE = """
version: 1
endpoint: prices
serve: {bundle: prices:v1}
limits: {deadline: 10s, queue: 60s}
"""
SHADOWED = """
version: 1
endpoint: prices
serve: {bundle: prices:vCANDIDATE}
limits: {deadline: 10s, queue: 60s}
labels: {try: one}
rollout:
  steps: [{to: 0%, hold: 1s, checks: [agreement]}, 100%]
  shadow: 100%
  checks: [agreement]
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    make_home(tmp_path / "home")
    server = Server(tmp_path / "home")
    server.up()
    try:
        deploy(server, LIVE)
        yield server
    finally:
        server.clean()


def deploy(server: Server, text: str) -> None:
    spec = endpoint_file.parse(text.encode(), "prices.yaml")
    accepted = server.client.deploy("prices", views.DeployRequest(spec=spec, override="a test"))
    if "rollout" not in text:
        for event in server.client.follow(accepted.after):
            if event.kind == EventKind.REVISION_LIVE:
                break


class Traffic(Background):
    """Asks without a pause, so often as each user."""

    def __init__(self, server: Server, times: int = 1) -> None:
        super().__init__()
        self._server = server
        self._times = times
        self.asked = 0
        self.failed: list[object] = []
        self.revisions: set[str | None] = set()

    def run(self) -> None:
        connection = http.client.HTTPConnection(*self._server.address, timeout=60)
        while not self.over.wait(0.002):
            self.asked += 1
            connection.request(
                "POST",
                "/predict/prices",
                json.dumps([[1, 2, self.asked % 7]]),
                {"content-type": "application/json", "x-user": f"u{self.asked // self._times}"},
            )
            answer = connection.getresponse()
            data = answer.read()
            self.revisions.add(answer.headers["seaway-revision"])
            if answer.status != 200:
                self.failed.append(data)
        connection.close()


def kinds(server: Server) -> list[str]:
    return [str(event.kind) for event in server.client.history("prices")]


def test_a_silently_worse_candidate_is_caught_before_it_answers_anybody(server: Server) -> None:
    with Traffic(server) as traffic:
        deploy(server, SHADOWED.replace("CANDIDATE", "2"))
        until(lambda: EventKind.ROLLOUT_ROLLED_BACK in kinds(server), 300.0)
        pages = server.client.seconds("prices").pages
    pairs = merge_pairs(s.pairs for page in pages for s in page.seconds if s.pairs is not None)
    assert pairs.differ > 0 and pairs.same == 0
    assert traffic.failed == [] and traffic.revisions == {"1"}
    (found,) = [one for one in server.client.status().endpoints if one.endpoint == "prices"]
    assert (found.live, found.rollout is not None and found.rollout.cause) == (1, "agreement")


def test_of_a_user_of_sticky_arms_one_pair_counts_however_often_he_asks(server: Server) -> None:
    """Each asks five times; those of the first ten seconds of the step (the deadline) are in no look."""
    with Traffic(server, 5) as traffic:
        deploy(server, SHADOWED.replace("CANDIDATE", "1") + "  sticky: {header: x-user}\n")
        until(lambda: "2" in traffic.revisions, 300.0)
        pages = server.client.seconds("prices").pages
        users = traffic.asked // 5 + 1
    found = merge_pairs(s.pairs for page in pages for s in page.seconds if s.pairs is not None)
    assert 87 <= found.same <= users
    assert (found.differ, found.failed, traffic.failed) == (0, 0, [])


def test_a_candidate_that_agrees_is_let_through(server: Server) -> None:
    """The same model as another revision: the check passes on pairs alone."""
    with Traffic(server) as traffic:
        deploy(server, SHADOWED.replace("CANDIDATE", "1"))
        until(lambda: "2" in traffic.revisions, 300.0)
    assert traffic.failed == []

"""Rollouts on a whole server: shares as asked, no lost request, and one that outlives its control process."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from control_process import UNHURRIED, Prober, Server, make_home, until

from seaway.control import views
from seaway.control.rollouts import views as rollouts
from seaway.core.deployments import Backend, Deployment
from seaway.core.events import EventKind
from seaway.core.rollouts.spec import Rollout
from seaway.core.rollouts.state import RolloutPhase, RolloutState

pytestmark = pytest.mark.slow
STABLE, CANDIDATE = 6.0, 12.0
"""What the versions 1 and 2 answer."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    make_home(tmp_path / "home")
    server = Server(tmp_path / "home")
    server.up()
    try:
        server.deploy(1)
        yield server
    finally:
        server.clean()


def roll_out(server: Server, *steps: str, hold: str = "1s") -> views.Accepted:
    """Version 2 over version 1, by time alone."""
    rollout = Rollout(steps=steps, hold=hold, bake="1s", checks=())
    spec = Deployment(1, "prices", Backend(bundle="prices:v2"), limits=UNHURRIED, rollout=rollout)
    return server.client.deploy("prices", views.DeployRequest(spec=spec))


def state(server: Server) -> RolloutState:
    return server.client.rollout("prices").state


def routed_by_first_step(server: Server) -> bool:
    """Of one reading: the time of the preparation before it has a beginning too."""
    found = state(server)
    return found.step == 0 and found.since_s is not None


def follow_to(server: Server, after: int, *kinds: EventKind) -> list[EventKind]:
    seen = []
    for event in server.client.follow(after):
        seen.append(event.kind)
        if event.kind in kinds:
            break
    return seen


def test_t1_a_rollout_goes_by_its_steps_and_loses_no_request(server: Server) -> None:
    with Prober(server) as prober:
        accepted = roll_out(server, "20%", "100%", hold="2s")
        seen = follow_to(server, accepted.after, EventKind.ROLLOUT_PROMOTED, EventKind.ROLLOUT_ROLLED_BACK)
        until(lambda: prober.answers[-1] == CANDIDATE)
    assert seen == [
        EventKind.DEPLOY_REQUESTED,
        EventKind.ROLLOUT_STARTED,
        EventKind.ROLLOUT_STEPPED,
        EventKind.ROLLOUT_STEPPED,
        EventKind.REVISION_LIVE,
        EventKind.ROLLOUT_PROMOTED,
    ]
    assert prober.failures == []
    assert {*prober.answers} == {STABLE, CANDIDATE}
    assert server.live() == 2


def test_a_share_by_hand_stands_and_an_abort_takes_all_back(server: Server) -> None:
    roll_out(server, "1%", "100%", hold="1h")
    until(lambda: routed_by_first_step(server))
    server.client.move("prices", rollouts.Traffic(40.0))
    until(lambda: state(server).since_s is not None)
    answers = [server.predict() for _ in range(400)]
    assert 90 < answers.count(CANDIDATE) < 230  # 160 is to be expected: seven deviations each way
    with Prober(server) as prober:
        accepted = server.client.move("prices", rollouts.Abort("the fair is over"))
        follow_to(server, accepted.after, EventKind.REVISION_LIVE)
        assert {server.predict() for _ in range(50)} == {STABLE}
    assert prober.failures == []
    assert state(server).phase is RolloutPhase.ABORTED


def test_kill_9_of_control_in_a_rollout_changes_no_share_and_it_goes_on(server: Server) -> None:
    accepted = roll_out(server, "50%", "100%", hold="10s")
    until(lambda: routed_by_first_step(server))
    with Prober(server) as prober:
        os.kill(server.record()["control"], signal.SIGKILL)
        seen = {server.predict() for _ in range(60)}
        until(server.control_answers)
        kinds = follow_to(server, accepted.after, EventKind.ROLLOUT_PROMOTED, EventKind.ROLLOUT_ROLLED_BACK)
    assert seen == {STABLE, CANDIDATE}
    assert kinds[-1] is EventKind.ROLLOUT_PROMOTED
    assert kinds.count(EventKind.ROLLOUT_STEPPED) == 2
    assert prober.failures == []


def test_a_killed_worker_comes_back_with_the_shares_of_the_rollout(server: Server) -> None:
    roll_out(server, "50%", "100%", hold="1h")
    until(lambda: routed_by_first_step(server))
    first, *_ = server.worker_pids()
    os.kill(first, signal.SIGKILL)
    until(lambda: server.all_ready(first))
    assert {server.predict() for _ in range(60)} == {STABLE, CANDIDATE}
    assert (state(server).phase, state(server).percent) == (RolloutPhase.RUNNING, 50.0)

"""Single decisions of the control loop; tests/property drives it through whole lives."""

from __future__ import annotations

import pytest

from seaway.core import observed
from seaway.core import reconciliation as core
from seaway.core.bundles import Digest
from seaway.core.deployments import DeploymentState, Phase, Revision, deployment_of
from seaway.core.traffic import Route, RoutedRevision, RoutingTable


def _digest(letter: str) -> Digest:
    return Digest("sha256:" + letter * 64)


def _routed(number: int, letter: str) -> RoutedRevision:
    return RoutedRevision(number, _digest(letter), f"/bundles/{letter}", f"m:v{number}", 100.0)


def _revision(endpoint: str, number: int, letter: str) -> Revision:
    ref = f"m:v{number}"
    return Revision(endpoint, number, _digest(letter), ref, deployment_of(endpoint, ref), "2026-11-22", "ada")


def _failure(age_s: float, failures: int = 1) -> observed.LoadFailure:
    return observed.LoadFailure("digest_mismatch", "the bundle cannot be read", failures, age_s)


def test_a_broken_endpoint_keeps_no_other_from_moving_on() -> None:
    """A worker restarted while the bundle of `a` was damaged; `b` has a new revision, ready in that worker."""
    old = RoutingTable(1, (Route("a", (_routed(1, "1"),)), Route("b", (_routed(1, "2"),))))
    worker = observed.WorkerView(
        slot=0,
        generation=1,
        draining=False,
        loaded=(
            observed.WorkerRevision("a", 1, _digest("1"), ready=False, failure=_failure(age_s=0.0)),
            observed.WorkerRevision("b", 1, _digest("2"), ready=True),
            observed.WorkerRevision("b", 2, _digest("3"), ready=True),
        ),
    )
    states = (
        DeploymentState("a", 1, Phase.LIVE, desired=1, live=1, last=1, proven=(1,)),
        DeploymentState("b", 2, Phase.PROGRESSING, desired=2, live=1, last=2, proven=(1,)),
    )
    revisions = {
        ("a", 1): _revision("a", 1, "1"),
        ("b", 1): _revision("b", 1, "2"),
        ("b", 2): _revision("b", 2, "3"),
    }
    bundles = {key: f"/bundles/{revision.digest[7]}" for key, revision in revisions.items()}

    def decide(table: RoutingTable, generation: int) -> core.Action | None:
        seen = observed.WorkerView(0, generation, False, worker.loaded)
        return core.next_action(observed.Snapshot(0.0, states, revisions, bundles, table, (seen,), {}))

    written = decide(old, 1)
    assert isinstance(written, core.WriteTable)
    assert [r.number for r in written.table.routes[1].revisions if r.percent == 100] == [2]
    assert decide(written.table, 1) == core.Commit((0,), written.table)
    live = decide(written.table, written.table.generation)
    assert isinstance(live, core.MarkLive) and (live.endpoint, live.number) == ("b", 2)


def _one_endpoint(
    state: DeploymentState, held: observed.WorkerRevision | None, table: RoutingTable, deaths: int = 0
) -> core.Action | None:
    """The decision for endpoint `a`, whose revisions 1 and 2 exist, and one worker."""
    worker = observed.WorkerView(0, table.generation, False, () if held is None else (held,))
    revisions = {("a", 1): _revision("a", 1, "1"), ("a", 2): _revision("a", 2, "2")}
    bundles = {key: f"/bundles/{revision.digest[7]}" for key, revision in revisions.items()}
    counted = {("a", 2): deaths} if deaths else {}
    return core.next_action(observed.Snapshot(0.0, (state,), revisions, bundles, table, (worker,), counted))


@pytest.mark.parametrize(
    ("failures", "age_s", "tried"), [(1, 0.9, False), (1, 1.0, True), (2, 1.0, False), (99, 60.0, True)]
)
def test_a_live_revision_that_failed_to_load_is_tried_again_after_a_growing_pause(
    failures: int, age_s: float, tried: bool
) -> None:
    state = DeploymentState("a", 1, Phase.LIVE, desired=1, live=1, last=2, proven=(1,))
    held = observed.WorkerRevision("a", 1, _digest("1"), ready=False, failure=_failure(age_s, failures))
    action = _one_endpoint(state, held, RoutingTable(1, (Route("a", (_routed(1, "1"),)),)))
    assert isinstance(action, core.Prepare) is tried
    if isinstance(action, core.Prepare):
        assert (action.slots, action.revision.number) == ((0,), 1)


def test_a_new_revision_that_fails_to_load_fails_at_once_with_the_code() -> None:
    state = DeploymentState("a", 1, Phase.PROGRESSING, desired=2, last=2)
    held = observed.WorkerRevision("a", 2, _digest("2"), ready=False, failure=_failure(age_s=100.0))
    action = _one_endpoint(state, held, RoutingTable())
    assert action == core.MarkFailed("a", 1, 2, "digest_mismatch", "the bundle cannot be read", None)


def test_a_new_revision_that_ends_workers_gets_two_of_them() -> None:
    state = DeploymentState("a", 1, Phase.PROGRESSING, desired=2, live=1, last=2, proven=(1,))
    table = RoutingTable(1, (Route("a", (_routed(1, "1"),)),))
    assert isinstance(_one_endpoint(state, None, table, deaths=1), core.Prepare)
    action = _one_endpoint(state, None, table, deaths=2)
    assert isinstance(action, core.MarkFailed)
    assert (action.code, action.stay) == ("execution_failed", 1)
    assert "2 workers ended" in action.reason

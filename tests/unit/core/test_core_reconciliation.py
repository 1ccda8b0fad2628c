"""Single decisions of the control loop; tests/property drives it through whole lives."""

from __future__ import annotations

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


def test_a_broken_endpoint_keeps_no_other_from_moving_on() -> None:
    """A worker restarted while the bundle of `a` was damaged; `b` has a new revision, ready in that worker."""
    old = RoutingTable(1, (Route("a", (_routed(1, "1"),)), Route("b", (_routed(1, "2"),))))
    worker = core.WorkerView(
        slot=0,
        generation=1,
        draining=False,
        loaded=(
            core.WorkerRevision("a", 1, _digest("1"), ready=False, error="digest_mismatch"),
            core.WorkerRevision("b", 1, _digest("2"), ready=True),
            core.WorkerRevision("b", 2, _digest("3"), ready=True),
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
        seen = core.WorkerView(0, generation, False, worker.loaded)
        return core.next_action(core.Snapshot(0.0, states, revisions, bundles, table, (seen,)))

    written = decide(old, 1)
    assert isinstance(written, core.WriteTable)
    assert [r.number for r in written.table.routes[1].revisions if r.percent == 100] == [2]
    assert decide(written.table, 1) == core.Commit((0,), written.table)
    live = decide(written.table, written.table.generation)
    assert isinstance(live, core.MarkLive) and (live.endpoint, live.number) == ("b", 2)

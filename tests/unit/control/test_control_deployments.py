"""The use cases: what they record, what they refuse, and what a refusal leaves."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest
from control_fakes import OWNER, STRANGER, Plane, digest_of

from seaway.control import changes, gating, views
from seaway.core import reconciliation as core
from seaway.core.bundles import ModelRef, Version
from seaway.core.checks import CheckResult, GateReport, Measurement, Verdict
from seaway.core.deployments import Backend, Deployment, LimitsSection, Phase, RecordSection, Replicas
from seaway.core.errors import SeawayError, UserError
from seaway.core.ports import Change
from seaway.core.rollouts.spec import Rollout


@pytest.fixture
def plane() -> Plane:
    return Plane()


def bundle(ref: str, override: str | None = None) -> views.DeployRequest:
    return views.DeployRequest(bundle=ref, override=override)


def make_live(plane: Plane, endpoint: str = "prices") -> None:
    """What the loop does when every worker has the desired revision."""
    state = plane.store.state(endpoint)
    assert state is not None and state.desired is not None
    revision = plane.store.revision(endpoint, state.desired)
    action = core.MarkLive(endpoint, state.generation, state.desired)
    new, events = changes.settle(action, state, revision, plane.clock.now_s())
    plane.store.apply(Change(events, msgspec.structs.replace(new, generation=state.generation + 1)))


def deploy_live(plane: Plane, *numbers: int) -> None:
    for number in numbers:
        plane.deployments.deploy(OWNER, "prices", bundle(f"prices:v{number}"))
        make_live(plane)
        plane.clock.advance(60)


def code_of(call: object) -> str:
    with pytest.raises(SeawayError) as caught:
        call()  # type: ignore[operator]
    return caught.value.code


def test_a_deploy_records_a_revision_and_wakes_the_loop(plane: Plane) -> None:
    accepted = plane.deployments.deploy(OWNER, "prices", bundle("prices:v1"))
    assert (accepted.revision, accepted.changed, accepted.after) == (1, True, 0)
    assert accepted.digest == digest_of("prices", 1)
    state = plane.store.state("prices")
    assert state is not None
    assert (state.phase, state.desired, state.live, state.generation) == (Phase.PROGRESSING, 1, None, 1)
    revision = plane.store.revision("prices", 1)
    assert revision is not None
    assert (revision.created_by, revision.gate, revision.override) == ("ada", Verdict.PASSED, None)
    assert plane.woken == 1
    assert plane.kinds() == ["deploy_requested"]


def test_the_gate_compares_with_what_is_live(plane: Plane) -> None:
    deploy_live(plane, 1)
    plane.deployments.deploy(OWNER, "prices", bundle("prices:v2"))
    assert plane.gate.asked == [("prices:v1", None), ("prices:v2", "prices:v1")]


def test_what_a_rollout_compares_is_looked_up_in_what_is_live_but_where_it_is_forced(plane: Plane) -> None:
    asked: list[str | None] = []

    def look(spec: Deployment, version: Version, live: Version | None) -> tuple[str, ...]:
        asked.append(None if live is None else str(live.ref))
        return ()

    plane.deployments._check_records = look
    deploy_live(plane, 1, 2)
    plane.deployments.deploy(OWNER, "prices", views.DeployRequest(bundle="prices:v3", force="v2 is broken"))
    assert asked == [None, "prices:v1", None]


def test_deploying_what_is_live_changes_nothing(plane: Plane) -> None:
    deploy_live(plane, 1)
    before = plane.store.events()
    by_digest = bundle(f"prices@{digest_of('prices', 1)}")
    for request in (bundle("prices:v1"), by_digest):
        accepted = plane.deployments.deploy(OWNER, "prices", request)
        assert not accepted.changed
        assert "live already" in accepted.message
    assert plane.store.events() == before
    assert len(plane.store.revisions("prices")) == 1


def test_the_same_version_with_other_settings_is_a_new_revision(plane: Plane) -> None:
    deploy_live(plane, 1)
    spec = Deployment(1, "prices", Backend(bundle="prices:v1"), limits=LimitsSection(deadline="2s"))
    accepted = plane.deployments.deploy(OWNER, "prices", views.DeployRequest(spec=spec))
    assert (accepted.revision, accepted.changed) == (2, True)
    make_live(plane)
    assert plane.deployments.deploy(OWNER, "prices", bundle("prices:v2")).revision == 3
    newest = plane.store.revision("prices", 3)
    assert newest is not None
    assert newest.spec.limits.deadline == "2s"  # a bare version keeps the endpoint's settings


@pytest.mark.parametrize("verdict", [Verdict.FAILED, Verdict.ERRORED])
def test_c05_a_failed_gate_refuses_with_its_checks_and_leaves_one_event(
    plane: Plane, verdict: Verdict
) -> None:
    plane.gate.verdicts["prices:v1"] = verdict
    with pytest.raises(UserError) as caught:
        plane.deployments.deploy(OWNER, "prices", bundle("prices:v1"))
    assert caught.value.code == "gate_failed"
    assert "golden" in caught.value.message and "loads" not in caught.value.message
    assert plane.store.states() == ()
    (event,) = plane.store.events()
    assert (event.kind, event.principal, event.details["code"]) == ("action_refused", "ada", "gate_failed")


def test_an_override_is_recorded_in_revision_and_event(plane: Plane) -> None:
    plane.gate.verdicts["prices:v1"] = Verdict.FAILED
    assert (
        code_of(lambda: plane.deployments.deploy(OWNER, "prices", bundle("prices:v1", "  "))) == "gate_failed"
    )
    accepted = plane.deployments.deploy(OWNER, "prices", bundle("prices:v1", "the fair is tomorrow"))
    assert "overridden" in accepted.warnings[0]
    revision = plane.store.revision("prices", 1)
    assert revision is not None
    assert (revision.override, revision.failed_checks) == ("the fair is tomorrow", ("golden",))
    event = plane.store.events()[-1]
    assert event.details["override"] == "the fair is tomorrow"
    assert event.details["failed_checks"] == "golden"


def test_an_override_that_was_not_needed_is_not_recorded_as_one(plane: Plane) -> None:
    plane.deployments.deploy(OWNER, "prices", bundle("prices:v1", "just in case"))
    revision = plane.store.revision("prices", 1)
    assert revision is not None and revision.override is None


def test_an_inconclusive_gate_passes_with_a_recorded_warning(plane: Plane) -> None:
    plane.gate.verdicts["prices:v1"] = Verdict.INCONCLUSIVE
    accepted = plane.deployments.deploy(OWNER, "prices", bundle("prices:v1"))
    assert accepted.warnings == ("golden is inconclusive: as it is",)
    assert "inconclusive" in plane.store.events()[-1].details["warnings"]


def test_what_is_not_built_yet_is_refused_by_name(plane: Plane) -> None:
    spec = Deployment(1, "prices", Backend(bundle="prices:v1", replicas=Replicas(0, 3)))
    with pytest.raises(UserError) as caught:
        plane.deployments.deploy(OWNER, "prices", views.DeployRequest(spec=spec))
    assert caught.value.code == "not_available"
    assert "serve.replicas.min: 0" in caught.value.message and "serve.replicas.max: 3" in caught.value.message


def test_rollback_goes_down_the_revisions_that_were_live(plane: Plane) -> None:
    deploy_live(plane, 1, 2, 3)
    for expected in (2, 1):
        assert plane.deployments.rollback(OWNER, "prices").revision == expected
        state = plane.store.state("prices")
        assert state is not None and state.rollback and state.desired == expected
        make_live(plane)
    assert code_of(lambda: plane.deployments.rollback(OWNER, "prices")) == "nothing_to_roll_back"
    assert plane.deployments.rollback(OWNER, "prices", to=3).revision == 3


def test_rollback_of_a_rollout_on_its_way_goes_to_what_is_live(plane: Plane) -> None:
    deploy_live(plane, 1, 2)
    plane.deployments.deploy(OWNER, "prices", bundle("prices:v3"))
    assert plane.deployments.rollback(OWNER, "prices").revision == 2
    again = plane.deployments.rollback(OWNER, "prices")
    assert (again.revision, again.changed) == (2, False)  # begun is begun: it does not go one further


def test_rollback_takes_only_what_was_live(plane: Plane) -> None:
    deploy_live(plane, 1)
    plane.deployments.deploy(OWNER, "prices", bundle("prices:v2"))
    assert code_of(lambda: plane.deployments.rollback(OWNER, "prices", to=2)) == "nothing_to_roll_back"
    assert code_of(lambda: plane.deployments.rollback(OWNER, "prices", to=9)) == "revision_not_found"
    assert code_of(lambda: plane.deployments.rollback(OWNER, "other")) == "endpoint_not_found"
    assert plane.kinds().count("action_refused") == 3


def test_delete_keeps_history_and_numbers(plane: Plane) -> None:
    deploy_live(plane, 1)
    plane.deployments.delete(OWNER, "prices")
    assert code_of(lambda: plane.deployments.delete(OWNER, "prices")) == "endpoint_not_found"
    assert plane.deployments.deploy(OWNER, "prices", bundle("prices:v1")).revision == 2
    assert "delete_requested" in [str(event.kind) for event in plane.deployments.history(OWNER, "prices")]


def test_history_says_what_was_live_when(plane: Plane) -> None:
    deploy_live(plane, 1, 2)
    at = [event.at for event in plane.store.events() if event.kind == "revision_live"]
    (first,) = plane.deployments.live_at(OWNER, at[0])
    (second,) = plane.deployments.live_at(OWNER, "2099-01-01")
    assert (first.revision, first.digest, first.by) == (1, digest_of("prices", 1), "ada")
    assert (second.revision, second.since) == (2, at[1])
    assert plane.deployments.live_at(OWNER, "2001-01-01T00:00:00+02:00") == ()
    assert code_of(lambda: plane.deployments.live_at(OWNER, "yesterday")) == "invalid_request"


def test_a_change_that_nobody_saw_makes_a_deploy_start_again(plane: Plane) -> None:
    """The gate compared with what was live; if another deploy came in between, its verdict says nothing."""
    deploy_live(plane, 1)
    plane.gate.before_answer.clear()
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(plane.deployments.deploy, OWNER, "prices", bundle("prices:v2"))
        assert plane.gate.arrived.acquire(timeout=60) and plane.gate.arrived.acquire(timeout=60)
        spec = Deployment(1, "prices", Backend(bundle="prices:v3"))
        report = GateReport(digest_of("prices", 3), "prices:v3", Verdict.PASSED, (), "now")
        judged = gating.judge(spec, plane.bundles.resolve(ModelRef("prices", 3)), report, None)
        other = changes.deploy(plane.store.state("prices"), judged, "prices", OWNER, plane.clock.now_s())
        plane.store.apply(Change(other.events, other.state, other.new_revision))
        plane.gate.before_answer.set()
        assert code_of(slow.result) == "generation_conflict"


def test_the_loop_may_go_on_while_a_gate_runs(plane: Plane) -> None:
    plane.deployments.deploy(OWNER, "prices", bundle("prices:v1"))
    plane.gate.before_answer.clear()
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(plane.deployments.deploy, OWNER, "prices", bundle("prices:v2"))
        assert plane.gate.arrived.acquire(timeout=60) and plane.gate.arrived.acquire(timeout=60)
        make_live(plane)
        plane.gate.before_answer.set()
        assert slow.result().revision == 2


def test_c07_the_same_key_gives_the_same_result_once(plane: Plane) -> None:
    first = plane.deployments.deploy(OWNER, "prices", bundle("prices:v1"), key="k1")
    assert plane.deployments.deploy(OWNER, "prices", bundle("prices:v1"), key="k1") == first
    assert len(plane.store.events()) == 1
    other = bundle("prices:v2")
    assert (
        code_of(lambda: plane.deployments.deploy(OWNER, "prices", other, key="k1")) == "idempotency_conflict"
    )
    assert code_of(lambda: plane.deployments.rollback(OWNER, "prices", key="k1")) == "idempotency_conflict"
    assert len(plane.store.revisions("prices")) == 1


def test_c07_a_key_of_a_rollback_without_a_reason_is_the_one_of_before_there_were_reasons(
    plane: Plane,
) -> None:
    deploy_live(plane, 1, 2)
    done = plane.deployments.rollback(OWNER, "prices", key="k")
    promise = changes.promise(OWNER, "k", ["rollback", "prices", None])
    assert promise is not None
    assert plane.store.remembered(promise) == msgspec.json.encode(done)


def test_c07_concurrent_requests_with_one_key_have_one_effect(plane: Plane) -> None:
    with ThreadPoolExecutor(8) as pool:
        jobs = [
            pool.submit(plane.deployments.deploy, OWNER, "prices", bundle("prices:v1"), "k") for _ in range(8)
        ]
        results = [job.result() for job in jobs]
    assert len({result.revision for result in results}) == 1
    assert len(plane.store.revisions("prices")) == 1
    assert plane.kinds() == ["deploy_requested"]


def test_c07_requests_with_one_key_whose_gates_run_side_by_side_have_one_effect(plane: Plane) -> None:
    plane.gate.before_answer.clear()
    with ThreadPoolExecutor(4) as pool:
        jobs = [
            pool.submit(plane.deployments.deploy, OWNER, "prices", bundle("prices:v1"), "k") for _ in range(4)
        ]
        for _ in jobs:
            assert plane.gate.arrived.acquire(timeout=60)
        plane.gate.before_answer.set()
        results = [job.result() for job in jobs]
    assert len(set(results)) == 1
    assert plane.kinds() == ["deploy_requested"]


@pytest.mark.parametrize("verb", ["deploy", "rollback", "delete"])
def test_a_stranger_may_change_nothing_and_leaves_one_event(plane: Plane, verb: str) -> None:
    deploy_live(plane, 1)
    before = plane.store.state("prices")
    calls = {
        "deploy": lambda: plane.deployments.deploy(STRANGER, "prices", bundle("prices:v2")),
        "rollback": lambda: plane.deployments.rollback(STRANGER, "prices"),
        "delete": lambda: plane.deployments.delete(STRANGER, "prices"),
    }
    assert code_of(calls[verb]) == "forbidden"
    assert plane.store.state("prices") == before
    assert plane.kinds().count("action_refused") == 1
    for read in (plane.deployments.status, plane.deployments.history):
        assert code_of(lambda read=read: read(STRANGER)) == "forbidden"  # type: ignore[misc]


def test_a_rollback_passes_over_revisions_that_are_the_same_as_the_live_one(plane: Plane) -> None:
    deploy_live(plane, 1, 2)
    plane.deployments.rollback(OWNER, "prices")
    make_live(plane)
    deploy_live(plane, 2)  # revision 3 is v2 again: going back means v1, not the v2 of revision 2
    back = plane.deployments.rollback(OWNER, "prices")
    assert (back.revision, back.ref) == (1, "prices:v1")


@pytest.mark.parametrize(("deadline", "told"), [("1s", True), ("10s", False)])
def test_a_row_that_takes_longer_than_the_endpoints_deadline_is_told(
    plane: Plane, deadline: str, told: bool
) -> None:
    spec = Deployment(1, "prices", Backend(bundle="prices:v1"), limits=LimitsSection(deadline))
    latency = CheckResult("latency", Verdict.PASSED, "", (Measurement("latency_p50_ms", 6_200.0, n=3),))
    report = GateReport(digest_of("prices", 1), "prices:v1", Verdict.PASSED, (latency,), "now")
    judged = gating.judge(spec, plane.bundles.resolve(ModelRef("prices", 1)), report, None)
    assert any("6,200 ms" in warning and "1,000 ms" in warning for warning in judged.warnings) is told


def test_a_rollback_says_that_recording_goes_back_with_the_revision(plane: Plane) -> None:
    deploy_live(plane, 1)
    record = RecordSection(capture="10%", redact=("name",), retain="7d", slices=("region",))
    spec = Deployment(1, "prices", Backend(bundle="prices:v2"), record=record)
    plane.deployments.deploy(OWNER, "prices", views.DeployRequest(spec=spec))
    make_live(plane)
    (warning,) = plane.deployments.rollback(OWNER, "prices").warnings
    assert warning.startswith("recording follows the revision: capture is 0 % again (was 10 %)")
    assert "retain is 30d again (was 7d)" in warning and "redact is none again (was name)" in warning
    assert plane.store.events()[-1].details["warnings"] == warning


def test_a_rollback_that_leaves_recording_alone_says_nothing_of_it(plane: Plane) -> None:
    deploy_live(plane, 1, 2)
    assert plane.deployments.rollback(OWNER, "prices").warnings == ()


def canary(number: int, force: str | None = None) -> views.DeployRequest:
    spec = Deployment(1, "prices", Backend(bundle=f"prices:v{number}"), rollout=Rollout(steps=("5%", "100%")))
    return views.DeployRequest(spec=spec, force=force)


def test_a_gradual_deploy_over_a_live_revision_is_a_rollout(plane: Plane) -> None:
    assert plane.deployments.deploy(OWNER, "prices", canary(1)).revision == 1
    first = plane.store.state("prices")
    assert first is not None and first.rollout is None  # nothing is live that it could be compared with
    make_live(plane)
    plane.deployments.deploy(OWNER, "prices", canary(2))
    state = plane.store.state("prices")
    assert state is not None and state.rollout is not None
    assert (state.rollout.candidate, state.rollout.stable, state.live) == (2, 1, 1)
    assert plane.kinds()[-2:] == ["deploy_requested", "rollout_started"]
    again = plane.deployments.deploy(OWNER, "prices", canary(2))
    assert (again.changed, again.revision) == (False, 2)
    status = plane.deployments.get(OWNER, "prices")
    assert status.rollout == state.rollout
    assert [revision.number for revision in status.revisions] == [1, 2]


def test_c12_force_takes_all_traffic_over_a_broken_revision_and_is_recorded(plane: Plane) -> None:
    plane.deployments.deploy(OWNER, "prices", canary(1))
    make_live(plane)
    assert code_of(lambda: plane.deployments.deploy(OWNER, "prices", canary(2, " "))) == "invalid_request"
    accepted = plane.deployments.deploy(OWNER, "prices", canary(2, "v1 answers nothing"))
    assert "without its rollout: v1 answers nothing" in accepted.warnings[0]
    state = plane.store.state("prices")
    assert state is not None and (state.rollout, state.desired) == (None, 2)
    event = plane.store.events()[-1]
    assert (event.kind, event.principal) == ("deploy_requested", "ada")
    assert event.details["force"] == "v1 answers nothing"


def test_c12_force_ends_a_rollout_of_the_same_version_too(plane: Plane) -> None:
    plane.deployments.deploy(OWNER, "prices", canary(1))
    make_live(plane)
    plane.deployments.deploy(OWNER, "prices", canary(2))
    accepted = plane.deployments.deploy(OWNER, "prices", canary(2, "v1 answers nothing"), "key-1")
    assert (accepted.changed, accepted.revision) == (True, 3)
    assert accepted.superseded == views.Superseded(2, 0.0)
    assert plane.deployments.deploy(OWNER, "prices", canary(2, "v1 answers nothing"), "key-1") == accepted
    assert plane.kinds()[-2:] == ["deploy_requested", "rollout_superseded"]
    make_live(plane)
    assert not plane.deployments.deploy(OWNER, "prices", canary(2, "once more")).changed  # it is live already


def test_c05_force_passes_over_no_gate(plane: Plane) -> None:
    plane.deployments.deploy(OWNER, "prices", canary(1))
    make_live(plane)
    plane.gate.verdicts["prices:v2"] = Verdict.FAILED
    assert (
        code_of(lambda: plane.deployments.deploy(OWNER, "prices", canary(2, "v1 is broken"))) == "gate_failed"
    )

"""What a person does with a rollout, through the use cases and the API: stored once, refused with its cause, told in words."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
from control_fakes import OWNER, STRANGER, Plane, call, exchange, make_app

from seaway.control import api, changes, doors, views
from seaway.control.rollouts import evidence_files, moves
from seaway.control.rollouts import views as rollouts
from seaway.core import reconciliation as core
from seaway.core.checks import Verdict
from seaway.core.deployments import Backend, Deployment, Phase
from seaway.core.errors import SeawayError
from seaway.core.ports import Change
from seaway.core.rollouts import decision
from seaway.core.rollouts.judgement import CheckJudgement, Judgement
from seaway.core.rollouts.spec import Rollout, Step
from seaway.core.rollouts.state import RolloutPhase, RolloutState

SOCKET = doors.SocketDoor(owner=os.geteuid())
ME = (str(os.geteuid()), 1)
STEPS = Rollout(steps=(Step("5%", approve=True), "50%", "100%"), hold="60s")


@pytest.fixture
def plane(tmp_path: Path) -> Plane:
    """Revision 1 is live, revision 2 is the candidate of a rollout that every worker is ready for."""
    plane = Plane(tmp_path)
    for number in (1, 2):
        spec = Deployment(1, "prices", Backend(bundle=f"prices:v{number}"), rollout=STEPS)
        plane.deployments.deploy(OWNER, "prices", views.DeployRequest(spec=spec))
        if number == 1:
            settle(plane, 1)
    act(plane, decision.Settle())
    return plane


def settle(plane: Plane, number: int) -> None:
    """What the control loop does when every worker has it."""
    state, revision = plane.store.state("prices"), plane.store.revision("prices", number)
    assert state is not None
    action = core.MarkLive("prices", state.generation, number)
    new, *rest = changes.settle(action, state, revision, plane.clock.now_s())
    events = rest[0] if isinstance(rest[0], tuple) else (rest[0],)
    plane.store.apply(Change(events, msgspec.structs.replace(new, generation=state.generation + 1)))


def act(plane: Plane, action: decision.RolloutAction) -> None:
    """What the analysis does."""
    state, revision = plane.store.state("prices"), plane.store.revision("prices", 2)
    assert state is not None and revision is not None
    plan = moves.apply(action, state, revision, plane.clock.now_s())
    plane.store.apply(Change(plan.events, plan.state))


def move(plane: Plane, asked: rollouts.Move, key: str | None = None) -> views.Accepted:
    return plane.rollouts.move(OWNER, "prices", asked, key)


def stored(plane: Plane) -> RolloutState:
    state = plane.store.state("prices")
    assert state is not None and state.rollout is not None
    return state.rollout


def code_of(call: object) -> str:
    with pytest.raises(SeawayError) as caught:
        call()  # type: ignore[operator]
    return caught.value.code


def test_a_rollout_walks_by_hand_and_each_move_is_one_event_of_its_principal(plane: Plane) -> None:
    before, woken = plane.store.last_seq(), plane.woken
    assert "5 %" in move(plane, rollouts.Promote()).message
    assert (stored(plane).step, stored(plane).percent) == (0, 5.0)
    move(plane, rollouts.Approve())
    move(plane, rollouts.Pause("lunch"))
    assert (stored(plane).phase, stored(plane).why) == (RolloutPhase.PAUSED, "lunch")
    move(plane, rollouts.Resume())
    move(plane, rollouts.Traffic(30.0))
    assert (stored(plane).percent, stored(plane).step) == (30.0, 0)
    accepted = move(plane, rollouts.Abort("it is Friday"))
    assert (accepted.revision, accepted.changed) == (2, True)
    state = plane.store.state("prices")
    assert state is not None
    assert (state.desired, state.rollback, stored(plane).phase) == (1, True, RolloutPhase.ABORTED)
    events = plane.store.events(after=before)
    assert [str(event.kind) for event in events] == [
        "rollout_stepped",
        "rollout_approved",
        "rollout_paused",
        "rollout_resumed",
        "traffic_set",
        "rollout_aborted",
    ]
    assert {event.principal for event in events} == {"ada"}
    assert plane.woken - woken == 6


def test_promote_full_goes_to_the_last_step(plane: Plane) -> None:
    move(plane, rollouts.Promote(full=True))
    assert stored(plane).percent == 100.0


def test_a_move_tells_what_the_checks_had_said_by_then(plane: Plane) -> None:
    move(plane, rollouts.Promote())
    act(plane, decision.Settle())
    undecided = CheckJudgement(
        "latency", Verdict.INCONCLUSIVE, "p99: 2 % of 900", True, "rollback", 0.5, 0.0, 0.0
    )
    passed = CheckJudgement("errors", Verdict.PASSED, "0 % of 900", True, "rollback", 0.5, 0.0, 0.0)
    said = Judgement(0, int(plane.clock.now_s()), 5, Verdict.INCONCLUSIVE, (passed, undecided))
    evidence_files.publish(plane.records / "rollouts", "prices", 2, said)
    move(plane, rollouts.Promote(reason="the fair"))
    details = plane.store.events()[-1].details
    assert details["why"] == (
        "ada went on by hand though latency was undecided, before its hold was over, without the approval that the step "
        "asks for (errors had passed)"
    )
    assert (details["passed"], details["not_passed"]) == ("errors", "latency")
    assert details["evidence.latency"] == "p99: 2 % of 900" and details["reason"] == "the fair"


def test_a_move_that_changes_nothing_leaves_no_event(plane: Plane) -> None:
    move(plane, rollouts.Pause())
    before = plane.store.events()
    assert not move(plane, rollouts.Pause()).changed
    assert plane.store.events() == before


def test_c07_the_same_key_is_one_move(plane: Plane) -> None:
    first = move(plane, rollouts.Promote(), "k")
    assert move(plane, rollouts.Promote(), "k") == first
    assert stored(plane).step == 0
    assert code_of(lambda: move(plane, rollouts.Promote(full=True), "k")) == "idempotency_conflict"
    assert code_of(lambda: move(plane, rollouts.Pause(), "k")) == "idempotency_conflict"


def test_c07_the_same_key_at_the_same_time_is_one_move(plane: Plane) -> None:
    with ThreadPoolExecutor(8) as threads:
        done = list(threads.map(lambda _: move(plane, rollouts.Promote(), "k"), range(16)))
    assert len({one.generation for one in done}) == 1
    assert stored(plane).step == 0
    assert plane.kinds().count("rollout_stepped") == 1


def test_moves_that_race_all_take_effect_and_abort_wins(plane: Plane) -> None:
    asked = [rollouts.Pause(), rollouts.Abort(), rollouts.Promote(), rollouts.Resume()]

    def one(what: rollouts.Move) -> str:
        try:
            return move(plane, what).message
        except SeawayError as error:
            return error.code

    with ThreadPoolExecutor(4) as threads:
        said = list(threads.map(one, asked))
    assert stored(plane).phase is RolloutPhase.ABORTED
    assert "generation_conflict" not in said


@pytest.mark.parametrize("kind", list(rollouts.WORDS), ids=rollouts.WORDS.get)
def test_who_may_not_is_refused_with_one_event(plane: Plane, kind: type[rollouts.Move]) -> None:
    asked = rollouts.Traffic(3.0) if kind is rollouts.Traffic else kind()
    assert code_of(lambda: plane.rollouts.move(STRANGER, "prices", asked)) == "forbidden"
    event = plane.store.events()[-1]
    assert (str(event.kind), event.details["action"]) == ("action_refused", rollouts.WORDS[kind])
    assert stored(plane).step == -1


def test_where_there_is_no_rollout(plane: Plane) -> None:
    assert code_of(lambda: plane.rollouts.move(OWNER, "other", rollouts.Pause())) == "endpoint_not_found"
    assert code_of(lambda: plane.rollouts.status(OWNER, "other")) == "endpoint_not_found"
    first = views.DeployRequest(spec=Deployment(1, "first", Backend(bundle="first:v1"), rollout=STEPS))
    plane.deployments.deploy(OWNER, "first", first)
    assert code_of(lambda: plane.rollouts.move(OWNER, "first", rollouts.Pause())) == "no_rollout"
    assert code_of(lambda: plane.rollouts.status(OWNER, "first")) == "rollout_not_found"
    assert plane.rollouts.last(OWNER, "first") is None
    assert code_of(lambda: plane.rollouts.record(OWNER, "first", 1)) == "rollout_not_found"
    for path in ("/endpoints/first/rollout", "/endpoints/first/rollouts/1", "/endpoints/other/rollout"):
        assert call(plane, SOCKET, "GET", path, client=ME).status == 404
    assert call(plane, SOCKET, "POST", "/endpoints/first/rollout/pause", b"{}", client=ME).status == 409
    assert code_of(lambda: plane.rollouts.record(OWNER, "prices", 9)) == "revision_not_found"
    move(plane, rollouts.Abort())
    assert code_of(lambda: move(plane, rollouts.Promote())) == "no_rollout"


def judgement(looks: int, verdict: Verdict) -> Judgement:
    check = CheckJudgement("errors", verdict, "errors: so and so", True, "rollback", 1.0, 0.0, 0.0)
    return Judgement(0, 1_800_000_000 + looks, looks, verdict, (check,))


def test_the_status_is_of_now_and_shows_the_newest_judgement(plane: Plane, tmp_path: Path) -> None:
    move(plane, rollouts.Promote())
    act(plane, decision.Settle())
    plane.clock.advance(20)
    found = plane.rollouts.status(OWNER, "prices")
    assert (found.candidate.ref, found.stable.ref, found.looks) == ("prices:v2", "prices:v1", 0)
    assert found.waiting.words.startswith("its hold, 40 s more, and errors and latency to pass")
    assert found.waiting.next_percent == 50.0
    evidence_files.publish(tmp_path / "rollouts", "prices", 2, judgement(17, Verdict.PASSED))
    assert plane.rollouts.status(OWNER, "prices").looks == 17


def test_the_record_tells_the_way_up_to_the_moment_when_all_traffic_was_back(
    plane: Plane, tmp_path: Path
) -> None:
    for number in (1, 2, 3):
        evidence_files.append(tmp_path / "rollouts", "prices", 2, judgement(number, Verdict.INCONCLUSIVE))
    move(plane, rollouts.Promote())
    act(plane, decision.RollBack("errors: 1.9 % against 1.0 %", "errors"))
    settle(plane, 1)
    plane.deployments.deploy(OWNER, "prices", views.DeployRequest(bundle="prices:v3"))
    settle(plane, 3)
    found = plane.rollouts.record(OWNER, "prices", 2)
    assert [str(event.kind) for event in found.events] == [
        "deploy_requested",
        "rollout_started",
        "rollout_stepped",
        "rollout_rolled_back",
        "revision_live",
    ]
    assert (found.events[-1].revision, found.stable and found.stable.number) == (1, 1)
    assert found.state is None  # the store holds the state of the newest rollout only
    assert [look.looks for look in found.looks] == [1, 2, 3]


def test_over_http(plane: Plane) -> None:
    def post(word: str, body: bytes = b"{}", **headers: str) -> tuple[int, dict[str, object]]:
        answer = call(plane, SOCKET, "POST", f"/endpoints/prices/rollout/{word}", body, headers, client=ME)
        return answer.status, answer.json()

    status, body = post("promote", b'{"reason": "seen enough"}', **{"idempotency-key": "k"})
    assert (status, body["revision"], body["changed"]) == (202, 2, True)
    assert plane.store.events()[-1].details["reason"] == "seen enough"
    assert post("pause")[0] == 202
    assert post("pause")[0] == 200
    assert post("traffic", b'{"percent": 12.5}')[0] == 202
    for wrong in (b"{}", b'{"percent": 101}', b'{"percent": -1}', b'{"percent": "30%"}', b'{"percent": NaN}'):
        assert post("traffic", wrong)[0] == 400
    assert post("abort", b'{"reason": ""}')[0] == 400
    shown = call(plane, SOCKET, "GET", "/endpoints/prices/rollout", client=ME)
    found = msgspec.json.decode(shown.body, type=rollouts.RolloutStatus)
    assert (found.state.percent, found.state.phase) == (12.5, RolloutPhase.PAUSED)
    kept = call(plane, SOCKET, "GET", "/endpoints/prices/rollouts/2", client=ME)
    assert msgspec.json.decode(kept.body, type=rollouts.RolloutRecord).candidate.number == 2
    assert call(plane, SOCKET, "GET", "/endpoints/prices/rollouts/x", client=ME).status == 400
    status_body = call(plane, SOCKET, "GET", "/endpoints/prices", client=ME).json()
    assert status_body["rollout"]["percent"] == 12.5  # type: ignore[index]


def test_every_move_has_its_route() -> None:
    found = {route.path.rpartition("/")[2] for route in api.ROUTES if "/rollout/" in route.path}
    assert found == set(rollouts.WORDS.values())


def test_the_rollout_of_an_endpoint_that_is_going_away_can_still_be_seen(plane: Plane) -> None:
    plane.deployments.delete(OWNER, "prices")
    assert plane.rollouts.last(OWNER, "prices") is None
    assert plane.rollouts.record(OWNER, "prices", 2).candidate.number == 2
    assert code_of(lambda: move(plane, rollouts.Pause())) == "endpoint_not_found"


def test_what_is_watched_holds_the_rollout(plane: Plane) -> None:
    async def run() -> bytes:
        with ThreadPoolExecutor(1) as deploying:
            app = make_app(plane, SOCKET, deploying)
            return (await exchange(app, "GET", "/endpoints/prices/seconds", b"", {}, ME)).body

    told = msgspec.json.decode(asyncio.run(run()), type=views.Seconds)
    assert told.rollout is not None and told.rollout.state.candidate == 2
    assert told.endpoint.phase is Phase.PROGRESSING

"""What `deploy`, `abort` and `promote --full` wait for while a rollout goes its way."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec
import pytest
import rollout_values as r
import watch_values as v

from seaway.cli import endpoints_view, rollouts_follow
from seaway.control import views
from seaway.control.rollouts import views as rollouts
from seaway.core.deployments import Phase
from seaway.core.errors import TemporaryError, UserError
from seaway.core.events import Event, EventKind
from seaway.core.rollouts.state import RolloutPhase


class Told:
    """A control plane that tells these events; asked for more, it says that the verb waits for ever, or `ends`."""

    def __init__(
        self, *events: Event, rollout: rollouts.RolloutStatus | None = None, ends: bool = False
    ) -> None:
        self._events = events
        self._rollout = rollout or r.status(phase=RolloutPhase.WAITING, step=-1, percent=0.0)
        self._ends = ends

    def follow(self, after: int, beat: Callable[[], None] | None = None) -> Iterator[Event]:
        yield from (event for event in self._events if event.seq > after)
        assert self._ends, "the verb waits for ever"

    def rollout(self, endpoint: str) -> rollouts.RolloutStatus:
        return self._rollout


ACCEPTED = views.Accepted(
    "prices", 4, v.digest(4), "prices:v4", 7, True, 10, "revision 4 of prices is prices:v4"
)
DEPLOY = r.event(11, EventKind.DEPLOY_REQUESTED, "", 60)
STARTED = r.event(12, EventKind.ROLLOUT_STARTED, "revision 4 against revision 3", 60)
STEP = r.event(13, EventKind.ROLLOUT_STEPPED, "revision 4 takes 1 %", 50)
LIVE = r.event(14, EventKind.REVISION_LIVE, "revision 4 answers", 40)
PROMOTED = r.event(15, EventKind.ROLLOUT_PROMOTED, "revision 4 is promoted", 30)
BACK = r.event(14, EventKind.ROLLOUT_ROLLED_BACK, "back to revision 3: errors", 40)
STABLE_LIVE = r.event(15, EventKind.REVISION_LIVE, "revision 3 answers", 39, revision=3)


def deploy(told: Told, *, to_end: bool = False) -> list[str]:
    said: list[str] = []
    done = endpoints_view.follow(told, ACCEPTED, lambda _: None, lambda: 0.0, tell=said.append, to_end=to_end)  # type: ignore[arg-type]
    assert done is ACCEPTED
    return said


def test_a_deploy_waits_for_the_first_step() -> None:
    assert deploy(Told(DEPLOY, STARTED, STEP)) == []


def test_a_deploy_with_follow_waits_for_the_end_and_tells_the_way() -> None:
    said = deploy(Told(DEPLOY, STARTED, STEP, LIVE, PROMOTED), to_end=True)
    assert said == [
        "prices: revision 4 takes 1 %",
        "prices: revision 4 answers",
        "prices: revision 4 is promoted",
    ]


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        (EventKind.ROLLOUT_ROLLED_BACK, "rolled back"),
        (EventKind.ROLLOUT_ABORTED, "aborted"),
        (EventKind.ROLLOUT_SUPERSEDED, "superseded"),
    ],
)
@pytest.mark.parametrize("to_end", [False, True])
def test_a_rollout_that_is_taken_back_ends_the_deploy_with_3(
    kind: EventKind, word: str, to_end: bool
) -> None:
    events = (DEPLOY, STARTED, *((STEP,) if to_end else ()), r.event(14, kind, "because", 40))
    with pytest.raises(UserError) as caught:
        deploy(Told(*events), to_end=to_end)
    assert caught.value.code == "rollout_rolled_back"
    assert f"was {word}: because" in caught.value.message
    assert "seaway explain prices/4" in (caught.value.hint or "")


class UnderWay(Told):
    """A control plane in which this revision is on its way, or was, before the deploy that is followed."""

    def __init__(
        self, *told: Event, phase: RolloutPhase | None = RolloutPhase.RUNNING, running: bool = True
    ) -> None:
        super().__init__(*told)
        self.running = running
        over = phase in (RolloutPhase.ROLLED_BACK, RolloutPhase.PROMOTED)
        state = None if phase is None else msgspec.structs.replace(r.STATE, phase=phase)
        self._status = v.status(
            phase=Phase.LIVE if over else Phase.PROGRESSING,
            desired=3 if phase is RolloutPhase.ROLLED_BACK else 4,
            rollout=state,
        )

    def status(self) -> views.Status:
        return views.Status((self._status,), ())

    def history(self, endpoint: str | None = None) -> tuple[Event, ...]:
        return self._events


SAME = msgspec.structs.replace(
    ACCEPTED, changed=False, message="prices:v4 is on its way already: nothing to do"
)


def deploy_again(told: UnderWay, *, to_end: bool = True) -> tuple[views.Accepted, list[str]]:
    said: list[str] = []
    done = endpoints_view.follow(told, SAME, lambda _: None, lambda: 0.0, tell=said.append, to_end=to_end)  # type: ignore[arg-type]
    return done, said


def test_a_followed_deploy_of_what_is_under_way_follows_that() -> None:
    done, said = deploy_again(UnderWay(LIVE, PROMOTED))
    assert done.message == "prices:v4 is live" and not done.changed
    assert said == [
        "prices: prices:v4 is on its way already; this follows it",
        "prices: revision 4 answers",
        "prices: revision 4 is promoted",
    ]
    baking, _ = deploy_again(UnderWay(PROMOTED, phase=RolloutPhase.BAKING))
    assert baking.message == "prices:v4 is live"
    switching, _ = deploy_again(UnderWay(LIVE, phase=None))
    assert switching.message == "prices:v4 is live"


@pytest.mark.parametrize("told", [UnderWay(BACK), UnderWay(BACK, phase=RolloutPhase.ROLLED_BACK)])
def test_a_followed_deploy_of_what_is_taken_back_ends_with_3(told: UnderWay) -> None:
    with pytest.raises(UserError) as caught:
        deploy_again(told)
    assert caught.value.code == "rollout_rolled_back"


def test_what_is_followed_is_not_said_to_be_live_before_it_is() -> None:
    later = r.event(14, EventKind.DELETE_REQUESTED, "prices will be deleted", 40, revision=3)
    with pytest.raises(UserError) as caught:
        deploy_again(UnderWay(later))
    assert caught.value.code == "generation_conflict"
    assert caught.value.message.startswith("prices:v4 is on its way already")


def test_a_deploy_of_what_is_under_way_waits_for_nothing_without_follow_a_server_or_a_rollout() -> None:
    for told, to_end in (
        (UnderWay(), False),
        (UnderWay(running=False), True),
        (UnderWay(phase=RolloutPhase.PROMOTED), True),
    ):
        assert deploy_again(told, to_end=to_end) == (SAME, [])


def test_a_followed_deploy_outlives_the_control_process() -> None:
    asked: list[int] = []

    class Restarting(Told):
        def follow(self, after: int, beat: Callable[[], None] | None = None) -> Iterator[Event]:
            asked.append(after)
            if len(asked) == 2:
                raise TemporaryError("control_unavailable", "it is away")
            newer = [event for event in self._events if event.seq > after]
            yield from newer[:3] if len(asked) == 1 else newer

    told = Restarting(DEPLOY, STARTED, STEP, LIVE, PROMOTED)
    assert deploy(told, to_end=True)[-1] == "prices: revision 4 is promoted"
    assert asked == [10, 13, 13]


def test_a_followed_deploy_ends_where_the_control_process_stays_away() -> None:
    moments = iter([0.0, 0.0, 0.0, 30.0, 61.0])
    with pytest.raises(TemporaryError) as caught:
        endpoints_view.follow(
            Told(DEPLOY, STARTED, ends=True), ACCEPTED, lambda _: None, lambda: next(moments), to_end=True
        )  # type: ignore[call-arg, arg-type]
    assert caught.value.code == "control_unavailable"


def test_a_candidate_that_cannot_be_prepared_fails_as_before() -> None:
    failed = r.event(13, EventKind.REVISION_FAILED, "bad axis", 50)
    with pytest.raises(UserError) as caught:
        deploy(Told(DEPLOY, STARTED, failed, BACK))
    assert caught.value.code == "revision_failed"


def test_a_deploy_without_a_rollout_ends_when_it_is_live() -> None:
    assert deploy(Told(DEPLOY, LIVE), to_end=True) == []


def test_a_deploy_does_not_wait_for_a_start_or_a_freeze() -> None:
    later = r.status(phase=RolloutPhase.WAITING, step=-1, percent=0.0)
    waits = rollouts.Waiting("its start at 09:00:00 UTC", 1.0, v.NOW_S + 3600)
    told = Told(DEPLOY, STARTED, rollout=rollouts.RolloutStatus(
        "prices", later.state, later.spec, later.candidate, later.stable, waits, v.NOW_S,
    ))  # fmt: skip
    assert deploy(told) == []


@pytest.mark.parametrize("kind", [EventKind.ROLLOUT_PAUSED, EventKind.TRAFFIC_SET])
def test_a_deploy_does_not_wait_for_what_a_person_holds(kind: EventKind) -> None:
    assert deploy(Told(DEPLOY, STARTED, r.event(13, kind, "", 50))) == []


def test_events_of_other_endpoints_and_revisions_are_not_its_own() -> None:
    other = Event(**{**{f: getattr(STEP, f) for f in STEP.__struct_fields__}, "endpoint": "other"})
    with pytest.raises(AssertionError, match="waits for ever"):
        deploy(Told(DEPLOY, STARTED, other, STABLE_LIVE))


def move(told: Told, what: rollouts.Move) -> None:
    rollouts_follow.follow_move(told, ACCEPTED, what, lambda _: None, lambda: 0.0)  # type: ignore[arg-type]


def test_an_abort_waits_until_the_stable_revision_has_all_traffic() -> None:
    aborted = r.event(14, EventKind.ROLLOUT_ABORTED, "", 40)
    move(Told(aborted, STABLE_LIVE), rollouts.Abort())
    with pytest.raises(AssertionError, match="waits for ever"):
        move(Told(aborted, LIVE), rollouts.Abort())


def test_promote_full_waits_until_it_is_live_or_is_overtaken() -> None:
    move(Told(STEP, LIVE), rollouts.Promote(full=True))
    with pytest.raises(UserError) as caught:
        move(Told(STEP, BACK, STABLE_LIVE), rollouts.Promote(full=True))
    assert caught.value.code == "rollout_rolled_back"


def test_what_can_no_longer_come_is_not_waited_for() -> None:
    delete = r.event(14, EventKind.DELETE_REQUESTED, "prices will be deleted", 40)
    share = r.event(14, EventKind.TRAFFIC_SET, "revision 4 takes 3 %", 40)
    for events, what in (
        ((delete,), rollouts.Abort()),
        ((STEP, delete), rollouts.Promote(full=True)),
        ((STEP, share), rollouts.Promote(full=True)),
    ):
        with pytest.raises(UserError) as caught:
            move(Told(*events), what)
        assert caught.value.code == "generation_conflict"


def test_an_abort_does_not_wait_for_ever_for_workers_that_are_not_there() -> None:
    class Alone(Told):
        def status(self) -> views.Status:
            return views.Status((), ())

        def follow(self, after: int, beat: Callable[[], None] | None = None) -> Iterator[Event]:
            assert beat is not None
            while True:
                beat()
                yield r.event(11, EventKind.ROLLOUT_ABORTED, "", 1)

    moments = iter(range(0, 1000, 50))
    with pytest.raises(TemporaryError) as caught:
        rollouts_follow.follow_move(
            Alone(),
            ACCEPTED,
            rollouts.Abort(),
            lambda _: None,
            lambda: float(next(moments)),  # type: ignore[arg-type]
        )
    assert caught.value.code == "not_ready"


@pytest.mark.parametrize(
    "what",
    [rollouts.Promote(), rollouts.Pause(), rollouts.Resume(), rollouts.Approve(), rollouts.Traffic(5.0)],
)
def test_the_other_moves_are_done_when_they_are_stored(what: rollouts.Move) -> None:
    move(Told(), what)


def test_a_server_that_goes_away_is_temporary() -> None:
    with pytest.raises(TemporaryError) as caught:
        move(Told(ends=True), rollouts.Abort())
    assert caught.value.code == "control_unavailable"

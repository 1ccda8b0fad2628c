"""Which revision a request gets while a rollout runs, and what is told of the reason."""

from __future__ import annotations

import msgspec
import pytest
from engine_fakes import Asked, FakeClock, FakeRuntime, revision, sources
from hypothesis import given
from hypothesis import strategies as st

from seaway.core.errors import UserError
from seaway.core.records import Chosen
from seaway.core.traffic import FlagRule, Limits, Route, RoutingTable
from seaway.core.user_keys import UserKey
from seaway.engine.pool import Pool
from seaway.engine.router import RevisionNotReady, Router

STABLE, CANDIDATE = 1, 2


def router_of(percent: float, *ready: int, **options: object) -> Router:
    """A stable revision and a candidate with `percent`; those that are `ready` are loaded."""
    pool = Pool(sources(FakeRuntime()), FakeClock())
    shares = {STABLE: 100.0 - percent, CANDIDATE: percent}
    for number in ready or shares:
        pool.load("e", revision(number, "ab"[number - 1]), Limits())
    revisions = tuple(revision(n, "ab"[n - 1], share) for n, share in shares.items())
    route = msgspec.structs.replace(Route("e", revisions, salt="e/2"), **options)
    return Router(pool, RoutingTable(1, (route,)))


def picked(router: Router, asked: Asked, number: int | None = None) -> tuple[int, Chosen]:
    handle = router.pick("e", asked, number)
    return handle.revision.number, asked.chosen


@given(st.text(min_size=1, max_size=50), st.lists(st.floats(0, 100), min_size=2, max_size=6))
def test_a_user_who_is_on_the_candidate_stays_there_while_its_share_grows(
    user: str, shares: list[float]
) -> None:
    """Whatever the request's own id; and the split tells that it was the split."""
    sticky = UserKey(header="x-user-id")
    found = []
    for place, share in enumerate(sorted(shares)):
        number, chosen = picked(router_of(share, sticky=sticky), Asked(f"r-{place}", x_user_id=user))
        assert chosen in ((Chosen.SPLIT, Chosen.SLICE) if 0 < share < 100 else (Chosen.ONLY,))
        found.append(number)
    assert found == sorted(found)


def test_a_request_without_the_key_is_split_by_its_own_id() -> None:
    router = router_of(30.0, sticky=UserKey(cookie="user"))
    numbers = [picked(router, Asked(f"r-{n}", cookie="theme=dark"))[0] for n in range(2000)]
    assert 0.25 < numbers.count(CANDIDATE) / len(numbers) < 0.35
    user = {picked(router, Asked(f"r-{n}", cookie="theme=dark; user=ada"))[0] for n in range(50)}
    assert len(user) == 1


def test_the_slice_is_told_of_users_of_the_stable_revision_alone() -> None:
    """A request without a user key is in no slice, and where users are not told apart there is none."""
    split = [picked(router_of(30.0), Asked(f"r-{n}", x_user_id=f"u-{n}")) for n in range(400)]
    assert {chosen for _, chosen in split} == {Chosen.SPLIT}
    router = router_of(30.0, sticky=UserKey(header="x-user-id"))
    assert {picked(router, Asked(f"r-{n}"))[1] for n in range(400)} == {Chosen.SPLIT}
    of_users = [picked(router, Asked("r", x_user_id=f"u-{n}")) for n in range(2000)]
    assert {number for number, chosen in of_users if chosen is Chosen.SLICE} == {STABLE}
    assert 0.25 < sum(chosen is Chosen.SLICE for _, chosen in of_users) / len(of_users) < 0.35


@pytest.mark.parametrize(
    ("rule", "headers", "meets"),
    [
        (FlagRule(CANDIDATE, ("beta",), UserKey(header="x-group")), {"x_group": "beta"}, True),
        (FlagRule(CANDIDATE, ("beta",), UserKey(header="x-group")), {"x_group": "Beta"}, False),
        (FlagRule(CANDIDATE, ("beta",), UserKey(header="x-group")), {}, False),
        (FlagRule(CANDIDATE, ("Zoë", "x"), UserKey(header="x-group")), {"x_group": "Zoë"}, True),
        (FlagRule(CANDIDATE, ("on",), UserKey(cookie="try")), {"cookie": 'a=b; try="on"'}, True),
        (FlagRule(CANDIDATE, ("on",), UserKey(cookie="try")), {"cookie": "retry=on"}, False),
        (FlagRule(CANDIDATE, ("de",)), {"accept_language": "de-CH,de;q=0.9,en;q=0.8"}, True),
        (FlagRule(CANDIDATE, ("de-ch",)), {"accept_language": "DE-ch"}, True),
        (FlagRule(CANDIDATE, ("de-ch",)), {"accept_language": "de"}, False),
        (FlagRule(CANDIDATE, ("de",)), {"accept_language": "en, de;q=0.9"}, False),
        (FlagRule(CANDIDATE, ("de",)), {}, False),
        (FlagRule(9, ("beta",), UserKey(header="x-group")), {"x_group": "beta"}, False),
    ],
)
def test_flags_come_before_the_split(rule: FlagRule, headers: dict[str, str], meets: bool) -> None:
    """Also where one revision has all traffic."""
    router = router_of(0.0, flags=(rule,))
    wanted = (CANDIDATE, Chosen.FLAG) if meets else (STABLE, Chosen.ONLY)
    assert picked(router, Asked(**headers)) == wanted


def test_the_first_flag_that_meets_decides_and_a_named_revision_before_all() -> None:
    group = UserKey(header="x-group")
    rules = (FlagRule(STABLE, ("staff",), group), FlagRule(CANDIDATE, ("staff", "beta"), group))
    router = router_of(100.0, flags=rules)
    assert picked(router, Asked(x_group="staff")) == (STABLE, Chosen.FLAG)
    assert picked(router, Asked(x_group="beta")) == (CANDIDATE, Chosen.FLAG)
    assert picked(router, Asked(x_group="staff"), CANDIDATE) == (CANDIDATE, Chosen.NAMED)
    with pytest.raises(UserError, match="no revision 7"):
        router.pick("e", Asked(), 7)


def test_where_no_revision_takes_traffic_only_a_flag_or_a_name_finds_one() -> None:
    pool = Pool(sources(FakeRuntime()), FakeClock())
    pool.load("e", revision(1), Limits())
    flag = FlagRule(1, ("beta",), UserKey(header="x-group"))
    router = Router(pool, RoutingTable(1, (Route("e", (revision(1, percent=0.0),), flags=(flag,)),)))
    assert picked(router, Asked(x_group="beta")) == (1, Chosen.FLAG)
    with pytest.raises(UserError, match="takes traffic"):
        router.pick("e", Asked())


def test_s09_what_is_not_ready_is_told_and_the_stable_revision_stands_in() -> None:
    router = router_of(100.0, STABLE, fallback=STABLE)
    asked = Asked()
    with pytest.raises(RevisionNotReady, match="revision 2") as caught:
        router.pick("e", asked)
    failed = caught.value.handle
    assert (failed.revision.number, failed.filled) == (CANDIDATE, False)
    other = router.stand_in(failed, Chosen.SPLIT)
    assert other is not None and other.revision.number == STABLE
    assert router.find("e", asked) is other
    assert router.ready  # it answers all that comes
    for chosen in (Chosen.NAMED, Chosen.FALLBACK):
        assert router.stand_in(failed, chosen) is None
    assert router.stand_in(other, Chosen.SPLIT) is None
    with pytest.raises(RevisionNotReady):
        router.find("e", Asked(), CANDIDATE)


def test_s09_nobody_stands_in_where_the_route_says_none_or_that_one_is_not_ready_either() -> None:
    without = router_of(100.0, STABLE)
    neither = router_of(100.0, CANDIDATE, fallback=STABLE)
    assert not without.ready
    with pytest.raises(RevisionNotReady):
        without.find("e", Asked())
    handle = neither.pick("e", Asked())
    handle.suspend()
    assert not neither.ready
    with pytest.raises(RevisionNotReady) as caught:
        neither.find("e", Asked())
    assert caught.value.handle is handle


@pytest.mark.parametrize("fallback", [STABLE, None])
def test_s09_what_a_revision_still_runs_after_its_rollback_keeps_its_fallback(fallback: int | None) -> None:
    """The table then names the stable revision alone, and no fallback."""
    router = router_of(50.0, fallback=fallback)
    failed = router.pick("e", Asked(), CANDIDATE)
    failed.enter()
    for generation in (2, 3):  # a later change of the route does not forget it
        only = Route("e", (revision(STABLE, "a", 100.0),), Limits(queue_s=float(generation)))
        router.commit(RoutingTable(generation, (only,)))
        other = router.stand_in(failed, Chosen.SPLIT)
        assert (None if other is None else other.revision.number) == fallback
    router.retire("e", CANDIDATE)
    other = router.stand_in(failed, Chosen.SPLIT)
    assert (None if other is None else other.revision.number) == fallback
    router.commit(RoutingTable(4, ()))
    assert router.stand_in(failed, Chosen.SPLIT) is None

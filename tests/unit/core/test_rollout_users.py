"""Whether users are alike: a slice of the stable revision's users against the rest, beside the checks of a sticky rollout."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from judged_world import Model, World, check

from seaway.core.bundles import Digest
from seaway.core.checks import Verdict
from seaway.core.evidence import arms, dispersion
from seaway.core.evidence.arms import Rule
from seaway.core.ledger import Counts, PairCounts, Second, SliceCounts
from seaway.core.records import Chosen
from seaway.core.rollouts import judging, users
from seaway.core.rollouts.judging import Evidence
from seaway.core.rollouts.users import Users
from seaway.core.traffic import Route, RoutedRevision, Split
from seaway.core.user_keys import UserKey

DIGEST = Digest("sha256:" + "0" * 64)
STICKY = {"header": "x-user-id"}
USERS, RATE, SECONDS = 1_000, 200, 500


def begun() -> Users:
    return users.begin(arms.begin(Rule(rate=0.011), 0.0), 0.0)


def of_users(seed: int, *, first: bool, rates: tuple[float, float] = (0.1, 0.001)) -> Users:
    """Zipf(1) traffic of users in the arms of a real 5 % split; a tenth of them has the first rate of errors."""
    draw = np.random.default_rng(seed)
    revisions = tuple(RoutedRevision(n, DIGEST, "/b", f"m:v{n}", share) for n, share in ((1, 95.0), (2, 5.0)))
    split = Split(Route("e", revisions, salt=f"e/{seed}", sticky=UserKey(header="x-user-id")))
    places = [split.choose(b"user-%d" % n) for n in range(USERS)]
    weights = np.cumsum(1 / np.arange(1, USERS + 1))
    who = np.searchsorted(weights / weights[-1], draw.random(RATE * SECONDS))
    rate = np.where(draw.random(USERS) < 0.1, *rates)
    bad, second = draw.random(len(who)) < rate[who], np.arange(len(who)) // RATE
    counts = np.array([place.revision.number == 1 for place in places])[who]
    if first:
        counts[np.setdiff1d(np.arange(len(who)), np.unique(who, return_index=True)[1])] = False
    sliced = counts & np.array([place.chosen is Chosen.SLICE for place in places])[who]
    found = begun()
    masks = (counts, counts & bad, sliced, sliced & bad)
    told = (np.bincount(second[mask], minlength=SECONDS).tolist() for mask in masks)
    for at_s, (n, failed, own, own_failed) in enumerate(zip(*told, strict=True), 1):
        part = SliceCounts(own, own_failed) if own else None
        found = users.seen(found, float(at_s), Counts(finished=n, failed=failed), part)
    return found


def test_users_who_differ_are_noticed_where_each_request_is_a_unit() -> None:
    """Heavy users make the arms differ for ever, without any fault: of five such splits most are noticed."""
    noticed = [of_users(seed, first=False).unlike for seed in range(5)]
    assert sum(noticed) >= 3


@pytest.mark.parametrize("seed", range(3))
def test_the_first_request_of_each_user_is_alike(seed: int) -> None:
    found = of_users(seed, first=True)
    assert not found.unlike and users.why(found) is None
    assert found.guard.more.total.candidate > 0.02 * USERS


@pytest.mark.parametrize("seed", range(3))
def test_users_who_are_alike_are_left_alone_though_some_are_heavy(seed: int) -> None:
    assert not of_users(seed, first=False, rates=(0.02, 0.02)).unlike


def test_a_second_without_the_slice_waits_for_it_a_minute_at_most() -> None:
    """As the looks of all checks do; what is dropped then is dropped by counts alone."""
    found = users.seen(begun(), 1.0, Counts(finished=10, failed=1), None)
    assert found.guard == begun().guard and found.waiting is not None
    found = users.seen(found, 2.0, Counts(finished=8), SliceCounts(3, 0))
    assert found.waiting is None
    total = found.guard.more.total
    assert (total.candidate, total.stable, total.stable_bad) == (3, 15, 1)
    for at_s in range(3, 65):
        found = users.seen(found, float(at_s), Counts(finished=1), None)
    assert (found.guard.more.dropped, found.guard.less.dropped) == (1, 1)
    assert found.guard.more.total.stable == 15


def test_an_empty_second_begins_no_look_and_a_step_drops_the_one_that_waits() -> None:
    assert users.seen(begun(), 1.0, Counts(), None) == begun()
    waits = users.seen(begun(), 1.0, Counts(finished=4), None)
    assert users.next_step(waits) == begun()


def shown(found: Users, times: int, look: tuple[int, int, int, int]) -> Users:
    """The same look so many times: the slice's and the rest's units, each with its bad ones."""
    own, own_bad, rest, rest_bad = look
    first = found.guard.more.at_s
    for place in range(1, times + 1):
        stable = Counts(finished=own + rest, failed=own_bad + rest_bad)
        found = users.seen(found, first + place, stable, SliceCounts(own, own_bad))
    return found


@pytest.mark.parametrize(("slice_bad", "rest_bad"), [(20, 10), (10, 20)])
def test_it_trips_both_ways_and_stays_so_whatever_comes(slice_bad: int, rest_bad: int) -> None:
    """Also once the evidence itself is gone, which would let a candidate that failed meanwhile go on."""
    found = begun()
    while not found.unlike:
        found = shown(found, 1, (100, slice_bad, 100, rest_bad))
    found = shown(found, 400, (100, 15, 100, 15))
    guard = found.guard
    assert max(guard.more.log_fail, guard.less.log_fail) < 2 and found.unlike


def test_it_has_no_margin_as_it_is_about_no_harm() -> None:
    """Of a candidate 36.2 % against 30 % are tolerated, of a slice none."""
    assert shown(begun(), 300, (100, 34, 100, 30)).unlike


def test_it_is_divided_by_what_is_known_of_the_stables_past() -> None:
    past = dispersion.Dispersion()
    for block in range(60):
        bad = 20.0 * (block % 2)
        past = dispersion.seen(past, 10.0 * block - 600.0, (), (bad, 190.0 - bad))
    check = arms.begin(Rule(rate=0.05), 0.0, past)
    guard = users.begin(check, 0.0).guard
    assert guard.more.divisor(True) == guard.less.divisor(True) == check.divisor(True) > 5


class Sliced(World):
    """A sticky rollout; in the slice of the stable revision's users a share `slice_errors` fails, in the rest nothing."""

    def __init__(self, slice_errors: float, **options: object) -> None:
        given = {"candidate": Model(errors=0.0), "past_s": 120, "sticky": STICKY, **options}
        super().__init__(**given)  # type: ignore[arg-type]
        self.slice_errors = slice_errors

    def second(self, *, split: float | None = None) -> tuple[Second, Second]:
        ours, theirs = super().second(split=split)
        own = theirs.counts.finished // 2
        bad = int(self.draw.binomial(own, self.slice_errors))
        counts = msgspec.structs.replace(theirs.counts, failed=bad, invalid=0)
        told = msgspec.structs.replace(theirs, counts=counts, units=counts, slice=SliceCounts(own, bad))
        return ours, told

    def until_unlike(self) -> None:
        for _ in range(100):
            if self.guard.unlike:
                return
            assert self.run(1).cause is None
            self.resumed()
        raise AssertionError("the guard has not noticed")

    @property
    def guard(self) -> Users:
        assert self.evidence.users is not None
        return self.evidence.users


def test_while_users_are_unlike_all_checks_are_errored_and_no_test_fails_one() -> None:
    world = Sliced(0.0)
    assert world.run(70).verdict is Verdict.PASSED
    world.slice_errors = 0.2
    world.until_unlike()
    world.candidate = Model(errors=0.9)
    found = world.run(20)
    assert (found.verdict, found.cause, found.paused_by, found.seen) == (Verdict.ERRORED, None, None, False)
    assert {one.verdict for one in found.checks} == {Verdict.ERRORED}
    assert found.guard is not None and found.guard.startswith("users are not alike: a slice of the stable")
    assert "(false-alarm risk 5 % per rollout)" in found.guard
    assert "not judged: users are not alike" in check(found, "errors").words
    assert sum(one.weight for one in found.checks) == pytest.approx(1.0), "the guard takes no share of alpha"


def test_harm_that_was_certain_before_stays() -> None:
    world = Sliced(0.0, candidate=Model(errors=0.9))
    assert world.run(3).cause == "errors"
    world.slice_errors = 0.5
    found = world.run(100)
    assert world.guard.unlike
    assert (found.verdict, found.cause, found.guard) == (Verdict.FAILED, "errors", None)


def test_labels_and_pairs_conclude_nothing_either() -> None:
    checks = ("errors", "agreement", "quality")
    world = Sliced(0.3, checks=checks, shadow="10%")
    world.until_unlike()
    found = world.run(60, pairs=PairCounts(same=50))
    assert {one.verdict for one in found.checks} == {Verdict.ERRORED}
    assert world.run(60, pairs=PairCounts(differ=50)).cause is None


def test_it_is_never_reset_and_a_restart_keeps_it() -> None:
    world = Sliced(0.3, steps=["50%", "75%", "100%"])
    world.until_unlike()
    world.evidence = judging.at_step(world.evidence, 1, 0.75, world.now_s)
    world.state = msgspec.structs.replace(world.state, step=1, percent=75.0, since_s=float(world.now_s))
    world.slice_errors = 0.0
    world.resumed()
    assert world.run(60, split=0.75).verdict is Verdict.ERRORED


def test_a_change_of_the_share_drops_the_look_that_waits() -> None:
    """The slice changes with the share: its users before and after are others."""
    world = Sliced(0.0, steps=["50%", "75%", "100%"])
    rest = msgspec.structs.replace(world.second()[1], slice=None)
    world.evidence = judging.seen(world.evidence, world.spec, world.now_s, None, rest)
    assert world.guard.waiting is not None
    world.evidence = judging.at_step(world.evidence, 1, 0.75, world.now_s + 1)
    assert world.guard.waiting is None


def test_only_a_sticky_rollout_that_checks_errors_has_the_guard() -> None:
    assert World(past_s=0).evidence.users is None
    assert World(("latency",), past_s=0, sticky=STICKY).evidence.users is None
    assert World(past_s=0, sticky=STICKY).evidence.users is not None


def test_evidence_that_an_older_version_left_goes_on_without_the_guard() -> None:
    world = World(past_s=0)
    left = msgspec.json.decode(msgspec.json.encode(world.evidence))
    del left["users"]
    assert msgspec.convert(left, Evidence) == world.evidence

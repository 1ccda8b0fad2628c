"""What a worker routes by while it loads the revisions that have a process of their own."""

from __future__ import annotations

import msgspec
import pytest

from seaway.core.bundles import Digest
from seaway.core.records import RecordRules
from seaway.core.traffic import FlagRule, Route, RoutedRevision, RoutingTable, until_loaded, without
from seaway.core.user_keys import UserKey

DIGEST = Digest("sha256:" + "0" * 64)
FLAGS = (FlagRule(2, ("beta",), UserKey(header="x-tier")), FlagRule(1, ("old",), UserKey(header="x-tier")))


def route(*shares: float, fallback: int | None = 1, flags: tuple[FlagRule, ...] = ()) -> Route:
    revisions = tuple(RoutedRevision(n, DIGEST, "/b", f"m:v{n}", share) for n, share in enumerate(shares, 1))
    return Route("e", revisions, record=RecordRules(judged=True), flags=flags, fallback=fallback)


def shares(found: Route) -> dict[int, float]:
    return {r.number: r.percent for r in found.revisions}


@pytest.mark.parametrize("fallback", [1, None])
def test_the_stable_revision_has_the_share_of_a_candidate_that_is_not_there_yet(fallback: int | None) -> None:
    found = until_loaded(route(75, 25, fallback=fallback, flags=FLAGS), {2})
    assert shares(found) == {1: 100.0, 2: 0.0}
    assert found.flags == FLAGS[1:]
    assert not found.record.judged, "a worker without a candidate has no arms to compare"


def test_in_the_bake_the_one_that_is_still_warm_answers() -> None:
    assert shares(until_loaded(route(0, 100), {2})) == {1: 100.0, 2: 0.0}


@pytest.mark.parametrize(
    ("given", "loading"),
    [
        (route(75, 25), set()),
        (route(75, 25), {1}),  # never to the candidate
        (route(75, 25), {1, 2}),
        (route(75, 25, fallback=None), {1}),
        (route(0, 100, fallback=None), {2}),  # nobody else
        (route(100, 0), {2}),  # it has no share
        (route(100, fallback=None), {1}),
    ],
)
def test_else_the_route_stays_as_it_is(given: Route, loading: set[int]) -> None:
    assert until_loaded(given, loading) == given


def test_nothing_is_judged_while_what_has_a_share_is_absent_and_nobody_answers_for_it() -> None:
    other = msgspec.structs.replace(route(100, fallback=None), endpoint="f")
    digests = [Digest(f"sha256:{n:064x}") for n in range(3)]
    mine = msgspec.structs.replace(
        route(75, 25),
        revisions=tuple(
            msgspec.structs.replace(r, digest=digests[r.number]) for r in route(75, 25).revisions
        ),
    )
    table = RoutingTable(3, (mine, other))
    assert without(table, set()) == table
    (stable_gone, beside) = without(table, {digests[1]}).routes
    assert shares(stable_gone) == {1: 75.0, 2: 25.0} and not stable_gone.record.judged
    assert beside == other
    (both_gone, _) = without(table, {digests[1], digests[2]}).routes
    assert shares(both_gone) == {1: 75.0, 2: 25.0} and not both_gone.record.judged
    (candidate_gone, _) = without(table, {digests[2]}).routes
    assert candidate_gone == until_loaded(mine, {2})
    whole = msgspec.structs.replace(mine, revisions=(mine.revisions[0],))
    assert without(RoutingTable(3, (whole,)), {digests[2]}).routes == (whole,)

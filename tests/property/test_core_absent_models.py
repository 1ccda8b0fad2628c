"""Whatever is absent from a worker, no request is lost by that, and no candidate gets what was not its own."""

from __future__ import annotations

import math

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from seaway.core.bundles import Digest
from seaway.core.records import RecordRules
from seaway.core.traffic import FlagRule, Route, RoutedRevision, RoutingTable, without
from seaway.core.user_keys import UserKey

DIGESTS = [Digest(f"sha256:{n:064x}") for n in range(3)]
FLAG = UserKey(header="x-tier")


@st.composite
def routes(draw: st.DrawFn) -> Route:
    """Of a rollout of 2 against 1; both may have one digest."""
    share = draw(st.sampled_from([0.0, 0.1, 5.0, 33.3, 50.0, 100.0]))
    digests = draw(st.lists(st.sampled_from(DIGESTS), min_size=2, max_size=2))
    revisions = tuple(
        RoutedRevision(n, digest, "/b", f"m:v{n}", percent)
        for n, digest, percent in zip((1, 2), digests, (100.0 - share, share), strict=True)
    )
    flagged = draw(st.sets(st.sampled_from([1, 2])))
    return Route(
        "e",
        revisions,
        record=RecordRules(judged=draw(st.booleans())),
        flags=tuple(FlagRule(number, ("a",), FLAG) for number in sorted(flagged)),
        fallback=draw(st.sampled_from([None, 1])),
    )


@given(routes(), st.sets(st.sampled_from(DIGESTS)))
def test_shares_go_to_the_stable_revision_alone_and_none_is_lost(
    given_route: Route, absent: set[Digest]
) -> None:
    (found,) = without(RoutingTable(1, (given_route,)), absent).routes
    before, after = ({r.number: r.percent for r in one.revisions} for one in (given_route, found))
    assert after.keys() == before.keys()
    assert math.isclose(sum(after.values()), 100.0)
    assert after[2] <= before[2] and after[1] >= before[1]
    assert set(found.flags) <= set(given_route.flags)
    if any(r.digest in absent and r.percent > 0 for r in given_route.revisions):
        assert not found.record.judged
    assert found.record.judged <= given_route.record.judged


@given(routes(), st.sets(st.sampled_from(DIGESTS)))
def test_an_absent_candidate_gets_nothing_where_the_stable_revision_is_there(
    given_route: Route, more: set[Digest]
) -> None:
    stable, candidate = (msgspec.structs.replace(r, digest=DIGESTS[r.number]) for r in given_route.revisions)
    heir = 1 if stable.percent == 0 else given_route.fallback  # in the bake the warm one must be named
    apart = msgspec.structs.replace(given_route, revisions=(stable, candidate), fallback=heir)
    absent = (more | {candidate.digest}) - {stable.digest}
    (found,) = without(RoutingTable(1, (apart,)), absent).routes
    assert [r.percent for r in found.revisions] == [100.0, 0.0]
    assert all(rule.number == 1 for rule in found.flags)

"""A split sends each key to one revision, near its share, and moves few keys when shares change."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from seaway.core import traffic
from seaway.core.bundles import Digest
from seaway.core.traffic import Route, RoutedRevision

DIGEST = Digest("sha256:" + "0" * 64)


def route(*shares: float) -> Route:
    return Route("e", tuple(RoutedRevision(n, DIGEST, "/b", f"m:v{n}", s) for n, s in enumerate(shares, 1)))


@given(st.integers(0, 100), st.text(max_size=20))
def test_a_key_keeps_its_revision_and_order_of_listing_does_not_matter(share: int, key: str) -> None:
    given_route = route(float(share), 100.0 - share)
    backwards = Route("e", given_route.revisions[::-1])
    found = traffic.choose(given_route, key)
    assert found.percent > 0
    assert traffic.choose(backwards, key) == found


@given(st.integers(0, 99), st.integers(1, 100), st.text(max_size=20))
def test_a_growing_candidate_only_gains_keys(before: int, more: int, key: str) -> None:
    after = min(100, before + more)
    old = traffic.choose(route(100.0 - before, float(before)), key).number
    new = traffic.choose(route(100.0 - after, float(after)), key).number
    assert (old, new) in {(1, 1), (1, 2), (2, 2)}


def test_shares_are_kept_over_many_keys() -> None:
    picks = [traffic.choose(route(1.0, 25.0, 74.0), f"k{n}").number for n in range(20_000)]
    for number, share in ((1, 0.01), (2, 0.25), (3, 0.74)):
        assert abs(picks.count(number) / len(picks) - share) < 0.01

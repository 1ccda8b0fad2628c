"""A split sends each key to one revision, near its share, and moves few keys when shares change."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from seaway.core.bundles import Digest
from seaway.core.traffic import Route, RoutedRevision, Split

DIGEST = Digest("sha256:" + "0" * 64)
KEYS = st.binary(max_size=20)
SALTS = st.text(max_size=80)


def route(*shares: float, salt: str = "") -> Route:
    revisions = tuple(RoutedRevision(n, DIGEST, "/b", f"m:v{n}", s) for n, s in enumerate(shares, 1))
    return Route("e", revisions, salt=salt)


@given(st.integers(0, 100), KEYS, SALTS)
def test_a_key_keeps_its_revision_and_order_of_listing_does_not_matter(
    share: int, key: bytes, salt: str
) -> None:
    given_route = route(float(share), 100.0 - share, salt=salt)
    backwards = Route("e", given_route.revisions[::-1], salt=salt)
    found = Split(given_route).choose(key)
    assert found.percent > 0
    assert Split(backwards).choose(key) == found


@given(st.lists(st.floats(0, 100), min_size=2, max_size=20), KEYS, SALTS)
def test_a_growing_candidate_only_gains_keys(steps: list[float], key: bytes, salt: str) -> None:
    """Whoever was on the candidate, which has the highest number, stays there while its share grows."""
    numbers = [Split(route(100.0 - share, share, salt=salt)).choose(key).number for share in sorted(steps)]
    assert numbers == sorted(numbers)


@given(st.floats(1, 50), st.floats(1, 49))
def test_the_shares_of_others_between_do_not_move_who_is_on_the_candidate(share: float, other: float) -> None:
    keys = [b"k%d" % n for n in range(50)]
    two = [Split(route(100.0 - share, share, salt="s")).choose(key).number == 2 for key in keys]
    three = route(100.0 - share - other, other, share, salt="s")
    assert [Split(three).choose(key).number == 3 for key in keys] == two


def test_shares_are_kept_over_many_keys() -> None:
    picks = [Split(route(1.0, 25.0, 74.0)).choose(b"k%d" % n).number for n in range(20_000)]
    for number, share in ((1, 0.01), (2, 0.25), (3, 0.74)):
        assert abs(picks.count(number) / len(picks) - share) < 0.01


def test_each_rollout_has_a_split_of_its_own() -> None:
    """Else the same users would be the first to meet every candidate, and one rollout's arms would show in the next."""
    first, second = (
        [Split(route(80.0, 20.0, salt=salt)).choose(b"k%d" % n).number == 2 for n in range(20_000)]
        for salt in ("prices/7", "prices/8")
    )
    both = sum(a and b for a, b in zip(first, second, strict=True)) / 20_000
    assert abs(both - 0.04) < 6 * math.sqrt(0.04 * 0.96 / 20_000)  # as of independent draws

"""A split sends each key to one revision, near its share, and moves few keys when shares change."""

from __future__ import annotations

import math

from hypothesis import example, given
from hypothesis import strategies as st

from seaway.core.bundles import Digest
from seaway.core.records import Chosen
from seaway.core.traffic import Place, Route, RoutedRevision, Split
from seaway.core.user_keys import UserKey

DIGEST = Digest("sha256:" + "0" * 64)
KEYS = st.binary(max_size=20)
SALTS = st.text(max_size=80)


def route(*shares: float, salt: str = "", sticky: bool = False) -> Route:
    revisions = tuple(RoutedRevision(n, DIGEST, "/b", f"m:v{n}", s) for n, s in enumerate(shares, 1))
    return Route("e", revisions, salt=salt, sticky=UserKey(header="x-user-id") if sticky else None)


def sticky(share: float, key: bytes, salt: str = "e/2") -> Place:
    """Where a candidate has this share, and users are told apart."""
    return Split(route(100.0 - share, share, salt=salt, sticky=True)).choose(key)


@given(st.integers(0, 100), KEYS, SALTS)
def test_a_key_keeps_its_revision_and_order_of_listing_does_not_matter(
    share: int, key: bytes, salt: str
) -> None:
    given_route = route(float(share), 100.0 - share, salt=salt)
    backwards = Route("e", given_route.revisions[::-1], salt=salt)
    found = Split(given_route).choose(key)
    assert found.revision.percent > 0
    assert Split(backwards).choose(key) == found


@given(st.lists(st.floats(0, 100), min_size=2, max_size=20), KEYS, SALTS)
def test_a_growing_candidate_only_gains_keys(steps: list[float], key: bytes, salt: str) -> None:
    """Whoever was on the candidate, which has the highest number, stays there while its share grows."""
    numbers = [
        Split(route(100.0 - share, share, salt=salt)).choose(key).revision.number for share in sorted(steps)
    ]
    assert numbers == sorted(numbers)


@given(st.floats(1, 50), st.floats(1, 49))
def test_the_shares_of_others_between_do_not_move_who_is_on_the_candidate(share: float, other: float) -> None:
    keys = [b"k%d" % n for n in range(50)]
    two = [Split(route(100.0 - share, share, salt="s")).choose(key).revision.number == 2 for key in keys]
    three = route(100.0 - share - other, other, share, salt="s")
    assert [Split(three).choose(key).revision.number == 3 for key in keys] == two


def test_shares_are_kept_over_many_keys() -> None:
    picks = [Split(route(1.0, 25.0, 74.0)).choose(b"k%d" % n).revision.number for n in range(20_000)]
    for number, share in ((1, 0.01), (2, 0.25), (3, 0.74)):
        assert abs(picks.count(number) / len(picks) - share) < 0.01


def test_each_rollout_has_a_split_of_its_own() -> None:
    """Else the same users would be the first to meet every candidate, and one rollout's arms would show in the next."""
    first, second = (
        [Split(route(80.0, 20.0, salt=salt)).choose(b"k%d" % n).revision.number == 2 for n in range(20_000)]
        for salt in ("prices/7", "prices/8")
    )
    both = sum(a and b for a, b in zip(first, second, strict=True)) / 20_000
    assert abs(both - 0.04) < 6 * math.sqrt(0.04 * 0.96 / 20_000)  # as of independent draws


@given(st.floats(0, 100), KEYS, SALTS)
def test_the_slice_moves_nobody_and_is_of_the_stable_revision_alone(
    share: float, key: bytes, salt: str
) -> None:
    found = sticky(share, key, salt)
    assert found == sticky(share, key, salt)
    assert found.revision == Split(route(100.0 - share, share, salt=salt)).choose(key).revision
    if found.chosen is Chosen.SLICE:
        assert found.revision.number == 1
    else:
        assert found.chosen is Chosen.SPLIT


@given(st.lists(st.floats(0, 100 / 3), min_size=2, max_size=20), KEYS)
@example([0.0, 5.0, 100 / 3], b"a")
def test_a_growing_slice_only_gains_users_up_to_a_third(shares: list[float], key: bytes) -> None:
    inside = [sticky(share, key).chosen is Chosen.SLICE for share in sorted(shares)]
    assert inside == sorted(inside)


@given(st.lists(st.floats(100 / 3, 100), min_size=2, max_size=20), KEYS)
def test_beyond_a_third_it_only_loses_users(shares: list[float], key: bytes) -> None:
    inside = [sticky(share, key).chosen is Chosen.SLICE for share in sorted(shares)]
    assert inside == sorted(inside, reverse=True)


def test_the_slice_is_as_wide_as_the_candidate_but_at_most_half_of_the_stable() -> None:
    for share, width in ((0.0, 0.0), (5.0, 5.0), (25.0, 25.0), (50.0, 25.0), (90.0, 5.0), (100.0, 0.0)):
        found = [sticky(share, b"k%d" % n).chosen for n in range(20_000)]
        assert abs(found.count(Chosen.SLICE) / len(found) - width / 100) < 0.012


def test_without_sticky_arms_or_with_more_than_two_there_is_no_slice() -> None:
    for one in (route(50.0, 50.0), route(40.0, 30.0, 30.0, sticky=True), route(100.0, sticky=True)):
        split = Split(one)
        assert {split.choose(b"k%d" % n).chosen for n in range(2_000)} == {Chosen.SPLIT}

"""Profiles merge exactly, in any order and any grouping, and equal ones have equal bytes."""

from __future__ import annotations

import msgspec
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from seaway.core.profiles import (
    MAX_CATEGORIES,
    ReferenceProfile,
    encode_profile,
    merge,
    profile,
    summarise_categories,
    summarise_numbers,
)

VALUES = st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=12)
WORDS = st.lists(st.one_of(st.none(), st.sampled_from("abcdef")), max_size=12)


def build(values: list[float], words: list[str | None]) -> ReferenceProfile:
    size = min(len(values), len(words))
    column = np.empty(size, dtype=object)
    column[:] = words[:size]
    numbers = np.array(values[:size], dtype=np.float64)
    return profile({"n": numbers, "w": column}, {"score": -numbers, "label": np.arange(size)}, ["label"])


PROFILES = st.builds(build, VALUES, WORDS)


@given(PROFILES, PROFILES, PROFILES)
def test_merge_is_associative_and_commutative(
    a: ReferenceProfile, b: ReferenceProfile, c: ReferenceProfile
) -> None:
    assert encode_profile(merge(merge(a, b), c)) == encode_profile(merge(a, merge(b, c)))
    assert encode_profile(merge(a, b)) == encode_profile(merge(b, a))


@given(VALUES, st.integers(0, 12))
def test_parts_merge_to_the_whole(values: list[float], cut: int) -> None:
    words: list[str | None] = ["a"] * len(values)
    whole, left, right = (build(v, words) for v in (values, values[:cut], values[cut:]))
    merged = merge(left, right)
    assert merged.numeric == whole.numeric
    assert merged.rows == whole.rows


@given(PROFILES)
def test_bytes_round_trip(value: ReferenceProfile) -> None:
    assert msgspec.json.decode(encode_profile(value), type=ReferenceProfile) == value


@given(st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=20))
def test_every_value_is_counted_once_in_a_bin_that_holds_it(values: list[float]) -> None:
    found = summarise_numbers(np.array(values))
    assert found.zero + sum(n for _, n in (*found.positive, *found.negative)) == found.count == len(values)
    assert (found.low, found.high) == (min(values), max(values))
    for index, _ in found.positive:
        low, high = 2.0 ** (index / 8) * (1 - 1e-12), 2.0 ** ((index + 1) / 8) * (1 + 1e-12)
        assert any(low <= value < high for value in values)


def test_many_categories_overflow_in_every_order() -> None:
    names = [f"c{i}" for i in range(MAX_CATEGORIES + 1)]
    whole = summarise_categories(names)
    assert (whole.overflowed, whole.other, whole.categories) == (True, len(names), ())

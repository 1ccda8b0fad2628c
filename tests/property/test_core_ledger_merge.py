"""Counts and pages add up to the same bytes in any order and grouping; quantiles stay within their bound."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seaway.core import ledger
from seaway.core.ledger import Counts, Page, Second, SliceCounts

NUMBERS = st.integers(0, 10**9)
COUNTS = st.builds(
    Counts,
    **dict.fromkeys(ledger.NUMBERS, NUMBERS),
    latency=st.dictionaries(st.integers(0, 640), st.integers(1, 10**6), max_size=5).map(ledger.sparse),
    answers=st.dictionaries(st.text(max_size=3), st.integers(1, 10**6), max_size=4).map(
        lambda found: tuple(sorted(found.items()))
    ),
)
SLICES = st.builds(SliceCounts, NUMBERS, NUMBERS)
SECONDS = st.builds(Second, st.integers(0, 5), COUNTS, st.none() | COUNTS, slice=st.none() | SLICES)
PAGES = st.lists(
    st.builds(
        Page,
        st.sampled_from(["a", "b"]),
        st.integers(1, 2),
        st.just("sha256:1"),
        st.lists(SECONDS, max_size=4).map(tuple),
    ),
    max_size=5,
)


def sliced(found: Iterable[Page], part: str) -> int:
    slices = [second.slice for page in found for second in page.seconds if second.slice is not None]
    return sum(getattr(one, part) for one in slices)


@given(st.lists(COUNTS, max_size=6), st.randoms())
def test_counts_merge_to_the_same_bytes_in_any_order_and_grouping(
    found: list[Counts], random_: random.Random
) -> None:
    shuffled = found[:]
    random_.shuffle(shuffled)
    cut = random_.randint(0, len(found))
    whole = ledger.merge_counts(found)
    parts = [ledger.merge_counts(shuffled[:cut]), ledger.merge_counts(shuffled[cut:])]
    assert msgspec.json.encode(ledger.merge_counts(parts)) == msgspec.json.encode(whole)
    for name in ledger.NUMBERS:
        assert getattr(whole, name) == sum(getattr(one, name) for one in found)


@given(PAGES, st.randoms())
def test_pages_merge_to_the_same_bytes_in_any_order_and_grouping(
    found: list[Page], random_: random.Random
) -> None:
    shuffled = found[:]
    random_.shuffle(shuffled)
    cut = random_.randint(0, len(found))
    parts = (*ledger.merge_pages(shuffled[:cut]), *ledger.merge_pages(shuffled[cut:]))
    whole = ledger.merge_pages(found)
    assert msgspec.json.encode(ledger.merge_pages(parts)) == msgspec.json.encode(whole)
    for page in whole:
        at = [second.at_s for second in page.seconds]
        assert at == sorted(set(at))
    for part in ("finished", "bad"):
        assert sliced(whole, part) == sliced(found, part)


@given(st.lists(st.floats(1e-6, 3600), min_size=1, max_size=200), st.floats(0.01, 1.0))
def test_quantiles_are_within_their_bound(times: list[float], q: float) -> None:
    counted = ledger.sparse(ledger.count_latency(np.array(times)))
    exact = sorted(times)[max(1, math.ceil(q * len(times))) - 1]
    found = ledger.latency_quantile_s(counted, q)
    assert found == pytest.approx(exact, rel=0.0221)


@given(st.lists(st.floats(0, 3600), min_size=1, max_size=50))
def test_one_by_one_and_at_once_fall_into_the_same_bins(times: list[float]) -> None:
    single: dict[int, int] = {}
    for took_s in times:
        index = ledger.latency_bin(took_s)
        single[index] = single.get(index, 0) + 1
    assert ledger.count_latency(np.array(times)) == dict(sorted(single.items()))


@given(st.lists(st.floats(1e-5, 100), min_size=1, max_size=100), st.floats(1e-5, 100))
def test_slower_than_a_threshold_is_exact_at_the_edge_that_it_names(
    times: list[float], threshold_s: float
) -> None:
    first = ledger.threshold_bin(threshold_s)
    edge_s = ledger.edge_s(first)
    assert threshold_s * 0.999999 <= edge_s <= threshold_s * 1.0443
    clear = [t for t in times if abs(t / edge_s - 1) > 1e-9]  # on the edge itself rounding decides
    counted = ledger.sparse(ledger.count_latency(np.array(clear))) if clear else ()
    assert ledger.slower(counted, first) == sum(t > edge_s for t in clear)


def test_no_times_have_no_quantile() -> None:
    assert ledger.latency_quantile_s((), 0.5) is None

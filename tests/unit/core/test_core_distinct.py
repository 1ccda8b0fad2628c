"""Distinct counts: their error, their merging, their hashes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from seaway.core import distinct
from seaway.core.distinct import STANDARD_ERROR, LiveDistinct
from seaway.core.live_numbers import LiveNumbers


def registers(hashes: np.ndarray) -> bytes:
    live = LiveDistinct(1)
    live.add(hashes.reshape(1, -1))
    return live.registers(0)


@pytest.mark.parametrize("size", [1, 20, 500, 2_500, 10_000, 1_000_000])
def test_the_error_is_the_stated_one(size: int) -> None:
    errors = []
    for turn in range(20 if size <= 10_000 else 5):
        words = (np.arange(size) + turn * 7_000_003).astype(np.uint32)
        errors.append(distinct.estimate(registers(distinct.hash_words(words))) / size - 1)
    assert max(map(abs, errors)) < 3.5 * STANDARD_ERROR
    assert math.sqrt(sum(error**2 for error in errors) / len(errors)) < 1.7 * STANDARD_ERROR


def test_values_that_come_again_count_once() -> None:
    words = distinct.hash_words(np.arange(5000, dtype=np.uint32))
    live = LiveDistinct(1)
    for _ in range(3):
        live.add(words.reshape(1, -1))
    assert live.registers(0) == registers(words)


def test_merging_is_the_union() -> None:
    left, right = (
        distinct.hash_words(np.arange(*ends, dtype=np.uint32)) for ends in ((0, 6000), (4000, 9000))
    )
    both = registers(np.concatenate([left, right]))
    assert distinct.merge(registers(left), registers(right)) == both
    assert distinct.merge(registers(right), registers(left)) == both
    assert distinct.merge(both, b"") == both == distinct.merge(b"", both)


def test_nothing_is_nothing() -> None:
    assert distinct.estimate(b"") == distinct.estimate(distinct.EMPTY) == 0.0


def test_long_integers_that_float64_cannot_tell_apart_are_told_apart() -> None:
    live = LiveNumbers(1)
    live.add((2**62 + np.arange(2000, dtype=np.int64)).reshape(-1, 1))
    assert distinct.estimate(live.registers(0)) == pytest.approx(2000, rel=3.5 * STANDARD_ERROR)


def test_missing_values_are_no_distinct_ones() -> None:
    values = np.arange(1000, dtype=np.float32).reshape(-1, 2)
    with_missing = values.copy()
    with_missing[::2, 0] = np.nan
    plain, odd = LiveNumbers(2), LiveNumbers(2)
    plain.add(values)
    odd.add(with_missing)
    half = LiveNumbers(1)
    half.add(values[1::2, :1])
    assert odd.registers(1) == plain.registers(1)
    assert odd.registers(0) == half.registers(0)


def test_texts_by_their_characters() -> None:
    texts = [f"user-{place:07d}" for place in range(20_000)]
    found = distinct.estimate(registers(distinct.hash_texts(texts)))
    assert found == pytest.approx(20_000, rel=3.5 * STANDARD_ERROR)

"""Live summaries: the counts of a block are those of `summarise_numbers`, and merging gives the same bytes in any order."""

from __future__ import annotations

import math
import random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from seaway.core import summaries
from seaway.core.answers import answer_spec
from seaway.core.live_numbers import LiveNumbers
from seaway.core.live_summaries import LiveSummary
from seaway.core.profiles import EDGES, quantile, summarise_numbers
from seaway.core.summaries import Summary
from seaway.core.tensors import Array, DType, Meaning, Signature, TensorSpec

NUMBERS = [dtype for dtype in DType if dtype is not DType.BYTES]
BLOCKS = st.sampled_from(NUMBERS).flatmap(
    lambda dtype: arrays.arrays(
        dtype.numpy, arrays.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12)
    )
)


def same(live: LiveNumbers, block: Array) -> None:
    for column in range(block.shape[1]):
        assert live.summary(column) == summarise_numbers(block[:, column])


@given(BLOCKS, st.integers(0, 12))
def test_any_numbers_in_any_blocks_are_counted_as_the_profile_counts_them(block: Array, cut: int) -> None:
    live = LiveNumbers(block.shape[1])
    live.add(block[:cut])
    live.add(block[cut:])
    same(live, block)


@given(
    st.sampled_from([np.float32, np.float64]),
    st.lists(
        st.tuples(st.integers(-60, 1023), st.integers(0, 7), st.integers(-3, 3), st.booleans()), min_size=1
    ),
)
def test_numbers_at_the_very_edges_of_bins(
    kind: type[np.floating], places: list[tuple[int, int, int, bool]]
) -> None:
    found = []
    with np.errstate(over="ignore", under="ignore"):
        for octave, inner, steps, negative in places:
            value = kind(np.ldexp(EDGES[inner], octave + 1))
            for _ in range(abs(steps)):
                value = np.nextafter(value, kind(math.copysign(math.inf, steps)))
            found.append(-value if negative else value)
    block = np.array(found, dtype=kind).reshape(-1, 1)
    live = LiveNumbers(1)
    live.add(block)
    same(live, block)


SIGNATURE = Signature(
    inputs=(
        TensorSpec("x", DType.FP32, (-1, 2), columns=("a", "b"), nullable=True),
        TensorSpec("text", DType.BYTES, (-1, 1), nullable=True),
        TensorSpec("vector", DType.FP32, (-1, 70)),
        TensorSpec("extra", DType.INT64, (-1,), optional=True),
    ),
    outputs=(
        TensorSpec("label", DType.INT64, (-1,), Meaning.LABEL),
        TensorSpec("sure", DType.FP64, (-1, 2), Meaning.PROBABILITY),
    ),
)
REQUESTS = st.lists(st.integers(0, 10_000), max_size=12)


def request(seed: int) -> tuple[dict[str, Array], dict[str, Array], int]:
    draw = np.random.default_rng(seed)
    rows = int(draw.integers(1, 4))
    numbers = draw.normal(size=(rows, 2)).astype(np.float32)
    numbers[draw.random((rows, 2)) < 0.2] = np.nan
    texts = np.array([[draw.choice(["", "abc", "жук", "x" * 200])] for _ in range(rows)], dtype=object)
    inputs: dict[str, Array] = {"x": numbers, "text": texts}
    inputs["vector"] = (draw.normal(size=(rows, 70)) * 10.0 ** draw.integers(-3, 6)).astype(np.float32)
    if seed % 3:
        inputs["extra"] = draw.integers(-(2**62), 2**62, size=rows)
    sure = draw.random((rows, 2))
    return inputs, {"label": draw.integers(0, 120, rows), "sure": sure}, rows


def summarise(seeds: list[int]) -> Summary:
    live = LiveSummary(SIGNATURE, answer_spec(SIGNATURE))
    found = [request(seed) for seed in seeds]
    if found:
        live.add([one[0] for one in found], [one[1] for one in found], [one[2] for one in found])
    return live.summary()


@given(st.lists(REQUESTS, min_size=2, max_size=5), st.randoms())
def test_summaries_merge_to_the_same_bytes_in_any_order_and_grouping(
    groups: list[list[int]], chance: random.Random
) -> None:
    whole = summaries.encode(summarise([seed for group in groups for seed in group]))
    parts = [summarise(group) for group in groups]
    chance.shuffle(parts)
    assert summaries.encode(summaries.merge(parts)) == whole
    cut = chance.randint(0, len(parts))
    grouped = summaries.merge([summaries.merge(parts[:cut]), summaries.merge(parts[cut:])])
    assert summaries.encode(grouped) == whole


@given(
    st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=60),
    st.floats(0, 1, exclude_min=True),
)
def test_quantiles_are_within_the_stated_bound(values: list[float], q: float) -> None:
    found = quantile(summarise_numbers(np.array(values)), q)
    exact = sorted(values)[max(1, math.ceil(q * len(values))) - 1]
    assert found is not None
    assert abs(found - exact) <= abs(exact) * (2 ** (1 / 16) - 1 + 1e-12) + 2.0**-40

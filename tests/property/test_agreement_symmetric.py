"""Agreement: symmetric, reflexive (NaN too), never narrowed by a larger tolerance; and tau stays between -1 and 1."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from seaway.core import agreement
from seaway.core.agreement import By, Rule
from seaway.core.answers import AnswerKind, AnswerSpec

_SPEC = AnswerSpec(AnswerKind.NUMBER, "y")
_NUMBERS = st.floats(width=32) | st.sampled_from([0.0, 1.0, 1.001, 1.01, 1.1, float("nan"), float("inf")])
_BY: st.SearchStrategy[By | None] = st.sampled_from([None, "exact", "tolerance", "rank"])


@st.composite
def pair(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    rows = draw(st.integers(1, 6))
    kind = arrays.arrays(np.float32, rows, elements=_NUMBERS.map(np.float32))
    return draw(kind), draw(kind)


@given(pair(), _BY, st.sampled_from([0.001, 0.01, 0.2]))
def test_who_is_asked_first_does_not_matter(
    both: tuple[np.ndarray, np.ndarray], by: By | None, tolerance: float
) -> None:
    one, other = ({"y": values} for values in both)
    rule = Rule(by, tolerance)
    assert agreement.agree((_SPEC, one), (_SPEC, other), rule) == agreement.agree(
        (_SPEC, other), (_SPEC, one), rule
    )
    assert agreement.agree((_SPEC, one), (_SPEC, one), rule)


@given(pair())
def test_a_larger_tolerance_never_makes_two_answers_differ(both: tuple[np.ndarray, np.ndarray]) -> None:
    found = [agreement.close(*both, tolerance) for tolerance in (0.0, 0.001, 0.1, 1.0)]
    for narrow, wide in itertools.pairwise(found):
        assert (wide | ~narrow).all()


@given(pair())
def test_tau_is_bounded_and_symmetric(both: tuple[np.ndarray, np.ndarray]) -> None:
    one, other = (values.astype(np.float64) for values in both)
    tau = agreement.kendall(one, other)
    assert -1.0 - 1e-12 <= tau <= 1.0 + 1e-12
    assert tau == agreement.kendall(other, one)
    assert agreement.kendall(one, one) >= 1.0 - 1e-12


@given(st.binary(min_size=1, max_size=40), st.text(max_size=80), st.integers(1, 1000))
def test_a_draw_is_always_a_row_that_is_there(request_id: bytes, salt: str, rows: int) -> None:
    drawn = agreement.draw(request_id, salt)
    assert 0 <= drawn.point < 100
    assert 0 <= drawn.row(rows) < rows

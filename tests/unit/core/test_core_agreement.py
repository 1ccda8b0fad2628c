"""When two answers agree: classes exactly, numbers by tolerance, orders by Kendall's tau; and which row stands for a request."""

from __future__ import annotations

import math

import numpy as np
import pytest

from seaway.core import agreement
from seaway.core.agreement import Rule
from seaway.core.answers import AnswerKind, AnswerSpec

NUMBER = AnswerSpec(AnswerKind.NUMBER, "y")
CLASS = AnswerSpec(AnswerKind.CLASS, "label", confidence="chances")


def numbers(*values: float) -> dict[str, np.ndarray]:
    return {"y": np.array(values, dtype=np.float32)}


def classes(name: str, *chances: float) -> dict[str, np.ndarray]:
    return {"label": np.array([name], dtype=object), "chances": np.array([chances], dtype=np.float64)}


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (100.0, 100.99, True),
        (100.0, 101.1, False),
        (-100.0, 100.0, False),
        (0.0, 1e-10, True),
        (0.0, 1e-3, False),
        (math.nan, math.nan, True),
        (math.nan, 0.0, False),
        (math.inf, math.inf, True),
        (math.inf, -math.inf, False),
        (math.inf, 3.0e38, False),
    ],
)
def test_numbers_agree_within_a_hundredth_of_the_larger(one: float, other: float, same: bool) -> None:
    assert agreement.agree((NUMBER, numbers(one)), (NUMBER, numbers(other)), Rule()) is same


def test_exact_numbers_have_no_tolerance() -> None:
    rule = Rule("exact")
    assert not agreement.agree((NUMBER, numbers(1.0)), (NUMBER, numbers(1.0000001)), rule)
    assert agreement.agree((NUMBER, numbers(math.nan)), (NUMBER, numbers(math.nan)), rule)


def test_a_class_is_compared_exactly_whatever_its_chances_are() -> None:
    one, other = classes("yes", 0.4, 0.6), classes("yes", 0.1, 0.9)
    assert agreement.agree((CLASS, one), (CLASS, other), Rule())
    assert not agreement.agree((CLASS, one), (CLASS, classes("no", 0.4, 0.6)), Rule())
    assert not agreement.agree((CLASS, one), (CLASS, other), Rule("tolerance", 0.1))
    assert agreement.agree((CLASS, one), (CLASS, classes("yes", 0.38, 0.62)), Rule("tolerance", 0.1))


def test_a_class_and_a_number_never_agree() -> None:
    assert not agreement.agree((CLASS, classes("1", 0.0, 1.0)), (NUMBER, numbers(1.0)), Rule())


def test_without_an_answer_every_output_must_agree() -> None:
    one = {"e": np.array([[1.0, 2.0]]), "n": np.array([3])}
    near = {"e": np.array([[1.001, 2.001]]), "n": np.array([3])}
    assert agreement.agree((None, one), (None, near), Rule())
    assert not agreement.agree((None, one), (None, {"e": near["e"]}), Rule())
    assert not agreement.agree((None, one), (None, {**near, "e": np.array([[1.0, 2.0, 3.0]])}), Rule())


def test_an_order_agrees_while_tau_is_at_least_nine_tenths() -> None:
    order = np.arange(20, dtype=np.float32)
    swapped = order.copy()
    swapped[[3, 4]] = swapped[[4, 3]]  # one of 190 pairs: tau 0.989
    mixed = order.copy()
    mixed[:8] = mixed[:8][::-1]  # 28 of 190 pairs: tau 0.705
    rule = Rule("rank")
    assert agreement.agree((NUMBER, {"y": order}), (NUMBER, {"y": swapped * 100}), rule)
    assert not agreement.agree((NUMBER, {"y": order}), (NUMBER, {"y": mixed}), rule)


def test_one_row_has_no_order_so_its_number_is_compared() -> None:
    rule = Rule("rank")
    assert agreement.agree((NUMBER, numbers(1.0)), (NUMBER, numbers(1.001)), rule)
    assert not agreement.agree((NUMBER, numbers(1.0)), (NUMBER, numbers(2.0)), rule)


def test_tau_is_that_of_kendall_with_ties() -> None:
    one = np.array([1.0, 2.0, 2.0, 3.0, 5.0])
    other = np.array([1.0, 3.0, 2.0, 2.0, 9.0])
    # scipy.stats.kendalltau(one, other, variant="b")
    assert agreement.kendall(one, other) == pytest.approx(0.6666666666666667)
    ties = np.ones(5)
    assert (agreement.kendall(ties, ties), agreement.kendall(ties, one)) == (1.0, 0.0)
    gone = np.array([1.0, math.nan, math.nan])
    assert agreement.kendall(gone, gone) == 1.0


def test_what_is_kept_is_the_row_alone_and_a_copy() -> None:
    outputs = {"y": np.arange(3.0), "whole": np.array(7.0), "table": np.ones((2, 5))}
    kept = agreement.kept(outputs, 3, 1, Rule())
    assert kept["y"].tolist() == [1.0] and kept["whole"] == 7.0 and kept["table"].shape == (2, 5)
    outputs["y"][1] = 9.0
    assert kept["y"].tolist() == [1.0]
    assert len(agreement.kept(outputs, 3, 1, Rule("rank"))["y"]) == 3


def test_draws_are_fair_independent_and_the_same_again() -> None:
    draws = [agreement.draw(b"request-%d" % n) for n in range(20_000)]
    assert draws[7] == agreement.draw(b"request-7") != agreement.draw(b"request-7", "another rollout")
    points, places = (np.array([getattr(one, name) for one in draws]) for name in ("point", "place"))
    assert (points < 10).mean() == pytest.approx(0.1, abs=0.01)
    assert abs(np.corrcoef(points, places)[0, 1]) < 0.03
    rows = np.array([one.row(4) for one in draws])
    assert np.bincount(rows).tolist() == pytest.approx([5000] * 4, abs=300)
    assert draws[0].row(0) == 0

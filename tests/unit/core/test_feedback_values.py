"""What outcomes mean: equal ones have one text, and each is compared in the way that the model answers."""

from __future__ import annotations

import pytest

from seaway.core import feedback
from seaway.core.feedback import Fact, FeedbackAnswer, FeedbackRow


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (1, "1"),
        (1.0, "1"),
        ("1", "1"),
        (-0.0, "0"),
        (True, "true"),
        ("True", "true"),
        ("TRUE", "true"),
        (0.1, "0.1"),
        (1e100, "1e+100"),
        ("Setosa", "Setosa"),
        ("01", "01"),
    ],
)
def test_equal_outcomes_have_one_text(given: feedback.Outcome, text: str) -> None:
    assert feedback.outcome_text(given) == text


@pytest.mark.parametrize(
    ("outcome", "answer", "truth"),
    [
        ("1", "1", "1"),
        ("2.0", "1", "2"),  # the model's classes are whole numbers
        ("2.0", "1.0", "2.0"),  # the model's classes are texts that look like numbers
        ("true", "0", "1"),
        ("false", "1", "0"),
        ("true", "False", "True"),
        ("false", "TRUE", "FALSE"),
        ("true", "true", "true"),
        ("true", "no", "true"),
        ("spam", "ham", "spam"),
        ("2.5", 1.0, 2.5),
        ("true", 0.25, 1.0),
        ("spam", 1.0, None),
        ("nan", 1.0, None),
        ("1", float("nan"), None),
        ("1", float("inf"), None),
    ],
)
def test_an_outcome_is_read_in_the_models_own_way(
    outcome: str, answer: str | float, truth: str | float | None
) -> None:
    assert feedback.truth_for(outcome, answer) == truth


def test_a_row_is_a_fact_for_its_outcome_and_each_kpi() -> None:
    row = FeedbackRow("a", 2, 3.0, {"revenue": 1.5, "clicks": 2}, "x", None, {"plan": "paid", "age": 7})
    slices = '{"age":"7","plan":"paid"}'
    assert list(feedback.facts_of([row])) == [
        Fact("a", 2, "", "3", "x", None, slices),
        Fact("a", 2, "revenue", "1.5", "x", None, slices),
        Fact("a", 2, "clicks", "2", "x", None, slices),
    ]


def test_answers_add_up() -> None:
    total = FeedbackAnswer(1, 2, 3, 4, 5).plus(FeedbackAnswer(10, 20, 30, 40, 50))
    assert total == FeedbackAnswer(11, 22, 33, 44, 55)

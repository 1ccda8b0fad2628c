"""Which checks a model can never pass, by its Signature alone: refused at the deploy, not found out after a day. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from seaway.core.answers import AnswerSpec
from seaway.core.rollouts.spec import CheckName, Rollout

OF_ANSWERS: Final[tuple[CheckName, ...]] = ("predictions", "confidence", "quality", "shadow_quality")
"""Those that read what `core.answers` finds in a model's outputs."""


def impossible(spec: Rollout, answer: AnswerSpec | None) -> Iterator[tuple[CheckName, str]]:
    """The checks of a rollout that have nothing to compare, and why; `answer` is what `answers.answer_spec` finds."""
    for check in spec.all_checks:
        if answer is None and check.check in OF_ANSWERS:
            yield check.check, "no output has one class or number for each row"
        elif answer is not None and answer.confidence is None and check.check == "confidence":
            yield check.check, "no output holds the probabilities of its classes"

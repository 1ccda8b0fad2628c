"""Lengths of time and moments in words."""

from __future__ import annotations

import pytest

from seaway.core import times


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0 s"),
        (0.9, "0 s"),
        (59.9, "59 s"),
        (61, "1 min 1 s"),
        (90, "1 min 30 s"),
        (3600, "1 h"),
        (5400, "1 h 30 min"),
        (3605, "1 h"),
        (90_000, "1 d 1 h"),
        (14 * 86_400, "14 d"),
    ],
)
def test_a_span_is_never_longer_than_it_is(seconds: float, text: str) -> None:
    assert times.span(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "1 s"), (90, "90 s"), (483, "8 min"), (5400, "90 min"), (40 * 3600, "40 h"), (14 * 86_400, "14 d")],
)
def test_an_estimate_has_one_unit(seconds: float, text: str) -> None:
    assert times.about(seconds) == text


def test_a_moment_has_its_date_where_it_is_not_today() -> None:
    noon_s = 1_795_694_400.0  # 2026-11-26 12:00 UTC
    assert times.clock(noon_s + 61, noon_s) == "12:01:01 UTC"
    assert times.clock(noon_s + 86_400, noon_s) == "2026-11-27 12:00 UTC"

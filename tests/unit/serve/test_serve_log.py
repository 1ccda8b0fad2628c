"""The worker's log never becomes a flood (F04)."""

from __future__ import annotations

from seaway.serve.log import Cap


def test_f04_lines_beyond_the_cap_are_dropped_and_counted() -> None:
    cap = Cap(100)
    taken = [cap.admit(10.0 + n / 1_000_000) for n in range(1000)]
    assert taken == [0] * 100 + [None] * 900
    assert cap.admit(11.1) == 900
    assert cap.admit(11.2) == 0

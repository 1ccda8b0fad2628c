"""Lengths of time and moments in words: the one way in which sentences, plans and screens say them."""

from __future__ import annotations

import datetime
import math
from typing import Final

_UNITS: Final = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def span(seconds: float) -> str:
    """A length of time in its two largest units, the rest cut off: `42 s`, `3 min 7 s`, `2 d 4 h`, `1 h`."""
    rest = max(0, math.floor(seconds))
    parts: list[tuple[int, str]] = []
    for size, unit in _UNITS:
        whole, rest = divmod(rest, size)
        if whole or parts:
            parts.append((whole, unit))
    return " ".join(f"{whole} {unit}" for whole, unit in parts[:2] if whole) or "0 s"


def about(seconds: float) -> str:
    """An estimate, rounded in one unit: `8 min`, `3 h`, `14 d`; never less than 1 s."""
    for size, unit in _UNITS:
        if seconds >= 2 * size or size == 1:
            return f"{max(1.0, seconds / size):.0f} {unit}"
    raise AssertionError("unreachable")


def brief(seconds: float) -> str:
    """Three digits that matter: 24 ms, 1.25 s, 340 µs."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"


def clock(at_s: float, now_s: float) -> str:
    """A moment (seconds since 1970) in UTC; with its date where that is not today's."""
    at, now = (datetime.datetime.fromtimestamp(one, datetime.UTC) for one in (at_s, now_s))
    return at.strftime("%H:%M:%S UTC" if at.date() == now.date() else "%Y-%m-%d %H:%M UTC")

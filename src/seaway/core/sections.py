"""What the sections of endpoint.yaml are made of: durations, sizes and percents as people write them."""

from __future__ import annotations

import re
from typing import Annotated, Final

import msgspec

_UNITS_S: Final[dict[str, float]] = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_UNITS_BYTES: Final[dict[str, int]] = {
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
}
_LARGEST: Final = 1e12
_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?)([A-Za-z%]+)\Z")

# The digits are limited, so that every value is a finite number, and now plus every duration is a date.
_FRACTION: Final = r"(\.[0-9]{1,20})?"
_DURATION: Final = rf"^([0-9]{{1,9}}{_FRACTION}(ms|s|m)|[0-9]{{1,5}}{_FRACTION}(h|d))$"
Duration = Annotated[
    str, msgspec.Meta(pattern=_DURATION, description="a duration up to 99999d, such as 50ms, 1s, 10m, 24h")
]
Wait = Annotated[
    str, msgspec.Meta(pattern=rf"^auto$|{_DURATION}", description="auto, or a duration, such as 2ms")
]
Size = Annotated[
    str,
    msgspec.Meta(
        pattern=rf"^([0-9]{{1,12}}{_FRACTION}B|[0-9]{{1,9}}{_FRACTION}[KMG]i?B)$",
        description="a size, such as 16MiB",
    ),
]
Percent = Annotated[
    str,
    msgspec.Meta(pattern=r"^(100(\.0+)?|[0-9]{1,2}(\.[0-9]+)?)%$", description="a percent from 0% to 100%"),
]
HeaderName = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9-]+$", max_length=100)]
FIGURE_NAME: Final = r"^[A-Za-z_][A-Za-z0-9_.:-]{0,63}"
FigureName = Annotated[str, msgspec.Meta(pattern=FIGURE_NAME + "$")]
"""What a business figure or a slice of feedback is called."""
Count = Annotated[int, msgspec.Meta(ge=0, le=10_000)]


def seconds(text: str) -> float:
    """`500ms` → 0.5. Raises `ValueError`."""
    number, unit = _quantity(text)
    return number * _UNITS_S[unit]


def size_bytes(text: str) -> int:
    """`16MiB` → 16777216. Raises `ValueError`."""
    number, unit = _quantity(text)
    return int(number * _UNITS_BYTES[unit])


def percent(text: str) -> float:
    """`0.1%` → 0.1. Raises `ValueError`."""
    number, unit = _quantity(text)
    if unit != "%":
        raise ValueError(f"{text!r} is no percent")
    return number


def _quantity(text: str) -> tuple[float, str]:
    match = _QUANTITY.match(text)
    if match is None or match.group(2) not in {*_UNITS_S, *_UNITS_BYTES, "%"}:
        raise ValueError(f"{text[:80]!r} is no number with a unit")
    number = float(match.group(1))
    if number > _LARGEST:
        raise ValueError(f"{text[:80]!r} is too large")
    return number, match.group(2)


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A part of endpoint.yaml: unknown keys are errors, keys at their default are left out when written."""

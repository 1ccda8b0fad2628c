"""Which language a client prefers, by its header Accept-Language (RFC 9110, section 12.5.4). Used for flags by language."""

from __future__ import annotations

from typing import Final

_MOST_BYTES: Final = 1024
"""Of a header that is read: no browser sends more."""
_MOST_TAGS: Final = 32


def preferred(header: bytes) -> str | None:
    """The language tag of the highest weight, in lower case, the first of several; None where none is named or taken.

    What is not of the header's form is left out; `*` names no language.
    """
    best, best_weight = None, 0.0
    for part in header[:_MOST_BYTES].decode("latin-1").split(",", _MOST_TAGS)[:_MOST_TAGS]:
        tag, *parameters = (piece.strip() for piece in part.split(";"))
        if not tag or tag == "*":
            continue
        weight = _weight(parameters)
        if weight > best_weight:
            best, best_weight = tag.lower(), weight
    return best


def _weight(parameters: list[str]) -> float:
    """Without one it is 1; 0 where it is none."""
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            digits = value.strip()
            # By its grammar, so that neither "nan" nor "1e9" counts as a number.
            if not digits.replace(".", "", 1).isdigit() or not digits.isascii():
                return 0.0
            return min(float(digits), 1.0)
    return 1.0


def names(tag: str, language: str) -> bool:
    """Whether a language (`de`, `de-ch`, in lower case) is the tag or its primary subtag."""
    return language in (tag, tag.partition("-")[0])

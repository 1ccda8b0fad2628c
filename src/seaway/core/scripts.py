"""Which script a text is written in, by Unicode alone: what summaries say of text where no language is detected."""

from __future__ import annotations

import functools
import unicodedata
from typing import Final

NONE: Final = "none"
"""No letter in it."""
_LOOKED_AT: Final = 256
_FORMS: Final = frozenset({"fullwidth", "halfwidth", "mathematical", "modifier", "circled", "squared"})


def script_of(text: str) -> str:
    """The script of most of the letters among the first 256 characters, such as `latin`, `cyrillic`, `cjk`, `arabic`.

    By the first word of the letters' Unicode names; the alphabetically first of equals.
    """
    head = text[:_LOOKED_AT]
    if head.isascii():
        return "latin" if any(map(str.isalpha, head)) else NONE
    counts: dict[str, int] = {}
    for letter in head:
        if letter.isalpha():
            script = _script(letter)
            counts[script] = counts.get(script, 0) + 1
    return min(counts, key=lambda script: (-counts[script], script), default=NONE)


@functools.lru_cache(maxsize=4096)
def _script(letter: str) -> str:
    words = unicodedata.name(letter, "other").lower().replace("-", " ").split()
    return words[1] if words[0] in _FORMS and len(words) > 1 else words[0]

"""The language of a text, by py3langid (the extra `language`); found by wiring, used by the summaries of text columns."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Final, Protocol

UNKNOWN: Final = "unknown"
_LOOKED_AT: Final = 512
_NO_EVIDENCE: Final = -1e30


class Detector(Protocol):
    """Tells the language of a text."""

    def __call__(self, text: str) -> str:
        """ISO 639-1, such as `en`, or UNKNOWN. Not thread-safe."""


def detector() -> Detector | None:
    """A new one, None where py3langid is not installed.

    The library (100 MB in memory, a second and a half) is loaded at the first text, so that models without texts do not
    pay for it.
    """
    return _Langid() if importlib.util.find_spec("py3langid") is not None else None


class _Langid:
    def __init__(self) -> None:
        self._classify = self._load

    def __call__(self, text: str) -> str:
        language, score = self._classify(text[:_LOOKED_AT])
        # a text without any known sequence of letters, such as "ok" or a number, has the lowest score there is
        return UNKNOWN if score < _NO_EVIDENCE else language

    def _load(self, text: str) -> tuple[str, float]:
        self._classify = importlib.import_module("py3langid").classify
        return self._classify(text)

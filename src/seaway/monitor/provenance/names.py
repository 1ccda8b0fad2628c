"""The names that a segment's numbers stand for: in memory while it is written, from its file when it is read.

Each kind counts up from 1 (0 says: none); beyond its limit, and beyond `LONGEST` characters, all names share one number.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from seaway.core.provenance import OVERFLOW, AnsweredBy
from seaway.monitor.provenance import layout as form

LONGEST: Final = 128
TEXT_LIMITS: Final = {"code": 1000, "caller": 10_000, "class": 10_000, "slice": 10_000, "door": 200}
_BY_LIMIT: Final = 10_000
UNKNOWN_BY: Final = AnsweredBy(OVERFLOW, 0, "")


class Numbers(dict[str, int]):
    """One kind's numbers by text; a new text gets the next one, and a line in the names file."""

    def __init__(self, kind: str, lines: list[bytes]) -> None:
        super().__init__()
        self._kind = kind
        self._lines = lines
        self._limit = TEXT_LIMITS[kind]
        self._overflow = form.DOOR_OVERFLOW_NUMBER if kind == "door" else form.OVERFLOW_NUMBER

    def __missing__(self, text: str) -> int:
        if len(self) >= self._limit or len(text) > LONGEST:
            return self._overflow
        number = self[text] = len(self) + 1
        self._lines.append(_line(self._kind, number, text))
        return number


class Names:
    """All kinds of one segment that is being written. `lines` are those that the file does not have yet."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.texts: Final = {kind: Numbers(kind, self.lines) for kind in TEXT_LIMITS}
        self._by: dict[AnsweredBy, int] = {}

    def by(self, by: AnsweredBy) -> int:
        """The number of a revision; a new one gets a line in the names file."""
        number = self._by.get(by)
        if number is None:
            if len(self._by) >= _BY_LIMIT:
                return form.OVERFLOW_NUMBER
            number = self._by[by] = len(self._by) + 1
            self.lines.append(_line("by", number, by))
        return number


def _line(kind: str, number: int, value: object) -> bytes:
    return msgspec.json.encode((kind, number, value)) + b"\n"


class ReadNames:
    """A segment's names by number. What cannot be read, such as a torn last line, is left out."""

    def __init__(self, path: Path) -> None:
        self.texts: Final[dict[str, dict[int, str]]] = {kind: {} for kind in TEXT_LIMITS}
        self.by: Final[dict[int, AnsweredBy]] = {}
        try:
            lines = path.read_bytes().split(b"\n")
        except OSError:
            return
        for line in lines:
            try:
                kind, number, value = _DECODER.decode(line)
                if kind == "by":
                    self.by[number] = msgspec.convert(value, AnsweredBy)
                elif isinstance(value, str):
                    self.texts[kind][number] = value
            except (msgspec.DecodeError, UnicodeDecodeError, KeyError):
                continue

    def text(self, kind: str, number: int) -> str:
        """The name of a number, "" for 0, `OVERFLOW` where it is not known."""
        return self.texts[kind].get(number, OVERFLOW) if number else ""


_DECODER: Final = msgspec.json.Decoder(tuple[str, int, str | dict[str, object]])

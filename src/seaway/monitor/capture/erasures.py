"""The list of erased subjects of one endpoint, which workers, readers and conversions apply until nothing is left to erase.

It names nobody: each entry is a salted hash. `monitor.capture.segments` writes it, `monitor.capture.sink` watches it.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from seaway.monitor.capture import files as capture_files

NAME: Final = "erasures.json"
_SUBJECT_CHARACTERS: Final = 256


class Erasure(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that came of one subject up to `until_s` goes. `done` is set once no segment holds it."""

    salt: str
    key: str
    until_s: float
    done: bool = False

    def means(self, subject: str) -> bool:
        """Whether this is of `subject`, as a record names it."""
        return _key(self.salt, subject) == self.key


def subject_text(raw: bytes) -> str:
    """A subject key as it is kept and compared."""
    return raw.decode("utf-8", "replace").strip()[:_SUBJECT_CHARACTERS]


def pseudonym(secret: bytes, subject: str) -> str:
    """What is kept where the subject's own header is redacted: equal for equal subjects, and of no use without `secret`."""
    return "hidden:" + hashlib.blake2b(subject.encode(), digest_size=16, key=secret).hexdigest()


def erasure(subject: str, until_s: float) -> Erasure:
    """A new entry."""
    salt = secrets.token_hex(16)
    return Erasure(salt, _key(salt, subject), until_s)


def _key(salt: str, subject: str) -> str:
    return hashlib.blake2b(subject.encode(), digest_size=16, salt=bytes.fromhex(salt)).hexdigest()


class Erasures:
    """Entries, as a test of records; remembers what it found of each subject."""

    def __init__(self, entries: Sequence[Erasure]) -> None:
        self.entries = tuple(entries)
        self._until_s: dict[str, float] = {}

    def until_s(self, subject: str) -> float:
        """Up to when this subject's records go; minus infinity where none do."""
        found = self._until_s.get(subject)
        if found is None:
            if len(self._until_s) > 100_000:
                self._until_s.clear()
            times = (entry.until_s for entry in self.entries if entry.means(subject))
            found = self._until_s[subject] = max(times, default=float("-inf"))
        return found

    def covers(self, subject: str | None, at_s: float) -> bool:
        """Whether a record of `subject` that came at `at_s` must go."""
        return subject is not None and bool(self.entries) and at_s <= self.until_s(subject)


def read(directory: Path) -> tuple[Erasure, ...]:
    """The list; empty where there is none. Raises `OSError`, `msgspec.DecodeError`."""
    try:
        data = (directory / NAME).read_bytes()
    except FileNotFoundError:
        return ()
    return msgspec.json.decode(data, type=tuple[Erasure, ...])


def write(directory: Path, entries: Sequence[Erasure]) -> None:
    """Put the list in place, durable; the caller holds the lock. Raises `OSError`."""
    capture_files.replace(directory / NAME, msgspec.json.encode(entries))

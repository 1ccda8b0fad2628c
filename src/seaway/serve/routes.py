"""Which door a path leads to: looked up by the whole path, which clients repeat, else matched against the patterns."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from seaway.core.errors import UserError
from seaway.serve.door import Door


class WrongMethod(UserError):
    """405 for a route that exists; `allow` is what it takes."""

    def __init__(self, method: str, allow: str) -> None:
        super().__init__("method_not_allowed", f"{method[:20]} is not for this route", f"allowed: {allow}")
        self.allow = allow


_KEEP: Final = 4096
_ENDPOINT: Final = "(?P<endpoint>[a-z0-9][a-z0-9-]{0,62})"
_VERSION: Final = "(?P<version>[A-Za-z0-9._-]{1,40})"


class Target(NamedTuple):
    """Where a prediction goes. `version` is the revision that the path names."""

    door: Door
    endpoint: str
    version: int | None


class Routes:
    """The prediction routes of all doors."""

    def __init__(self, doors: Sequence[Door]) -> None:
        self._patterns = [(_compile(path), door) for door in doors for path in door.paths]
        self._known: dict[bytes, Target] = {}

    def find(self, path: bytes) -> Target | None:
        """The target of a path as it came, None where no door has it. Nothing is decoded or normalised: a name has
        no character that would need it, so every other spelling is another route. Raises `UserError("revision_not_found")`.
        """
        target = self._known.get(path)
        if target is None:
            target = self._match(path)
            if target is not None:
                if len(self._known) >= _KEEP:
                    self._known.clear()
                self._known[path] = target
        return target

    def _match(self, path: bytes) -> Target | None:
        for pattern, door in self._patterns:
            found = pattern.fullmatch(path)
            if found is not None:
                parts = found.groupdict()
                return Target(door, parts["endpoint"].decode(), parse_version(parts.get("version")))
        return None


def parse_version(text: bytes | None) -> int | None:
    """The revision that a path names. Raises `UserError("revision_not_found")` where it is no number."""
    if text is None:
        return None
    if not (text.isdigit() and len(text) < 10):
        raise UserError(
            "revision_not_found",
            f"{text[:40].decode('latin-1')!r} is no revision",
            "a revision is a number, such as 3",
        )
    return int(text)


def _compile(path: str) -> re.Pattern[bytes]:
    pattern = re.escape(path).replace(r"\{endpoint\}", _ENDPOINT).replace(r"\{version\}", _VERSION)
    return re.compile(pattern.encode())

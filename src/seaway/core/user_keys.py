"""Whose request it is: the user key by which a rollout keeps a caller on one arm, from a header or a cookie."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

_MOST: Final = 512
_MOST_COOKIES: Final = 256
"""Of one request that are looked at: no browser keeps so many for one site."""


class UserKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the key stands: exactly one is set; a header's name in lower case."""

    header: str | None = None
    cookie: str | None = None

    def read(self, header: Callable[[str], bytes | None]) -> bytes | None:
        """The key of a request, whose headers (or gRPC metadata) `header` finds by lower-case name; None without one."""
        if self.header is not None:
            found = header(self.header)
        else:
            cookies = header("cookie")
            found = None if cookies is None else cookie_value(cookies, self.cookie or "")
        return found[:_MOST] if found else None


def cookie_value(cookies: bytes, name: str) -> bytes | None:
    """The value of a cookie in a Cookie header (RFC 6265, section 4.2); None where it is not there."""
    wanted = name.encode("ascii")
    if wanted not in cookies:
        return None
    for pair in cookies.split(b";", _MOST_COOKIES)[:_MOST_COOKIES]:
        key, equals, value = pair.partition(b"=")
        if equals and key.strip() == wanted:
            return value.strip().strip(b'"')
    return None

"""Which bodies a door takes, told by the request's headers alone."""

from __future__ import annotations

from collections.abc import Mapping

from seaway.core.errors import SeawayError, UserError
from seaway.serve.door import Door


def refusal(headers: Mapping[bytes, bytes], door: Door) -> SeawayError | None:
    """`unsupported_media_type` for what the door does not take; None where it takes it. `headers` by lower-case name."""
    given = headers.get(b"content-type")
    if given is not None and given not in door.media_types:
        plain = given.partition(b";")[0].strip().lower()
        if plain not in door.media_types:
            shown = plain[:80].decode("latin-1")
            return UserError(
                "unsupported_media_type",
                f"content-type {shown!r} is not taken",
                f"send JSON with the header content-type: {door.media_types[0].decode()}",
            )
    encoding = headers.get(b"content-encoding")
    if encoding is not None and encoding.strip().lower() not in (b"", b"identity"):
        shown = encoding[:40].decode("latin-1")
        return UserError(
            "unsupported_media_type", f"content-encoding {shown!r} is not taken", "send the body as it is"
        )
    return None

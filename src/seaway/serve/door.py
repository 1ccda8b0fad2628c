"""What a door is: how the bytes of one protocol become tensors, and outputs its bytes again.

To add a door over HTTP: one file in `serve/doors`, and one line in `serve.doors.DOORS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from seaway.core.tensors import Signature, Tensors


class Answer(NamedTuple):
    """A body, its content type, and further header lines, each ending in CRLF."""

    body: bytes
    content_type: bytes = b"application/json"
    header_lines: bytes = b""


class Decoded(NamedTuple):
    """A request behind its door. `encode(outputs, endpoint, revision number)` writes its answer.

    `checked`: no input can hold NaN where the Signature allows none. `request_id` is what the body itself names the
    request, as a plain token.
    """

    tensors: Tensors
    encode: Callable[[Tensors, str, int], Answer]
    checked: bool = False
    request_id: bytes | None = None


class Door(Protocol):
    """One way in. Its functions are pure; a large body is decoded on a thread."""

    name: str
    """The label of its metrics."""
    paths: Sequence[str]
    """Patterns with `{endpoint}`, and perhaps `{version}`, as whole segments; all are POST."""
    media_types: Sequence[bytes]
    """What it takes, in lower case without parameters; the first is assumed where none is sent."""
    streams: bool
    """Whether the answer is a stream: `encode` is then called for each reply, and writes one event."""

    def aside(self, headers: Mapping[bytes, bytes], size: int, signature: Signature) -> bool:
        """Whether decoding a large body, of `size` bytes, takes so long that it is better done beside the event loop."""

    def decode(self, headers: Mapping[bytes, bytes], body: bytes, signature: Signature) -> Decoded:
        """`headers` by lower-case name. Raises `UserError`."""

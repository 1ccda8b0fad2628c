"""RUN/learned-N.json: what a worker has learned of its models, for the one that comes after it in its slot.

Only speed is at stake: whatever goes wrong with the file is ignored, and learned again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from seaway.core.bundles import Digest
from seaway.engine.jobs import Learned


class LearnedFile:
    """The file of one slot."""

    def __init__(self, run: Path, slot: int) -> None:
        self._path = run / f"learned-{slot}.json"
        self._written = b""

    def read(self) -> Mapping[Digest, Learned]:
        """What the predecessor knew; nothing where it left no file, or none that can be read."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=dict[Digest, Learned])
        except (OSError, msgspec.DecodeError):
            return {}

    def write(self, learned: Callable[[], Mapping[Digest, Learned]]) -> None:
        """Write it, whole or not at all, where it has changed since the last time."""
        encoded = msgspec.json.encode(learned(), order="deterministic")
        if encoded == self._written:
            return
        part = self._path.with_suffix(".part")
        try:
            part.write_bytes(encoded)
            part.replace(self._path)
        except OSError:
            return
        self._written = encoded

"""RUN/learned-N.json: what a worker has learned of its models, for the one that comes after it in its slot.

Only speed is at stake: whatever goes wrong with the file is ignored, and learned again.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from seaway.core.bundles import Digest
from seaway.engine.jobs import Learned


class LearnedFile:
    """The file of one slot."""

    def __init__(self, run: Path, slot: int) -> None:
        self._path = run / f"learned-{slot}.json"
        self._part = run / f"learned-{slot}.{os.getpid()}.part"  # a predecessor that drains may write its own
        self._written = b""
        self._writing = threading.Lock()

    def read(self) -> Mapping[Digest, Learned]:
        """What the predecessor knew; nothing where it left no file, or none that can be read."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=dict[Digest, Learned])
        except (OSError, msgspec.DecodeError):
            return {}

    def write(self, learned: Callable[[], Mapping[Digest, Learned]]) -> None:
        """Write it, whole or not at all, where it has changed since the last time. Any thread; blocks for the disk."""
        encoded = msgspec.json.encode(learned(), order="deterministic")
        with self._writing:
            if encoded == self._written:
                return
            try:
                self._part.write_bytes(encoded)
                self._part.replace(self._path)
            except OSError:
                return
            self._written = encoded

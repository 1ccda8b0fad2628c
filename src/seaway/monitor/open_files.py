"""Whether a file that stays open is still the one at its path. Asked by the sinks about once a second."""

from __future__ import annotations

import os
from pathlib import Path


class FileGoneError(OSError):
    """A file was removed or moved while it was written; the `requests` that were kept in it are lost."""

    def __init__(self, path: Path, requests: int) -> None:
        super().__init__(f"{path} was removed, and {requests} requests with it; a new file is begun")
        self.requests = requests


def stands(file: int, path: Path) -> bool:
    """Whether the open file is the one at `path`; False where that cannot be told."""
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except OSError:
        return False

"""The routing table on disk, which workers start with; written by the control loop alone."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final

import msgspec

from seaway.core.errors import PermanentError, TemporaryError
from seaway.core.traffic import RoutingTable

NAME: Final = "table.json"
"""In the run directory."""


def read(path: Path) -> RoutingTable:
    """The last table written; an empty one if there is none or it cannot be read (the loop then makes it anew)."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=RoutingTable)
    except (OSError, msgspec.DecodeError):
        return RoutingTable()


def write(path: Path, table: RoutingTable) -> None:
    """Replace the file whole: killed anywhere, the old or the new table is there. Durable when this returns.

    Raises `PermanentError("disk_full")`, `TemporaryError("store_unavailable")`.
    """
    part = path.with_suffix(".part")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with part.open("wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(table), indent=1))
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise PermanentError(
                "disk_full", "no space left for the routing table", "free some space"
            ) from error
        raise TemporaryError(
            "store_unavailable", f"the routing table cannot be written: {error.strerror}"
        ) from error

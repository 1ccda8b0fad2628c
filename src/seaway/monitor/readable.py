"""Refuses to answer from a directory of records that cannot be read: "nothing is kept" would be false. Called by readers."""

from __future__ import annotations

import os
from pathlib import Path

from seaway.core.errors import PermanentError


def check(*directories: Path) -> None:
    """Raises `PermanentError("records_unreadable")` for the first that is there and cannot be listed."""
    for directory in directories:
        try:
            os.scandir(directory).close()
        except FileNotFoundError:
            return
        except OSError as error:
            raise PermanentError(
                "records_unreadable",
                f"{directory} cannot be read: {error.strerror}",
                f"it must be a directory of the user who runs Seaway: chown it, and chmod 700 {directory}",
            ) from error

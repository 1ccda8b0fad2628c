"""The worker's log: whole lines to stderr, and never a reason to fail."""

from __future__ import annotations

import sys


def write_line(text: str) -> None:
    """One line, at once. Whoever read the log may be gone (a dead supervisor's pipe), a full disk may hold it."""
    try:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
    except OSError:
        pass  # serving matters more than its log

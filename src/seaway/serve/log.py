"""The worker's log: whole lines to stderr, and never a reason to fail."""

from __future__ import annotations

import sys
import traceback

from seaway.core.errors import SeawayError


def write_line(text: str) -> None:
    """One line, at once. Whoever read the log may be gone (a dead supervisor's pipe), a full disk may hold it."""
    try:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
    except OSError:
        pass  # serving matters more than its log


def write_error(what: str, error: SeawayError) -> None:
    """An error in one line; under a fault in Seaway itself, the trace of what raised it."""
    write_line(f"seaway: {what}: {error.code}: {error.message}")
    if error.code == "internal" and error.__cause__ is not None:
        write_line("".join(traceback.format_exception(error.__cause__)).rstrip())

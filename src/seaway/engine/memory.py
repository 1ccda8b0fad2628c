"""What this process takes of the machine's memory; read by a worker for its metrics and by the gate for its limit."""

from __future__ import annotations

import resource
from pathlib import Path


def resident_bytes() -> int:
    """Memory of this process that is in RAM now."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * resource.getpagesize()

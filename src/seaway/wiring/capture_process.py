"""The process that turns spools into segments: `python -m seaway.wiring.capture_process --records DIR --life FD [--retain E=S …]`.

`wiring.capture_keeping` starts it in the control process, so that pyarrow's memory never stays in a server. It prints what it
did as one line of JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from pathlib import Path

import msgspec

from seaway.core.errors import SeawayError
from seaway.monitor.capture import segments
from seaway.wiring import adapters, lifeline
from seaway.wiring.clock import SystemClock


def main() -> None:
    """Convert what is due, and say so; exits 1 with one line on stderr where it cannot."""
    parser = argparse.ArgumentParser(prog="seaway-capture")
    parser.add_argument("--records", type=Path, required=True)
    parser.add_argument("--life", type=int, required=True, help="a pipe that closes when the caller ends")
    parser.add_argument("--retain", action="append", default=[], help="ENDPOINT=SECONDS")
    arguments = parser.parse_args()
    lifeline.end_with_pipe(arguments.life)
    _give_way()
    retain_s = {}
    for word in arguments.retain:
        endpoint, _, seconds = word.partition("=")
        retain_s[endpoint] = float(seconds)
    try:
        done = segments.convert(arguments.records, SystemClock().now_s(), adapters.segment_format(), retain_s)
    except (SeawayError, OSError, ValueError) as error:
        sys.stderr.write(f"{_said(error)}\n")
        sys.exit(1)
    sys.stdout.write(msgspec.json.encode(done).decode() + "\n")


def _said(error: Exception) -> str:
    if isinstance(error, SeawayError):
        return f"{error.message} ({error.code})"
    return error.strerror or "an error of the disk" if isinstance(error, OSError) else type(error).__name__


def _give_way() -> None:
    """Serving goes first: for the processor, and where the machine runs out of memory."""
    os.nice(10)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", "ascii")


if __name__ == "__main__":
    main()

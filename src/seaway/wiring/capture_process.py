"""The process that rewrites captured requests: `python -m seaway.wiring.capture_process --records DIR --life FD`.

It turns spools into segments (`--retain E=S …`), or erases the subject that its standard input names (`--erase`).

`wiring.capture_keeping` starts it in the control process and in verbs, so that pyarrow's memory never stays in a server. It prints what it
did as one line of JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from pathlib import Path
from typing import Final

import msgspec

from seaway.core.captures import SegmentFormat
from seaway.core.errors import SeawayError
from seaway.core.ports import Clock
from seaway.monitor.capture import segments
from seaway.wiring import adapters, lifeline
from seaway.wiring.clock import SystemClock

_WAIT_S: Final = 10.0
_LOOK_S: Final = 0.25


def main() -> None:
    """Convert what is due, and say so; exits 1 with one line on stderr where it cannot."""
    parser = argparse.ArgumentParser(prog="seaway-capture")
    parser.add_argument("--records", type=Path, required=True)
    parser.add_argument("--life", type=int, required=True, help="a pipe that closes when the caller ends")
    parser.add_argument("--retain", action="append", default=[], help="ENDPOINT=SECONDS")
    parser.add_argument("--erase", action="store_true", help="the `segments.Subject` on standard input")
    arguments = parser.parse_args()
    lifeline.end_with_pipe(arguments.life)
    _give_way()
    retain_s = {}
    for word in arguments.retain:
        endpoint, _, seconds = word.partition("=")
        retain_s[endpoint] = float(seconds)
    clock = SystemClock()
    try:
        form = adapters.segment_format()
        if arguments.erase:
            done = _erase(arguments.records, sys.stdin.buffer.read(), form, clock)
        else:
            done = segments.convert(arguments.records, clock.now_s(), form, retain_s)
    except (SeawayError, OSError, ValueError) as error:
        sys.stderr.write(f"{_said(error)}\n")
        sys.exit(1)
    sys.stdout.write(msgspec.json.encode(done).decode() + "\n")


def _erase(records: Path, given: bytes, form: SegmentFormat, clock: Clock) -> segments.Done:
    """Erase, and wait some seconds for workers that still write a file of that time."""
    subject = msgspec.json.decode(given, type=segments.Subject)
    done = segments.erase(records, subject.endpoint, subject.name, clock.now_s(), form)
    ends_s = clock.monotonic_s() + _WAIT_S
    while done.pending and clock.monotonic_s() < ends_s:
        time.sleep(_LOOK_S)
        more = segments.convert(records, clock.now_s(), form, {}, every=True)
        done = msgspec.structs.replace(
            done,
            erased_rows=done.erased_rows + more.erased_rows,
            erased_ids=tuple(dict.fromkeys((*done.erased_ids, *more.erased_ids))),
            pending=more.pending,
        )
    return done


def _said(error: Exception) -> str:
    if isinstance(error, SeawayError):
        return "; ".join(filter(None, (f"{error.message} ({error.code})", error.hint)))
    return error.strerror or "an error of the disk" if isinstance(error, OSError) else type(error).__name__


def _give_way() -> None:
    """Serving goes first: for the processor, and where the machine runs out of memory."""
    os.nice(10)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", "ascii")


if __name__ == "__main__":
    main()

"""The console script: imports the command line inside the guard, so that Ctrl-C is answered from the first moment."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

_INTERRUPTED = 130


def run() -> None:
    """`seaway` as a program: exits with the verb's code, 130 when interrupted."""
    # While modules are imported, a KeyboardInterrupt can fall into a callback where Python only prints and drops it.
    guarded = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if guarded:
        signal.signal(signal.SIGINT, _leave)
    from seaway.cli import main

    try:
        if guarded:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        code = main.main(sys.argv[1:])
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        code = _INTERRUPTED
    sys.exit(code)


def _leave(_number: int, _frame: FrameType | None) -> None:
    """Nothing has begun yet that would need an orderly end."""
    os.write(2, b"interrupted\n")
    os._exit(_INTERRUPTED)

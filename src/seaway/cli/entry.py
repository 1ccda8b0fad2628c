"""The console script: imports the command line inside the guard, so that Ctrl-C is answered from the first moment."""

from __future__ import annotations

import signal
import sys

from seaway.cli import interrupts


def run() -> None:
    """`seaway` as a program: exits with the verb's code, 130 when interrupted."""
    guarded = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if guarded:
        signal.signal(signal.SIGINT, interrupts.leave)
    from seaway.cli import main

    try:
        if guarded:
            interrupts.between_imports()
        code = main.main(sys.argv[1:])
        interrupts.raise_waiting()
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        code = interrupts.INTERRUPTED
    sys.exit(code)

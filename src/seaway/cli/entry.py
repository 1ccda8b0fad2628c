"""The console script: imports the command line inside the guard, so that Ctrl-C is answered from the first moment."""

from __future__ import annotations

import sys


def run() -> None:
    """`seaway` as a program: exits with the verb's code, 130 when interrupted."""
    try:
        from seaway.cli import main

        code = main.main(sys.argv[1:])
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        code = 130
    sys.exit(code)

"""The console script: imports the command line inside the guard, so that Ctrl-C is answered from the first moment.

An import must not be cut short: extension modules abort the process where a KeyboardInterrupt falls into them, and after
code that is made from text (named tuples) CPython ends by the signal. What a method raises that C code calls for a look-up
may be dropped. So an interrupt waits until these are over; a second one does not wait.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import Final

_INTERRUPTED: Final = 130
_AGAIN_S: Final = 0.005
_UNSAFE_FILES: Final = ("<frozen importlib", "<string>")
"""How the files of code are called that must not be interrupted: imports, and code that was made from text."""
_UNSAFE_METHODS: Final = ("__hash__", "__eq__", "__del__")


def run() -> None:
    """`seaway` as a program: exits with the verb's code, 130 when interrupted."""
    guarded = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if guarded:
        signal.signal(signal.SIGINT, _leave)
    from seaway.cli import main

    try:
        if guarded:
            interrupt_between_imports()
        code = main.main(sys.argv[1:])
        if guarded and signal.setitimer(signal.ITIMER_REAL, 0)[0] > 0:
            raise KeyboardInterrupt  # it came with the last import
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        code = _INTERRUPTED
    sys.exit(code)


def interrupt_between_imports() -> None:
    """From here on Ctrl-C raises KeyboardInterrupt as it always does, but never inside an import of the main thread."""
    signal.signal(signal.SIGALRM, _interrupt)
    signal.signal(signal.SIGINT, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    waits = signal.getitimer(signal.ITIMER_REAL)[0] > 0
    if number == signal.SIGINT and waits:
        _leave(number, frame)
    if _is_unsafe(frame):
        signal.setitimer(signal.ITIMER_REAL, _AGAIN_S)
        return
    raise KeyboardInterrupt


def _is_unsafe(frame: FrameType | None) -> bool:
    while frame is not None:
        code = frame.f_code
        if code.co_filename.startswith(_UNSAFE_FILES) or code.co_name in _UNSAFE_METHODS:
            return True
        frame = frame.f_back
    return False


def _leave(_number: int, _frame: FrameType | None) -> None:
    """Nothing has begun yet that would need an orderly end, or somebody cannot wait for it."""
    os.write(2, b"interrupted\n")
    os._exit(_INTERRUPTED)

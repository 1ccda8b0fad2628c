"""Ctrl-C in the command line: it raises KeyboardInterrupt, but never inside an import. `entry` sets it up.

An import must not be cut short: extension modules abort the process where a KeyboardInterrupt falls into them, and after
code that is made from text (named tuples) CPython ends by the signal. What a method raises that C code calls for a look-up
may be dropped. So an interrupt waits until these are over; a second one does not wait. While one waits, a timer asks again
and again; that the timer is set is all the state there is.
"""

from __future__ import annotations

import os
import signal
from types import FrameType
from typing import Final

INTERRUPTED: Final = 130
"""The exit code."""
_AGAIN_S: Final = 0.005
_UNSAFE_FILES: Final = ("<frozen importlib", "<string>")
"""How the files of code are called that must not be interrupted: imports, and code that was made from text."""
_UNSAFE_METHODS: Final = ("__hash__", "__eq__", "__del__")


def leave(_number: int, _frame: FrameType | None) -> None:
    """A handler of SIGINT that ends the process at once: nothing has begun yet that would need an orderly end, or somebody
    cannot wait for it."""
    os.write(2, b"interrupted\n")
    os._exit(INTERRUPTED)


def between_imports() -> None:
    """From here on Ctrl-C raises KeyboardInterrupt as it always does, but never inside an import of the main thread."""
    signal.signal(signal.SIGALRM, _interrupt)
    signal.signal(signal.SIGINT, _interrupt)


def raise_waiting() -> None:
    """Raises the KeyboardInterrupt that waits, if one does: before the process ends, or becomes another program, which the
    timer would kill."""
    if _waits():
        _stop_waiting()
        raise KeyboardInterrupt


def _interrupt(number: int, frame: FrameType | None) -> None:
    waits = _waits()
    if number == signal.SIGINT and waits:
        leave(number, frame)
    if number == signal.SIGALRM and not waits:
        return  # the last one of an interrupt that was raised since
    if not _is_unsafe(frame):
        _stop_waiting()
        raise KeyboardInterrupt
    if not waits:
        signal.setitimer(signal.ITIMER_REAL, _AGAIN_S, _AGAIN_S)


def _waits() -> bool:
    # The interval: what is left of it is 0 for a moment each time, and for as long as C code runs.
    return signal.getitimer(signal.ITIMER_REAL)[1] > 0


def _stop_waiting() -> None:
    signal.setitimer(signal.ITIMER_REAL, 0)


def _is_unsafe(frame: FrameType | None) -> bool:
    while frame is not None:
        code = frame.f_code
        if code.co_filename.startswith(_UNSAFE_FILES) or code.co_name in _UNSAFE_METHODS:
            return True
        frame = frame.f_back
    return False

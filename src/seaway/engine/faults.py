"""Whose fault the end of a process is: asked of workers by the supervisor, of engine processes by those who speak to them."""

from __future__ import annotations

import signal
from typing import Final

# What a process does to itself. SIGKILL is not among them: it comes from outside, be it an operator or the kernel
# that is out of memory, which takes the largest process and not the guilty one. So it blames nobody.
_OWN_FAULTS: Final = frozenset(
    {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGTRAP}
)


def is_own_fault(code: int) -> bool:
    """Whether a process that was not told to stop ended by what it ran.

    `code` is as `subprocess` has it. An exit code counts: a library that calls exit() ends the process like one that
    crashes.
    """
    return code >= 0 or -code in _OWN_FAULTS

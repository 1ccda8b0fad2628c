"""Ties a process to the one that started it: the control process, workers that nobody could adopt, engine processes."""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import signal
import sys
from typing import Final

_PR_SET_PDEATHSIG: Final = 1


def end_with(parent: int) -> None:
    """Have the kernel send this process SIGTERM when its parent dies; ends it now where that has happened already."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(4)  # it died before the kernel was told


def end_with_pipe(descriptor: int) -> None:
    """Have the kernel end this process when the pipe's last writer is gone, even where it hangs and holds the GIL.

    SIGIO ends a process that does not handle it. `end_with` would not do: the kernel takes the *thread* that started
    a process for its parent, and a worker starts its engine processes on threads that end.
    """
    fcntl.fcntl(descriptor, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([descriptor], [], [], 0)[0]:
        sys.exit(4)  # it was gone before the kernel was told

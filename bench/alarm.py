"""A timer of microseconds for an event loop: the loops' own are a millisecond coarse. `client` wakes by it.

It is a timerfd, so that the process sleeps until then; polling would take the core from the kernel's own network work.
Linux only (timerfd_create(2)); Python has it from 3.13 on.
"""

from __future__ import annotations

import ctypes
import os
from typing import Final

_CLOCK_MONOTONIC: Final = 1  # what time.perf_counter reads
_TFD_TIMER_ABSTIME: Final = 1
_FLAGS: Final = os.O_NONBLOCK | os.O_CLOEXEC
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


class _Spec(ctypes.Structure):
    """struct itimerspec: the interval, then the expiry, each in seconds and nanoseconds."""

    _fields_ = (("interval", ctypes.c_long * 2), ("expiry", ctypes.c_long * 2))


class Alarm:
    """Readable from the set time on; give `fd` to `loop.add_reader`."""

    def __init__(self) -> None:
        self.fd: int = _LIBC.timerfd_create(_CLOCK_MONOTONIC, _FLAGS)
        if self.fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._spec = _Spec()
        self._pointer = ctypes.byref(self._spec)

    def set(self, at: float) -> None:
        """Go off at `at`, in the time of `time.perf_counter`; one that is past goes off at once."""
        whole = int(at)
        self._spec.expiry[0] = whole
        self._spec.expiry[1] = max(1, int((at - whole) * 1e9))
        if _LIBC.timerfd_settime(self.fd, _TFD_TIMER_ABSTIME, self._pointer, None) != 0:
            raise OSError(ctypes.get_errno(), "timerfd_settime")

    def clear(self) -> None:
        """Take the alarm that went off, so that `fd` is readable no more."""
        try:
            os.read(self.fd, 8)
        except BlockingIOError:
            pass  # it was set anew meanwhile

    def close(self) -> None:
        os.close(self.fd)

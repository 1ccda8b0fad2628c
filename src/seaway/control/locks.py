"""Files that one process holds at a time: HOME/lock (the state store) and RUN/up.lock (the supervisor).

A lock ends with its process, whatever ends it; the file stays and tells who held it last.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from seaway.core.errors import TemporaryError, UserError

_POLL_S: Final = 0.05


@contextlib.contextmanager
def hold(path: Path, wait_s: float) -> Iterator[None]:
    """Hold the lock inside the `with` block; blocks up to `wait_s`.

    Raises `UserError("already_running")` where another process keeps it, `TemporaryError("store_unavailable")` where
    the file cannot be made.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise TemporaryError("store_unavailable", f"{path} cannot be opened: {error.strerror}") from error
    try:
        deadline = time.monotonic() + wait_s
        while not _try(descriptor):
            if time.monotonic() >= deadline:
                holder = os.pread(descriptor, 200, 0).decode("utf-8", "replace").strip()
                raise UserError(
                    "already_running",
                    f"another Seaway runs on this home: process {holder or 'unknown'}",
                    "use that one, stop it, or choose another --home",
                )
            time.sleep(_POLL_S)
        with contextlib.suppress(OSError):  # on a full disk nobody learns who holds it, but it is held
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def describe(path: Path, text: str) -> None:
    """Say more of the holder, such as its address, where the disk has room for it; only the holder calls this."""
    with contextlib.suppress(OSError):
        path.write_text(f"{os.getpid()} {text}\n", "utf-8")


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

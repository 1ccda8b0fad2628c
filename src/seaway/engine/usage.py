"""What a process takes of the machine, and the caps beyond which it is replaced by a fresh one.

The supervisor asks it of its workers, an engine process of itself.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

_PAGE_BYTES: Final = resource.getpagesize()
_SHARE_OF_DESCRIPTORS: Final = 0.8
_SHARE_OF_MEMORY: Final = 0.8
"""What all workers together may take; the rest is the system's, control's and the engines'."""
_THREADS: Final = 4096
_GROWTH: Final = 1.25
_GROWTH_BYTES: Final = 32 << 20
_CGROUPS: Final = Path("/sys/fs/cgroup")


class Caps(msgspec.Struct, frozen=True):
    """Beyond these a process is taken for leaking. `memory_bytes` is resident memory."""

    memory_bytes: int
    descriptors: int
    threads: int


class Usage(msgspec.Struct, frozen=True):
    """What a process takes now."""

    memory_bytes: int
    descriptors: int
    threads: int


def caps(memory_bytes: int) -> Caps:
    """The caps of a process that inherits this one's limits."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return Caps(memory_bytes, int(soft * _SHARE_OF_DESCRIPTORS), _THREADS)


def usage(pid: int) -> Usage | None:
    """What the process takes; None where it is gone, or not ours to look at."""
    process = Path("/proc") / str(pid)
    try:
        pages = int((process / "statm").read_text("ascii").split()[1])
        # the command's name stands in parentheses and may hold anything, so count from its end: field 20 of stat(5)
        threads = int((process / "stat").read_bytes().rpartition(b")")[2].split()[17])
        return Usage(pages * _PAGE_BYTES, sum(1 for _ in (process / "fd").iterdir()), threads)
    except (OSError, IndexError, ValueError):
        return None


def excess(found: Usage, allowed: Caps) -> str | None:
    """What is beyond its cap, in words; None where all is well."""
    if found.memory_bytes > allowed.memory_bytes:
        return f"{found.memory_bytes >> 20} MiB of memory, more than {allowed.memory_bytes >> 20} MiB"
    if found.descriptors > allowed.descriptors:
        return f"{found.descriptors} open files, more than {allowed.descriptors}"
    if found.threads > allowed.threads:
        return f"{found.threads} threads, more than {allowed.threads}"
    return None


def roomy(allowed: Caps, at_start: Usage) -> Caps:
    """`allowed`; for a process that needs more memory than that from its start, with room for it to grow.

    That is no leak, and a fresh process would need as much: replacing it would have no end.
    """
    room_bytes = int(at_start.memory_bytes * _GROWTH) + _GROWTH_BYTES
    if at_start.memory_bytes <= allowed.memory_bytes:
        return allowed
    return msgspec.structs.replace(allowed, memory_bytes=room_bytes)


def share_bytes(processes: int) -> int:
    """The memory that each of so many equal processes may take, with some left for the rest of the machine."""
    return int(machine_bytes() * _SHARE_OF_MEMORY / max(1, processes))


def machine_bytes() -> int:
    """Memory of the machine, or of this process's cgroup (version 1 or 2) where that is less."""
    total = os.sysconf("SC_PHYS_PAGES") * _PAGE_BYTES
    return min([total, *_cgroup_limits()])


def _cgroup_limits() -> Iterator[int]:
    """What each cgroup above this process allows; a file that is not there or says "max" allows anything."""
    for line in Path("/proc/self/cgroup").read_text("utf-8").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        root = _CGROUPS / controllers
        name = "memory.limit_in_bytes" if controllers else "memory.max"
        for directory in [root / path.lstrip("/"), *(root / path.lstrip("/")).parents]:
            if not directory.is_relative_to(root):
                break
            try:
                yield int((directory / name).read_text("ascii"))
            except (OSError, ValueError):
                continue

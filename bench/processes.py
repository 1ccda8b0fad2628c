"""Starts a server pinned to its core, watches its whole process tree, and leaves nothing behind. `measure` calls it.

This process becomes the reaper of its descendants, so that a daemon that leaves its parent is still ours to end.
Linux only.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench import places

_PR_SET_CHILD_SUBREAPER: Final = 36
_ONE_THREAD: Final = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
_QUIET: Final = {"PYTHONUNBUFFERED": "1", "DO_NOT_TRACK": "1", "BENTOML_DO_NOT_TRACK": "True"}
_POLL_S: Final = 0.01
_started: Final[list[subprocess.Popen[Any]]] = []
"""Children whose exit is read through their handle, and so not reaped here."""


class Failed(Exception):
    """A server or a load generator did not do what it must; the text says what it printed last."""


class Memory(NamedTuple):
    """Summed over a process tree, in MiB. PSS counts a shared page once, by shares."""

    pss_mb: float
    rss_mb: float
    processes: int


def adopt_orphans() -> None:
    """Make every descendant of this process stay one, whatever its parents do."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def allow_files(wanted: int) -> None:
    """Let this process and all that it starts open so many files, as far as the machine allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))


def parse_stat(text: str) -> tuple[str, int]:
    """State and parent of a `/proc/PID/stat` line; the command in it may hold blanks and brackets."""
    fields = text.rsplit(")", 1)[1].split()
    return fields[0], int(fields[1])


def descendants(parents: Mapping[int, int], root: int) -> set[int]:
    """All processes below `root`, given each process's parent."""
    children: dict[int, list[int]] = {}
    for process, parent in parents.items():
        children.setdefault(parent, []).append(process)
    found: set[int] = set()
    todo = [root]
    while todo:
        for child in children.get(todo.pop(), []):
            if child not in found:
                found.add(child)
                todo.append(child)
    return found


def tree() -> set[int]:
    """Every living descendant of this process. Ended orphans are reaped on the way."""
    parents: dict[int, int] = {}
    ended: set[int] = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, parent = parse_stat((entry / "stat").read_text("utf-8", "replace"))
            except OSError:
                continue  # it ended meanwhile
            parents[int(entry.name)] = parent
            if state == "Z":
                ended.add(int(entry.name))
    mine = descendants(parents, os.getpid())
    known = {process.pid for process in _started}
    for process in mine & ended - known:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(process, os.WNOHANG)
    return mine - ended


def favour(processes: set[int]) -> None:
    """Put the autogroups of these processes first, where the kernel groups by session and so makes `nice` inert."""
    for process in processes:
        with contextlib.suppress(OSError):
            Path(f"/proc/{process}/autogroup").write_text("-20")


def memory(processes: set[int]) -> Memory:
    """What these processes hold now."""
    pss = rss = count = 0
    for process in processes:
        try:
            text = Path(f"/proc/{process}/smaps_rollup").read_text()
        except OSError:
            continue
        found = {key: int(kib) for key, kib in re.findall(r"^(Pss|Rss):\s+(\d+) kB", text, re.MULTILINE)}
        if found:
            pss, rss, count = pss + found["Pss"], rss + found["Rss"], count + 1
    return Memory(round(pss / 1024, 1), round(rss / 1024, 1), count)


def environment(home: Path, extra: Mapping[str, str]) -> dict[str, str]:
    """What a server runs with: one thread per library, a home of its own, and what its own setup asks for."""
    home.mkdir(parents=True, exist_ok=True)
    return {**os.environ, **_ONE_THREAD, **_QUIET, "HOME": str(home), **extra}


class Server:
    """One running server: its process tree and how long it took from its start to its first right answer."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process = process
        self._log = log
        self.cold_start_s = 0.0

    def running(self) -> bool:
        return self._process.poll() is None

    def last_words(self) -> str:
        """The end of what it printed, on one line."""
        return " | ".join(self._log.read_text("utf-8", "replace").splitlines()[-12:])[-900:]

    def favour(self) -> None:
        favour(tree())

    def memory(self) -> Memory:
        """Of the whole tree; call it while no load generator runs."""
        return memory(tree())


@contextlib.contextmanager
def serving(
    name: str,
    command: Sequence[str],
    env: Mapping[str, str],
    cwd: Path,
    ready: Callable[[], bool],
    said: Callable[[], str],
    timeout_s: float,
    cores: str = places.SERVER_CORES,
) -> Iterator[Server]:
    """Start `command` on `cores`, wait until `ready`, and end its whole tree afterwards, whatever happens.

    Raises `Failed` where it ends or is not ready in time, with what it `said` last.
    """
    places.LOGS.mkdir(parents=True, exist_ok=True)
    log = places.LOGS / f"{name}.log"
    started = time.perf_counter()
    with log.open("wb") as sink:
        process = subprocess.Popen(
            ["taskset", "-c", cores, *command],
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    _started.append(process)
    server = Server(process, log)
    try:
        favoured = 0.0
        while not ready():
            now = time.perf_counter()
            if not server.running():
                raise Failed(f"{name} ended while starting: {server.last_words()}")
            if now - started > timeout_s:
                raise Failed(
                    f"{name} gave no right answer in {timeout_s:.0f} s, last {said()}: {server.last_words()}"
                )
            if now - favoured > 0.25:  # its children may have opened sessions of their own meanwhile
                server.favour()
                favoured = now
            time.sleep(_POLL_S)
        server.cold_start_s = time.perf_counter() - started
        server.favour()
        yield server
    finally:
        end_all()


def end_all() -> None:
    """End every descendant: first asked, then killed. Returns when none is left."""
    for number, patience_s in ((signal.SIGTERM, 6.0), (signal.SIGKILL, 5.0)):
        for process in tree():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, number)
        end = time.perf_counter() + patience_s
        while time.perf_counter() < end:
            for known in _started:
                known.poll()
            if not tree():
                _started.clear()
                return
            time.sleep(0.05)
    raise Failed(f"these processes do not end: {sorted(tree())}")


def run(
    command: Sequence[str],
    timeout_s: float,
    cores: str = places.LOAD_CORES,
    env: Mapping[str, str] | None = None,
) -> str:
    """Run a load generator or a loop on `cores`, favoured, and return what it printed.

    Raises `Failed` where it exits with an error or takes longer than `timeout_s`.
    """
    process = start(command, cores, env)
    try:
        printed, complaint = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        raise Failed(f"{command[0]} took longer than {timeout_s:.0f} s") from None
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    if process.returncode != 0:
        raise Failed(
            f"{' '.join(command)[:200]} exited {process.returncode}: {(complaint or printed)[-600:]}"
        )
    return printed


def start(
    command: Sequence[str], cores: str = places.LOAD_CORES, env: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """Start a load generator on `cores`, favoured, with its output piped; the caller waits for it."""
    process = subprocess.Popen(
        ["taskset", "-c", cores, *command],
        cwd=places.ROOT,
        env={**os.environ, **_ONE_THREAD, **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    _started.append(process)
    favour({process.pid})
    return process


def free(port: int) -> bool:
    """Whether nobody listens on the port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((places.HOST, port))
        except OSError:
            return False
    return True

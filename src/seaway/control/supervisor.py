"""Starts the data workers and the control process, restarts them, and stops them in order.

It opens one listening socket per worker slot and keeps it, so that a worker's death loses no waiting connection. It
imports little and does little, since it must be the last to fail; when it is killed all the same, the workers go on,
and the next supervisor takes their sockets over.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from seaway import sockets
from seaway.control import locks, orphans
from seaway.control.orphans import Orphan
from seaway.core.errors import SeawayError
from seaway.core.ports import Clock
from seaway.wire import status, worker_admin

_BACKOFF_S: Final = (0.0, 0.1, 0.2, 0.5, 1.0, 2.0)
_STABLE_S: Final = 10.0
_STARTING_POLL_S: Final = 0.05
_CONTROL_STOP_S: Final = 5.0
_MARGIN_S: Final = 5.0
_ASK_S: Final = 2.0
_ASK_CONTROL_S: Final = 0.5
_CONTROL_LATE_S: Final = 10.0
_RECORD_AGAIN_S: Final = 5.0
_reply = msgspec.json.Decoder(worker_admin.Reply)


class Plan(msgspec.Struct, frozen=True):
    """What to run. `http` is HOST:PORT.

    `ready_fd` gets one line when all workers answer, and control at `control_socket` too (or it is late), then it
    is closed. With `remove_run` the run directory goes with the supervisor.
    """

    run: Path
    http: str
    workers: int
    drain_s: float
    worker_command: Callable[[int, int], Sequence[str]]
    control_command: Sequence[str] | None = None
    control_socket: Path | None = None
    remove_run: bool = False
    ready_fd: int | None = None


class Record(msgspec.Struct, frozen=True):
    """RUN/supervisor.json: what runs, for those who look for it."""

    pid: int
    started_at_s: float
    http: str
    workers: tuple[int | None, ...]
    control: int | None


class Child:
    """One process that is kept running."""

    def __init__(self, name: str, command: Sequence[str], descriptor: int | None = None) -> None:
        self.name = name
        self._command = command
        self._descriptors = () if descriptor is None else (descriptor,)
        self._process: subprocess.Popen[bytes] | None = None
        self._started_s = 0.0
        self._failures = 0
        self._due_s = 0.0

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def tend(self, now_s: float) -> bool:
        """Start it if it does not run and its backoff is over; whether anything changed."""
        changed = self._reap(now_s)
        if self._process is None and now_s >= self._due_s:
            changed = self._start(now_s) or changed
        return changed

    def _start(self, now_s: float) -> bool:
        try:
            # A session of its own: Ctrl-C in a terminal reaches the supervisor alone, which stops the rest in order.
            self._process = subprocess.Popen(
                self._command, pass_fds=self._descriptors, stdin=subprocess.DEVNULL, start_new_session=True
            )
        except OSError as error:  # no memory, or too many processes: that may pass
            self._failures += 1
            self._wait(now_s, f"{self.name} cannot be started: {error.strerror}")
            return False
        self._started_s = now_s
        return True

    def _reap(self, now_s: float) -> bool:
        if self._process is None or self._process.poll() is None:
            return False
        self._failures = 0 if now_s - self._started_s >= _STABLE_S else self._failures + 1
        self._wait(now_s, f"{self.name} (process {self.pid}) {_ended(self._process.returncode)}")
        self._process = None
        return True

    def _wait(self, now_s: float, why: str) -> None:
        wait_s = _BACKOFF_S[min(self._failures, len(_BACKOFF_S) - 1)]
        self._due_s = now_s + wait_s
        say(f"{why}; starting it again in {wait_s:g} s")

    def due_in_s(self, now_s: float) -> float | None:
        """Seconds until it is to be started; None while it runs."""
        return max(0.0, self._due_s - now_s) if self._process is None else None

    def send(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None


def _ended(code: int) -> str:
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"


class Supervisor:
    """One server on one run directory; `run` is its whole life."""

    def __init__(self, plan: Plan, clock: Clock) -> None:
        self._plan = plan
        self._clock = clock
        self._signals = 0
        self._selector = selectors.DefaultSelector()
        self._orphans: list[Orphan] = []
        self._listeners: list[socket.socket] = []
        self._workers: list[Child] = []
        self._control: Child | None = None
        self._ready_s: float | None = None
        self._announced = False
        self._unrecorded = False

    def run(self) -> int:
        """Until SIGTERM, SIGINT or SIGHUP; 0 after an orderly stop, 4 when a second signal forced it.

        Raises `UserError` (`already_running`, `address_in_use`).
        """
        self._plan.run.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = self._plan.run / "up.lock"
        with locks.hold(lock, 0.0):
            try:
                self._catch_signals()
                self._open()
                locks.describe(lock, f"at http://{self._address}")
                while not self._signals:
                    self._tend()
                return self._stop()
            finally:
                if self._plan.remove_run:
                    shutil.rmtree(self._plan.run, ignore_errors=True)

    def _open(self) -> None:
        host, port = sockets.parse_address(self._plan.http)
        self._orphans = orphans.find(self._plan.run)
        taken = orphans.take_sockets(self._plan.run, self._orphans)
        hosts = orphans.addresses(host)
        fitting = [s for s in taken if s.getsockname()[0] in hosts and port in (0, s.getsockname()[1])]
        for other in taken:
            if other not in fitting:
                other.close()  # kept open, it would swallow connections that nobody accepts
        self._listeners = fitting or sockets.listen_tcp(host, port, self._plan.workers)
        # A socket that nobody accepts from would swallow connections: every one that was taken over gets a worker.
        for slot in range(max(self._plan.workers, len(self._listeners))):
            listener = self._listeners[slot % len(self._listeners)]
            command = self._plan.worker_command(slot, listener.fileno())
            self._workers.append(Child(f"worker {slot}", command, listener.fileno()))
        if self._plan.control_command is not None:
            self._control = Child("control", self._plan.control_command)

    @property
    def _address(self) -> str:
        host, port = self._listeners[0].getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    @property
    def _children(self) -> list[Child]:
        return [*self._workers, *([] if self._control is None else [self._control])]

    def _tend(self) -> None:
        """Look after every child once, then sleep until a child ends, a restart is due or a signal comes."""
        now_s = self._clock.monotonic_s()
        changes = [child.tend(now_s) for child in self._children]
        if any(changes) or self._unrecorded:
            self._record()
        dues = [due for child in self._children if (due := child.due_in_s(now_s)) is not None]
        if not self._announced:
            self._welcome(now_s)
            dues.append(_STARTING_POLL_S)
        if self._unrecorded:
            dues.append(_RECORD_AGAIN_S)
        self._sleep(min(dues, default=None))

    def _welcome(self, now_s: float) -> None:
        """Once all workers answer, let the orphans go; once control answers too, or is late, say that all is there."""
        if self._ready_s is None:
            if not all(_answers(self._plan.run, n, c.pid) for n, c in enumerate(self._workers)):
                return
            self._ready_s = now_s
            for orphan in self._orphans:
                orphan.send(signal.SIGTERM)
        path = self._plan.control_socket
        late = now_s - self._ready_s >= _CONTROL_LATE_S
        if path is None or self._control is None or late or _control_answers(path, self._control.pid):
            self._announce()
            if late:
                say("the control process does not answer yet; the endpoints are served meanwhile")

    def _announce(self) -> None:
        self._announced = True
        count = f"{len(self._workers)} worker{'s' if len(self._workers) > 1 else ''}"
        taken = f", taken over from {len(self._orphans)} that ran already" if self._orphans else ""
        with contextlib.suppress(OSError):  # as in `say`
            sys.stdout.write(
                f"seaway serves on http://{self._address} with {count}{taken}; Ctrl-C stops it\n"
            )
            sys.stdout.flush()
        if self._plan.ready_fd is not None:
            with contextlib.suppress(OSError), os.fdopen(self._plan.ready_fd, "w") as ready:
                ready.write(f"http://{self._address}\n")

    def _record(self) -> None:
        record = Record(
            pid=os.getpid(),
            started_at_s=self._clock.now_s(),
            http=self._address,
            workers=tuple(worker.pid for worker in self._workers),
            control=None if self._control is None else self._control.pid,
        )
        path = self._plan.run / "supervisor.json"
        part = path.with_suffix(".part")
        try:
            part.write_bytes(msgspec.json.encode(record))
            part.replace(path)
        except OSError as error:  # the disk is full: serving goes on, and what runs is written down later
            if not self._unrecorded:
                say(f"{path} cannot be written: {error.strerror}; trying again")
            self._unrecorded = True
        else:
            self._unrecorded = False

    def _stop(self) -> int:
        """Control first, so that nothing changes any more; then the workers drain. A second signal kills."""
        forced = self._end([self._control] if self._control is not None else [], _CONTROL_STOP_S)
        for listener in self._listeners:
            listener.listen(
                0
            )  # no queue any more: the workers take up what waits, and nobody else gets into it
            listener.close()  # the workers have it too: once they close it, new callers are refused at once
        forced = self._end(self._workers, self._plan.drain_s + _MARGIN_S) or forced
        for orphan in self._orphans:
            orphan.send(signal.SIGKILL if forced else signal.SIGTERM)
        (self._plan.run / "supervisor.json").unlink(missing_ok=True)
        return 4 if forced else 0

    def _end(self, children: Sequence[Child], patience_s: float) -> bool:
        """SIGTERM, then SIGKILL when patience or a second signal ends it; whether that was needed."""
        for child in children:
            child.send(signal.SIGTERM)
        deadline_s = self._clock.monotonic_s() + patience_s
        while any(child.running for child in children):
            left_s = deadline_s - self._clock.monotonic_s()
            if left_s <= 0 or self._signals > 1:
                for child in children:
                    child.send(signal.SIGKILL)
                return True
            self._sleep(left_s)
        return False

    def _catch_signals(self) -> None:
        reader, writer = socket.socketpair()
        for end in (reader, writer):
            end.setblocking(False)
        signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        self._wakeup = (reader, writer)
        self._selector.register(reader, selectors.EVENT_READ)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._count_signal)

    def _count_signal(self, _number: int, _frame: object) -> None:
        self._signals += 1

    def _sleep(self, seconds: float | None) -> None:
        for key, _ in self._selector.select(seconds):
            if isinstance(key.fileobj, socket.socket):
                key.fileobj.recv(4096)


def _answers(run: Path, slot: int, pid: int | None) -> bool:
    """Whether this very process serves: a worker opens its control socket once it accepts requests."""
    try:
        with sockets.connect_unix(run / f"worker-{slot}.sock", _ASK_S) as connection:
            connection.sendall(msgspec.json.encode(worker_admin.Observe()) + b"\n")
            with connection.makefile("rb") as lines:
                observed = _reply.decode(lines.readline()).observed
    except (OSError, msgspec.DecodeError):
        return False
    return observed is not None and observed.pid == pid


def _control_answers(path: Path, pid: int | None) -> bool:
    """Whether this very control process answers a request."""
    try:
        with sockets.connect_unix(path, _ASK_CONTROL_S) as connection:
            if orphans.peer_pid(connection) != pid:
                return False
            connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            return connection.recv(64).startswith(b"HTTP/1.1 200 ")
    except OSError:
        return False


def say(line: str) -> None:
    """One line for the operator; where nothing can be written (a log on a full disk), serving goes on."""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"seaway: {line}\n")
        sys.stderr.flush()


def refuse(error: SeawayError) -> int:
    """Tell why the server does not start; its exit code."""
    say(f"{error.message} ({error.code})" + (f"\n  fix {error.hint}" if error.hint else ""))
    return status.STATUS[error.code].exit_code

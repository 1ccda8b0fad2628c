"""Starts the data workers and the control process, restarts them, and stops them in order.

It opens one listening socket per worker slot and keeps it, so that a worker's death loses no waiting connection; how a
slot's processes are watched and replaced stands in `control.slots`. It imports little and does little, since it must
be the last to fail; when it is killed all the same, the workers go on, and the next supervisor takes their sockets.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import selectors
import shutil
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from seaway import sockets
from seaway.control import answers, locks, orphans, table_file
from seaway.control.children import Child, say
from seaway.control.isolation import Isolation
from seaway.control.orphans import Orphan
from seaway.control.slots import Slot, Watching, Worker
from seaway.control.watch import LOOK_S
from seaway.core.bundles import Digest
from seaway.core.errors import SeawayError
from seaway.core.ports import Clock
from seaway.engine.usage import Caps
from seaway.wire import status

RECORD: Final = "supervisor.json"
"""The name of the file in RUN that says what runs."""
_STARTING_POLL_S: Final = 0.05
_CONTROL_STOP_S: Final = 5.0
_MARGIN_S: Final = 5.0
_CONTROL_LATE_S: Final = 10.0
_RECORD_AGAIN_S: Final = 5.0


class Plan(msgspec.Struct, frozen=True):
    """What to run. `http` and `grpc` are HOST:PORT; `worker_command` gets slot, descriptor and the gRPC address, and
    `worker_env` is the workers' environment (None: that of this process): models run there, so it has no secrets.

    `certificate` is what the workers show to HTTP callers; None means that they speak no TLS.
    `ready_fd` gets one line when all workers answer, and control at `control_socket` too (or it is late), then it
    is closed. With `remove_run` the run directory goes with the supervisor.
    """

    run: Path
    http: str
    workers: int
    drain_s: float
    worker_command: Callable[[int, int, str | None], Sequence[str]]
    caps: Caps
    hang_s: float
    grpc: str | None = None
    certificate: Path | None = None
    worker_env: Mapping[str, str] | None = None
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
    grpc: str | None = None
    certificate: str | None = None
    """File of the certificate chain that HTTP callers are shown; None means plain HTTP."""


class Supervisor:
    """One server on one run directory; `run` is its whole life."""

    def __init__(self, plan: Plan, clock: Clock) -> None:
        self._plan = plan
        self._clock = clock
        self._signals = 0
        self._selector = selectors.DefaultSelector()
        self._orphans: list[Orphan] = []
        self._listeners: list[socket.socket] = []
        self._grpc: socket.socket | None = None
        self._slots: list[Slot] = []
        self._isolation = Isolation(plan.run)
        self._look_due_s = 0.0
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
                locks.describe(lock, f"at {self._url}")
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
        grpc = None if self._plan.grpc is None else self._reserve(self._plan.grpc)
        watching = Watching(
            self._plan.run, self._plan.caps, self._plan.hang_s, self._plan.drain_s + _MARGIN_S
        )
        # A socket that nobody accepts from would swallow connections: every one that was taken over gets a worker.
        for slot in range(max(self._plan.workers, len(self._listeners))):
            descriptor = self._listeners[slot % len(self._listeners)].fileno()
            command = self._plan.worker_command(slot, descriptor, grpc)
            make = functools.partial(Worker, slot, command, descriptor, watching, self._plan.worker_env)
            serving = functools.partial(answers.worker, self._plan.run, slot)
            self._slots.append(Slot(make, watching, serving))
        if self._plan.control_command is not None:
            self._control = Child("control", self._plan.control_command)

    def _reserve(self, address: str) -> str:
        """Hold the gRPC port for as long as this server lives; the address with its number."""
        host, port = sockets.parse_address(address)
        ours = orphans.grpc_ports(self._orphans)
        if port == 0 and ours:
            port = min(ours)
        self._grpc = sockets.reserve_tcp(host, port, shared=port in ours)
        return _spelled(self._grpc)

    @property
    def _address(self) -> str:
        return _spelled(self._listeners[0])

    @property
    def _url(self) -> str:
        return f"http{'' if self._plan.certificate is None else 's'}://{self._address}"

    def _tend(self) -> None:
        """Look after every child once, then sleep until one ends, something is due or a signal comes."""
        now_s = self._clock.monotonic_s()
        if now_s >= self._look_due_s:
            self._look_due_s = now_s + LOOK_S
            for slot in self._slots:
                slot.look(now_s)
        changed, blamed = False, list[Sequence[Digest]]()
        for slot in self._slots:
            moved, guilty = slot.tend(now_s)
            changed = changed or moved
            blamed += guilty
        if blamed:
            self._isolate(blamed)
        elif self._isolation.unwritten:
            self._tell_isolated()
        if self._control is not None:
            changed = self._control.tend(now_s) or changed
        if changed or self._unrecorded:
            self._record()
        children = [slot.worker for slot in self._slots] + ([self._control] if self._control else [])
        dues = [due for child in children if (due := child.due_in_s(now_s)) is not None]
        if not self._announced:
            self._welcome(now_s)
        if not self._announced or any(slot.taking_over for slot in self._slots):
            dues.append(_STARTING_POLL_S)
        if self._unrecorded:
            dues.append(_RECORD_AGAIN_S)
        self._sleep(min([*dues, max(0.0, self._look_due_s - now_s)]))

    def _isolate(self, blamed: Sequence[Sequence[Digest]]) -> None:
        """Have these models leave every shared worker: written before the next one starts, told to those that run."""
        on_trial = table_file.read(self._plan.run / table_file.NAME).on_trial()
        for ran in blamed:
            did = "ended a worker" if len(ran) == 1 else "ran with others when a worker ended"
            for digest in self._isolation.add(ran, self._clock.now_s(), on_trial):
                say(f"model {digest[:19]}… {did}; from now on it runs in a process of its own")
        self._tell_isolated(first=True)

    def _tell_isolated(self, *, first: bool = False) -> None:
        """Write the list and tell every worker; where the disk is full, that is tried again with every look."""
        try:
            self._isolation.write()
        except OSError as error:
            if first:
                say(f"the list of isolated models cannot be written: {error.strerror}; trying again")
            return
        for child in itertools.chain.from_iterable(slot.children for slot in self._slots):
            child.send(signal.SIGUSR1)

    def _welcome(self, now_s: float) -> None:
        """Once all workers answer, let the orphans go; once control answers too, or is late, say that all is there."""
        if self._ready_s is None:
            if not all(slot.answering for slot in self._slots):
                return
            self._ready_s = now_s
            for orphan in self._orphans:
                orphan.send(signal.SIGTERM)
        path = self._plan.control_socket
        late = now_s - self._ready_s >= _CONTROL_LATE_S
        if path is None or self._control is None or late or answers.control(path, self._control.pid):
            if late:
                say("the control process does not answer yet; the endpoints are served meanwhile")
            self._announce()

    def _announce(self) -> None:
        self._announced = True
        count = f"{len(self._slots)} worker{'s' if len(self._slots) > 1 else ''}"
        secure = "" if self._plan.certificate is None else "s"
        grpc = "" if self._grpc is None else f" and grpc{secure}://{_spelled(self._grpc)}"
        taken = f", taken over from {len(self._orphans)} that ran already" if self._orphans else ""
        with contextlib.suppress(OSError):  # as in `say`
            sys.stdout.write(f"seaway serves on {self._url}{grpc} with {count}{taken}; Ctrl-C stops it\n")
            sys.stdout.flush()
        if self._plan.ready_fd is not None:
            with contextlib.suppress(OSError), os.fdopen(self._plan.ready_fd, "w") as ready:
                ready.write(f"{self._url}\n")

    def _record(self) -> None:
        record = Record(
            pid=os.getpid(),
            started_at_s=self._clock.now_s(),
            http=self._address,
            workers=tuple(slot.pid for slot in self._slots),
            control=None if self._control is None else self._control.pid,
            grpc=None if self._grpc is None else _spelled(self._grpc),
            certificate=None if self._plan.certificate is None else str(self._plan.certificate),
        )
        path = self._plan.run / RECORD
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
        workers = [child for slot in self._slots for child in slot.children]
        forced = self._end(workers, self._plan.drain_s + _MARGIN_S) or forced
        for orphan in self._orphans:
            orphan.send(signal.SIGKILL if forced else signal.SIGTERM)
        (self._plan.run / RECORD).unlink(missing_ok=True)
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
        # Ignored here, so that it is ignored in a worker until that is ready for it: by default it ends a process.
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._count_signal)

    def _count_signal(self, _number: int, _frame: object) -> None:
        self._signals += 1

    def _sleep(self, seconds: float | None) -> None:
        for key, _ in self._selector.select(seconds):
            if isinstance(key.fileobj, socket.socket):
                key.fileobj.recv(4096)


def _spelled(bound: socket.socket) -> str:
    """HOST:PORT of a socket."""
    host, port = bound.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def refuse(error: SeawayError) -> int:
    """Tell why the server does not start; its exit code."""
    say(f"{error.message} ({error.code})" + (f"\n  fix {error.hint}" if error.hint else ""))
    return status.STATUS[error.code].exit_code

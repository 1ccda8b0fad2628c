"""One worker slot: the worker that serves, the successor that takes over from it, and those that drain.

Called by the supervisor alone. A worker that hangs is killed and restarted; one over its caps is replaced by a
successor on the same listening socket, which answers before the old one is told to drain: no request is lost.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from seaway.control.children import Child, say
from seaway.control.watch import Pulse
from seaway.core.bundles import Digest
from seaway.engine import blackbox, faults, usage
from seaway.engine.blackbox import BoxReader
from seaway.engine.usage import Caps
from seaway.wire import worker_admin

_SERVED_S: Final = 1.0
_RECYCLE_S: Final = 30.0
_TAKE_OVER_S: Final = 600.0


class Watching(msgspec.Struct, frozen=True):
    """What the supervisor expects of its workers. `hang_s`: the longest silence; `patience_s`: the longest drain."""

    run: Path
    caps: Caps
    hang_s: float
    patience_s: float


class Worker(Child):
    """A worker process with its black box."""

    def __init__(
        self,
        slot: int,
        command: Sequence[str],
        descriptor: int,
        watching: Watching,
        env: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"worker {slot}", command, descriptor, env)
        self._path = worker_admin.box_path(watching.run, slot)
        self._watching = watching
        self._box: BoxReader | None = None
        self._pulse = Pulse(watching.hang_s)
        self._caps: Caps | None = None
        self._killed = False

    def look(self, now_s: float) -> None:
        """Take its pulse; one that hangs is killed, and reaped with the next `tend`."""
        box = self._opened()
        if box is None or self._killed:
            return
        if self._pulse.hangs(now_s, box.beat_s, box.running()):
            say(f"{self.name} (process {self.pid}) hangs; ending it")
            self._killed = True
            self.send(signal.SIGKILL)

    def excess(self) -> str | None:
        """What it takes beyond its caps, in words; what it takes at the first look it takes to work."""
        found = None if self.pid is None else usage.usage(self.pid)
        if found is None:
            return None
        if self._caps is None:
            self._caps = usage.roomy(self._watching.caps, found)
            if self._caps != self._watching.caps:
                cap_bytes = self._watching.caps.memory_bytes
                say(
                    f"{self.name} needs {found.memory_bytes >> 20} MiB to begin with; its cap is {cap_bytes >> 20}"
                )
        return usage.excess(found, self._caps)

    def stable(self, now_s: float) -> bool:
        """Whether it has served: one that comes up and is killed comes up again at once."""
        since_s = self._pulse.beating_since_s
        return (since_s is not None and now_s - since_s >= _SERVED_S) or super().stable(now_s)

    def autopsy(self, now_s: float) -> tuple[bool, Sequence[Digest]]:
        """Whether it has ended since the last look, and the models that ran then where it was a model's fault."""
        box, killed = self._opened(), self._killed
        code = self.ended(now_s)
        if code is None:
            return False, ()
        blamed: Sequence[Digest] = ()
        # A draining worker may end beside a run that never returned: nobody waited for that any more.
        if box is not None and box.beat_s >= 0 and (killed or faults.is_own_fault(code)):
            blamed = box.running()
        if box is not None:
            box.close()
        self._box, self._killed, self._pulse, self._caps = None, False, Pulse(self._watching.hang_s), None
        if blamed:
            self._failures, self._due_s = 0, now_s  # what ended it is kept out of the next one
        return True, blamed

    def _start(self, now_s: float) -> bool:
        # An old box must not be taken for the new process's: process numbers come again, after a restart of a
        # container even at once. A worker that drains keeps its own, which is mapped.
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)
        return super()._start(now_s)

    def _opened(self) -> BoxReader | None:
        if self._box is None and self.pid is not None:
            self._box = blackbox.open_box(self._path, self.pid)
        return self._box


class Slot:
    """All processes of one slot; `tend` is called whenever a process ended, and `look` once a second."""

    def __init__(
        self, make: Callable[[], Worker], watching: Watching, answers: Callable[[int], bool]
    ) -> None:
        """`make` gives a worker that is not started yet, `answers` says whether a process of this slot serves."""
        self._make = make
        self._watching = watching
        self._answers = answers
        self.worker = make()
        self._successor: Worker | None = None
        self._successor_since_s = 0.0
        self._recycled_s: float | None = None
        self._leaving: list[tuple[Worker, float]] = []

    @property
    def pid(self) -> int | None:
        return self.worker.pid

    @property
    def answering(self) -> bool:
        return self.pid is not None and self._answers(self.pid)

    @property
    def taking_over(self) -> bool:
        """Whether a successor starts, which `tend` has to ask now and then whether it serves."""
        return self._successor is not None

    @property
    def children(self) -> list[Worker]:
        """Every process of the slot, those that drain too."""
        extra = [] if self._successor is None else [self._successor]
        return [self.worker, *extra, *(worker for worker, _ in self._leaving)]

    def tend(self, now_s: float) -> tuple[bool, Sequence[Sequence[Digest]]]:
        """Reap, restart and take over; whether anything changed, and for each worker that a model ended those that ran."""
        changed, blamed = self.worker.autopsy(now_s)
        suspects = [blamed] if blamed else []
        if changed and self._successor is not None:
            # It had to die before its successor was there, which now serves.
            say(f"{self.worker.obituary}; a fresh one is starting already")
            self.worker, self._successor = self._successor, None
        elif changed:
            self.worker.tell(now_s)
        if not blamed:  # else the list of isolated models is written first, and the next round starts it
            changed = self.worker.tend(now_s) or changed
        if self._successor is not None:
            taken, more = self._take_over(self._successor, now_s)
            changed = changed or taken
            suspects += [more] if more else []
        for leaving, deadline_s in self._leaving:
            if now_s > deadline_s:
                leaving.send(signal.SIGKILL)
        self._leaving = [pair for pair in self._leaving if pair[0].running]
        return changed, suspects

    def look(self, now_s: float) -> None:
        """Check on the worker that serves; start a successor where it is over its caps."""
        self.worker.look(now_s)
        lately = self._recycled_s is not None and now_s - self._recycled_s < _RECYCLE_S
        if self._successor is not None or lately or not self.worker.stable(now_s):
            return
        why = self.worker.excess()
        if why is not None:
            say(f"{self.worker.name} (process {self.pid}) has {why}; a fresh one takes over")
            self._recycled_s = self._successor_since_s = now_s
            self._successor = self._make()
            self._successor.tend(now_s)

    def _take_over(self, successor: Worker, now_s: float) -> tuple[bool, Sequence[Digest]]:
        ended, blamed = successor.autopsy(now_s)
        if ended or now_s - self._successor_since_s > _TAKE_OVER_S:
            say(
                f"{successor.obituary or 'a fresh worker was given up'} before it served; the old one goes on"
            )
            successor.send(signal.SIGKILL)
            self._leaving.append((successor, now_s))
            self._successor = None  # the old one goes on; the next try is after the usual pause
            return True, blamed
        if successor.pid is None or not self._answers(successor.pid):
            return False, ()
        old, self.worker, self._successor = self.worker, successor, None
        old.send(signal.SIGTERM)
        self._leaving.append((old, now_s + self._watching.patience_s))
        return True, ()

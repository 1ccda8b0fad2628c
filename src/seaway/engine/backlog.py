"""The jobs that wait for one model: a line for each caller, served so that each gets its share of rows."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Hashable
from itertools import islice
from typing import Final

from seaway.engine.jobs import Job

_LOOK_AHEAD: Final = 64
"""How many jobs of one caller are looked at for one that fits the batch."""


class _Line:
    """What one caller has waiting; `turn` grows with the rows that it was given."""

    __slots__ = ("caller", "jobs", "rows", "turn")

    def __init__(self, caller: str, turn: int) -> None:
        self.caller = caller
        self.jobs: deque[Job] = deque()
        self.rows = 0
        self.turn = turn


class Backlog:
    """Start-time fair queueing (Goyal, Vin, Cheng 1996) over callers, counted in rows; first come first served within one.

    On the event loop's thread only.
    """

    __slots__ = ("_count", "_key", "_lines", "_longest", "_turns", "_virtual", "jobs", "rows")

    def __init__(self, key: Callable[[Job], Hashable]) -> None:
        """Jobs of equal `key` may share a batch."""
        self.jobs = 0
        self.rows = 0
        self._key = key
        self._lines: dict[str, _Line] = {}
        self._turns: list[tuple[int, int, _Line]] = []  # a heap; the count keeps equal turns in order
        self._count = 0
        self._virtual = 0  # the turn of the job that was taken last
        self._longest: _Line | None = None

    @property
    def callers(self) -> int:
        return len(self._lines)

    def rows_of(self, caller: str) -> int:
        """Rows that this caller has waiting."""
        line = self._lines.get(caller)
        return 0 if line is None else line.rows

    def add(self, job: Job) -> None:
        """Let it wait behind its caller's others."""
        line = self._lines.get(job.caller)
        if line is None:
            line = self._lines[job.caller] = _Line(job.caller, self._virtual)
            self._enter(line)
        line.jobs.append(job)
        line.rows += job.rows
        self.rows += job.rows
        self.jobs += 1
        if self._longest is None or line.rows > self._longest.rows:
            self._longest = line

    def remove(self, job: Job) -> None:
        """Take out a job that waits, wherever it stands; cheap at the head or the end of its caller's line."""
        line = self._lines[job.caller]
        if line.jobs[0] is job:
            line.jobs.popleft()
        elif line.jobs[-1] is job:
            line.jobs.pop()
        else:
            line.jobs.remove(job)
        self._left(line, job)

    def newest_of_longest(self, more_than_rows: int) -> Job | None:
        """The newest job of the caller with the most rows (or nearly), None unless that has more than so many."""
        line = self._longest
        if line is None or line.rows <= more_than_rows or not line.jobs:
            return None
        return line.jobs[-1]

    def take(self, most_rows: int, together: bool, unfit: Callable[[Job], bool]) -> list[Job]:
        """The next batch: jobs of equal key, `most_rows` in all (one larger job runs by itself), one without `together`.

        A job that is `unfit` is taken out and left to the callee.
        """
        batch: list[Job] = []
        room = most_rows
        key: Hashable = None
        passed: list[_Line] = []
        turns = self._turns
        while turns and room > 0:
            line = turns[0][2]
            if not line.jobs:
                heapq.heappop(turns)
                self._close(line)
                continue
            place = self._place(line, batch, room, key, unfit)
            if place < 0:
                heapq.heappop(turns)
                if line.jobs:
                    passed.append(line)
                else:
                    self._close(line)
                continue
            job = line.jobs.popleft() if place == 0 else self._pick(line, place)
            self._left(line, job)
            if not batch:
                key = self._key(job)
            batch.append(job)
            room -= job.rows
            self._virtual = line.turn
            line.turn += max(1, job.rows)
            heapq.heappop(turns)
            if line.jobs:
                self._enter(line)
            else:
                self._close(line)
            if job.alone or not together:
                break
        for line in passed:
            self._enter(line)
        return batch

    def _place(
        self, line: _Line, batch: list[Job], room: int, key: Hashable, unfit: Callable[[Job], bool]
    ) -> int:
        """Where in the line the first job stands that fits the batch; -1 where none does."""
        jobs = line.jobs
        while jobs and unfit(jobs[0]):
            self._left(line, jobs.popleft())
        for place, job in enumerate(islice(jobs, _LOOK_AHEAD)):
            if not batch or (job.rows <= room and not job.alone and self._key(job) == key):
                return place
        return -1

    def _pick(self, line: _Line, place: int) -> Job:
        job = line.jobs[place]
        del line.jobs[place]
        return job

    def _left(self, line: _Line, job: Job) -> None:
        line.rows -= job.rows
        self.rows -= job.rows
        self.jobs -= 1

    def _enter(self, line: _Line) -> None:
        self._count += 1
        heapq.heappush(self._turns, (line.turn, self._count, line))

    def _close(self, line: _Line) -> None:
        del self._lines[line.caller]
        if self._longest is line:
            self._longest = None

"""kill -9 of the control process while clients send feedback: the second half of the proof `feedback`."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from seaway.client.control import ControlClient
from seaway.core.errors import TemporaryError
from seaway.core.feedback import FeedbackAnswer
from seaway.monitor.feedback import schema as outcomes_schema

LINES = "application/x-ndjson"


class Control:
    """A control process on a home of its own."""

    def __init__(self, home: Path) -> None:
        self.home, self.client = home, ControlClient(home / "control.sock")
        self.log = home / "control.log"
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        words = [sys.executable, "-m", "seaway.wiring.control", "--home", str(self.home)]
        with self.log.open("ab") as log:
            return subprocess.Popen([*words, "--parent", str(os.getpid())], stdout=log, stderr=log)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process = self._start()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(300) == 0, self.log.read_text()

    def send(self, body: bytes) -> FeedbackAnswer:
        """Until it is acknowledged."""
        end = time.monotonic() + 300
        while True:
            try:
                return self.client.feedback(body, LINES)
            except TemporaryError:
                assert time.monotonic() < end, self.log.read_text()
                time.sleep(0.02)


@contextlib.contextmanager
def running(home: Path) -> Iterator[Control]:
    control = Control(home)
    try:
        yield control
        control.stop()
    finally:
        control.process.kill()
        control.process.wait()


class Killed:
    """kill -9 of the control process while four clients send."""

    def __init__(self, home: Path, kills: int) -> None:
        self.home, self.kills = home, kills
        self.chance = random.Random(20261122)
        self.acknowledged: list[int] = []
        self.numbers = iter(range(10**9))
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self.ack_s: list[float] = []
        self.rows_per_body = 20

    def run(self) -> dict[str, Any]:
        with running(self.home) as control:
            control.send(self.body(-1))
            clients = [threading.Thread(target=self.sending, args=(control,)) for _ in range(4)]
            for client in clients:
                client.start()
            doubled = 0
            for _ in range(self.kills):
                before = len(self.acknowledged)
                end = time.monotonic() + 300
                while len(self.acknowledged) < before + 20:
                    assert time.monotonic() < end, control.log.read_text()
                    time.sleep(0.005)
                time.sleep(self.chance.random() * 0.2)
                control.kill()
                doubled += self.check_after_kill(control)
            self.stopping.set()
            for client in clients:
                client.join(600)
                assert not client.is_alive()
            total = self.recount()
        return {
            "kills": self.kills,
            "bodies_acknowledged": len(self.acknowledged),
            "rows_counted_at_the_end": total,
            "bodies_sent_again_and_found_kept": doubled,
            "acknowledged_in_ms_p50": round(statistics.median(self.ack_s) * 1e3, 1),
            "acknowledged_in_ms_p99": round(sorted(self.ack_s)[int(len(self.ack_s) * 0.99)] * 1e3, 1),
        }

    def body(self, number: int) -> bytes:
        rows: Sequence[dict[str, Any]] = [
            {"request_id": f"b{number}", "row": row, "outcome": row % 2} for row in range(self.rows_per_body)
        ]
        return b"\n".join(map(msgspec.json.encode, rows))

    def sending(self, control: Control) -> None:
        while not self.stopping.is_set():
            with self.lock:
                number = next(self.numbers)
            started = time.monotonic()
            answer = control.send(self.body(number))
            # Where a kill took the answer but not the rows, sending again finds them all, never some.
            assert (answer.accepted, answer.duplicates) in ((20, 0), (0, 20)), answer
            with self.lock:
                self.acknowledged.append(number)
                self.ack_s.append(time.monotonic() - started)

    def check_after_kill(self, control: Control) -> int:
        """What was acknowledged before the kill is known to the next process: sent again, it is a duplicate."""
        with self.lock:
            recent = self.acknowledged[-30:]
            some = sorted({*recent[-10:], *self.chance.sample(self.acknowledged, 10)})
        for number in some:
            answer = control.send(self.body(number))
            assert (answer.accepted, answer.duplicates) == (0, 20), (number, answer)
        return len(some)

    def recount(self) -> int:
        """Each acknowledged row stands there exactly once, and nothing that was never sent does."""
        path = outcomes_schema.path_of(self.home / "records")
        with contextlib.closing(sqlite3.connect(path, timeout=60)) as connection:
            counted = connection.execute(
                "SELECT request_id, COUNT(*), COUNT(DISTINCT row) FROM facts GROUP BY request_id"
            ).fetchall()
            assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        expected = {f"b{number}" for number in (*self.acknowledged, -1)}
        assert {one[0] for one in counted} == expected
        assert all(one[1:] == (20, 20) for one in counted)
        return 20 * len(counted)

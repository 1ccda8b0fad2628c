"""kill -9 of the control process, a worker, the supervisor and `seaway package`, spread evenly inside operations.

Each kill falls at a chosen share of a running operation's usual time. After it, everything must come back: what was
acknowledged is there, nothing is half done, every stored byte matches its digest, and the endpoint answers with the
revision that the state says is live.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import re
import select
import signal
import statistics
import subprocess
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from seaway import sockets
from seaway.client.control import ControlClient
from seaway.core.deployments import Phase, Revision
from seaway.core.errors import SeawayError
from server import PATIENT, Seaway, linear_model

KILLS = 200
PHASES = 10
VICTIMS = ("control", "worker", "supervisor", "package")


def measure(scale: float) -> dict[str, Any]:
    """Kill, check, count. Raises `AssertionError` at the first thing lost, half done or damaged."""
    per_victim = max(1, round(KILLS * scale / len(VICTIMS)))
    chance = random.Random(20261122)
    figures: dict[str, Any] = {"kills": 0, "histogram": {}, "acknowledged_operations": 0}
    with tempfile.TemporaryDirectory(prefix="seaway-kills-") as work:
        home = Path(work)
        trial = Trial(home, chance)
        trial.seaway.limits = PATIENT if scale < 1 else {}
        trial.prepare()
        try:
            for victim in VICTIMS:
                histogram = trial.rounds(victim, per_victim)
                figures["histogram"][victim] = histogram
                figures["kills"] += sum(histogram)
        finally:
            trial.finish()
        figures |= trial.figures()
    return figures


def _kill(pid: int) -> None:
    """SIGKILL, and wait until the process is gone: it may answer one more request while it dies."""
    descriptor = os.pidfd_open(pid)
    try:
        os.kill(pid, signal.SIGKILL)
        assert select.select([descriptor], [], [], 100)[0], f"process {pid} outlives SIGKILL"
    finally:
        os.close(descriptor)


class Prober(threading.Thread):
    """Asks without a pause, each time on a connection of its own, and keeps what failed with the time."""

    def __init__(self, seaway: Seaway, answers: dict[str, list[float]]) -> None:
        super().__init__(daemon=True)
        self.seaway, self.answers = seaway, answers
        self.asked, self.stopping = 0, threading.Event()
        self.failures: list[tuple[float, str]] = []
        self.wrong: list[str] = []

    def run(self) -> None:
        while not self.stopping.is_set():
            began = time.monotonic()
            self.asked += 1
            try:
                status, headers, body = self.seaway.predict("linear", [[1.0, 1.0]])
            except (OSError, http.client.HTTPException) as error:
                self.failures.append((began, repr(error)))
                continue
            if status != 200:
                self.failures.append((began, f"{status} {body[:200]!r}"))
            elif json.loads(body)["predictions"] != self.answers.get(headers["seaway-digest"]):
                self.wrong.append(f"{headers} {body[:200]!r}")
            time.sleep(0.005)


class Trial:
    """One home and one server through all kills."""

    def __init__(self, home: Path, chance: random.Random) -> None:
        self.seaway = Seaway(home)
        self.home, self.chance = home, chance
        self.control = ControlClient(home / "control.sock")
        self.acknowledged = 0
        self.lost: list[str] = []
        self.half_done: list[str] = []
        self.requests_failed: Counter[str] = Counter()
        self.packaged: set[str] = set()
        self.answers: dict[str, list[float]] = {}
        self.serial = 0
        self.usual: dict[str, float] = {}
        self.recovery_s: dict[str, list[float]] = {}

    def prepare(self) -> None:
        """Two versions, a running server with two workers, v1 live, and how long each operation usually takes."""
        for number, factor in ((1, 2.0), (2, 3.0)):
            model = linear_model(self.home / f"linear-{number}.onnx", factor)
            self.seaway.run("package", str(model), "--name", "linear", "--no-lock")
        digests = [version["digest"] for version in self.seaway.json("versions", "linear")]
        self.answers = dict(zip(digests, ([4.0], [6.0]), strict=True))
        self.seaway.launch(workers=2)
        self.seaway.deploy_first("linear", "linear:v1")
        for words in (self._switch_words, self._switch_words, self._package_words) * 3:
            self._timed(words())
        self.prober = Prober(self.seaway, self.answers)
        self.prober.start()

    def _timed(self, words: list[str]) -> None:
        began = time.monotonic()
        self.seaway.run(*words)
        self.usual[words[0]] = max(self.usual.get(words[0], 0.0), time.monotonic() - began)
        self._note_acknowledged(words)

    def _switch_words(self) -> list[str]:
        """Deploy and roll back by turns: v2 over v1, and back to v1."""
        return ["rollback", "linear"] if self._live().ref == "linear:v2" else ["deploy", "linear:v2"]

    def _package_words(self) -> list[str]:
        """Package a model of 16 MB that was never packaged before."""
        self.serial += 1
        path = linear_model(self.home / "big.onnx", float(self.serial))
        model = onnx.load(path)
        ballast = np.random.default_rng(self.serial).random(4_000_000, dtype=np.float32)
        model.graph.initializer.append(numpy_helper.from_array(ballast, "ballast"))
        onnx.save(model, path)
        return ["package", str(path), "--name", "big", "--no-lock"]

    def _live(self) -> Revision:
        found = next(e for e in self.control.status().endpoints if e.endpoint == "linear").live_revision
        assert found is not None
        return found

    def rounds(self, victim: str, count: int) -> list[int]:
        """`count` kills of one victim, one in each of `count` equal slices of the operation; how many per phase."""
        phases = min(PHASES, count)
        histogram = [0] * phases
        operation = "package" if victim == "package" else "switch"
        for index in range(count):
            share = (index + self.chance.random()) / count
            # An operation that ended before its kill was quicker than usual: that kill proves nothing, so again.
            while not self._kill_once(victim, operation, share):
                pass
            histogram[min(phases - 1, int(share * phases))] += 1
        assert all(histogram), f"a phase without a kill: {victim} {histogram}"
        return histogram

    def _kill_once(self, victim: str, operation: str, share: float) -> bool:
        words = self._package_words() if operation == "package" else self._switch_words()
        before = len(self.prober.failures)
        began = time.monotonic()
        process = self.seaway.start(*words)
        try:
            process.wait(self.usual[words[0]] * share)
            hit = False
            # Quicker than usual: the next kill of this verb is timed by what was seen now.
            self.usual[words[0]] = (self.usual[words[0]] + time.monotonic() - began) / 2
        except subprocess.TimeoutExpired:
            hit = True
        pid = process.pid if victim == "package" else self._pid_of(victim)
        if hit:
            _kill(pid)
        killed = time.monotonic()
        if victim == "supervisor" and hit:
            assert self.seaway.process is not None
            self.seaway.process.wait()
            self.seaway.launch(workers=2)
        code = process.wait(timeout=600)
        self._recover(victim)
        if hit:
            self.recovery_s.setdefault(victim, []).append(time.monotonic() - killed)
        if code == 0:
            self._note_acknowledged(words)
        self._check(words, code)
        failed = self.prober.failures[before:]
        self.requests_failed[victim] += len(failed)
        if victim != "worker":
            assert not failed, f"requests failed although only the {victim} was killed: {failed[:3]}"
        else:
            assert len(failed) <= 2, f"more requests failed than were in flight: {failed}"
        assert not self.prober.wrong, self.prober.wrong[:3]
        assert self.prober.is_alive(), "nobody asks any more"
        return hit

    def _pid_of(self, victim: str) -> int:
        record = json.loads((self.home / "run" / "supervisor.json").read_text())
        if victim == "supervisor":
            return int(record["pid"])
        if victim == "control":
            return int(record["control"])
        return int(self.chance.choice(record["workers"]))

    def _recover(self, victim: str) -> None:
        """Until all processes answer and no endpoint is on its way."""
        self.seaway.wait_until(self._settled, 300, f"not settled after the kill of the {victim}")

    def _settled(self) -> bool:
        if not self.seaway.alive() or not self._own_control():
            return False
        try:
            status = self.control.status()
        except SeawayError:
            return False
        record = json.loads((self.home / "run" / "supervisor.json").read_text())
        return (
            # What control says of the workers is up to a second old: one that was killed may still be in it.
            sorted(worker.pid for worker in status.workers) == sorted(pid or 0 for pid in record["workers"])
            and all(Path(f"/proc/{pid}").exists() for pid in record["workers"])
            and all(worker.ready for worker in status.workers)
            and all(endpoint.phase is Phase.LIVE for endpoint in status.endpoints)
        )

    def _own_control(self) -> bool:
        """Whether it is this supervisor's control process that answers, not one that is on its way out."""
        record = json.loads((self.home / "run" / "supervisor.json").read_text())
        try:
            with sockets.connect_unix(self.home / "control.sock", 1.0) as connection:
                return record["control"] == sockets.peer_pid(connection)
        except OSError:
            return False

    def _note_acknowledged(self, words: list[str]) -> None:
        self.acknowledged += 1
        if words[0] == "package":
            self.packaged.add(self.seaway.json("versions", "big")[-1]["digest"])

    def _check(self, words: list[str], code: int) -> None:
        """Everything acknowledged is there, whole; the endpoint answers as the state says."""
        live = self._live()
        if code == 0 and words[0] == "deploy" and live.ref != words[1]:
            self.lost.append(f"{words} was acknowledged, but {live} is live")
        right = {"seaway-revision": str(live.number), "seaway-digest": live.digest}
        answer = self.answers[live.digest]
        deadline = time.monotonic() + 60
        while True:
            status, headers, body = self.seaway.predict("linear", [[1.0, 1.0]])
            given = {key: headers.get(key) for key in right}
            if status == 200 and given == right and json.loads(body)["predictions"] == answer:
                break
            if time.monotonic() > deadline:
                self.half_done.append(f"{live} is live, but answered was {status} {headers} {body!r}")
                break
        if words[0] == "package":
            self._check_versions()

    def _check_versions(self) -> None:
        versions = self.seaway.json("versions", "big")
        numbers = [version["number"] for version in versions]
        if numbers != list(range(1, len(numbers) + 1)):
            self.half_done.append(f"versions with holes: {numbers}")
        gone = self.packaged - {version["digest"] for version in versions}
        self.lost += [f"the acknowledged version {digest} is gone" for digest in gone]
        self.seaway.run("verify", f"big:v{numbers[-1]}")

    def finish(self) -> None:
        """Stop the prober and the server."""
        self.prober.stopping.set()
        self.prober.join()
        self.seaway.stop()

    def figures(self) -> dict[str, Any]:
        """What is left to check at the end, and the figures."""
        problems = json.loads(self.seaway.run("verify", "--all", "--json"))["problems"]
        assert not problems, problems
        assert not self.lost, self.lost
        assert not self.half_done, self.half_done
        history = self.seaway.json("history", "linear")
        numbers = [event["seq"] for event in history]
        assert numbers == sorted(numbers)
        leftovers = [p.name for p in (self.home / "models").rglob("*") if re.search(r"\.(tmp|part)", p.name)]
        return {
            "acknowledged_operations": self.acknowledged,
            "acknowledged_operations_lost": len(self.lost),
            "half_done_states": len(self.half_done),
            "digest_violations": len(problems),
            "requests_during_kills": self.prober.asked,
            "requests_failed_by_victim": dict(self.requests_failed),
            "temporary_files_left_for_the_next_cleaning": len(leftovers),
            "usual_operation_s": {name: round(value, 2) for name, value in self.usual.items()},
            "back_after_kill_s": {
                victim: {"median": round(statistics.median(found), 2), "max": round(max(found), 2)}
                for victim, found in self.recovery_s.items()
            },
        }

"""kill -9 of the control process at random points of rollouts: each goes on or goes back, and none is left half done.

Several endpoints run rollouts without a pause, of good candidates and of bad ones, while the control process is killed
again and again; the log of events must then tell one whole story for each rollout.
"""

from __future__ import annotations

import functools
import json
import os
import random
import select
import signal
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

import rollout_models
from rollout_server import ENDS, Endless, RolloutServer
from seaway.core.errors import SeawayError
from seaway.core.events import Event
from seaway.core.rollouts.state import RolloutPhase
from seaway.testing import load
from server import JUDGED

KILLS: Final = 500
ENDPOINTS: Final = 4
PER_S: Final = 60.0
_STEPS: Final = (20.0, 50.0, 100.0)
_ROLLOUT: Final = {
    "steps": ["20%", "50%", "100%"],
    "hold": "1s",
    "bake": "1s",
    "warmup": "0s",
    "fallback": "none",
    "checks": [{"check": "errors", "harm": "100%", "plus": "15%"}],
    "inconclusive": {"after": "5m"},
}
_ENDED: Final = {
    "rollout_promoted": RolloutPhase.PROMOTED,
    "rollout_rolled_back": RolloutPhase.ROLLED_BACK,
}


def measure(scale: float) -> dict[str, Any]:
    """Kills, rollouts, and what became of each; raises `AssertionError` where one is half done, lost or wrong."""
    kills, chance = max(4, round(KILLS * scale)), random.Random(20261122)
    with tempfile.TemporaryDirectory(prefix="seaway-rollout-kills-") as work:
        server = RolloutServer(Path(work))
        server.limits = JUDGED if scale < 1 else {}
        server.package(rollout_models.work(Path(work) / "good.onnx", 2.0, 1), "good")
        server.package(rollout_models.nan(Path(work) / "bad.onnx"), "bad")
        with server.up(workers=2):
            return _drive(server, kills, chance)


def _drive(server: RolloutServer, kills: int, chance: random.Random) -> dict[str, Any]:
    names = [f"e{number}" for number in range(ENDPOINTS)]
    for name in names:
        server.deploy(name, "good:v1")
        server.live(name, 1)
    stopping = threading.Event()
    loads = [
        Endless(
            load.Load(
                "127.0.0.1",
                server.port,
                functools.partial(_request, server, name),
                1,
                PER_S,
                8,
                timeout_s=100,
                seed=place,
            )
        )
        for place, name in enumerate(names)
    ]
    lines = [_Line(server, name, stopping) for name in names]
    for thread in (*loads, *lines):
        thread.start()
    phases: Counter[str] = Counter()
    for _ in range(kills):
        server.wait_until(server.control_alive, 300, "the control process did not come back")
        time.sleep(chance.uniform(0.0, 3.0))
        for line in lines:
            phases[line.doing] += 1
        _kill(server)
    stopping.set()
    for line in lines:
        line.join()
    failures = [failure for line in lines for failure in line.failures]
    assert not failures, failures
    answered = [outcome for one in loads for _, outcome in one.finish()]
    failed = [outcome for outcome in answered if outcome.failure is not None]
    assert not failed, failed[:5]
    ends = Counter(phase for line in lines for phase in line.ends)
    for line in lines:
        _check_story(server.control.history(line.endpoint), line)
    assert ends["good promoted"] and (kills < 50 or ends["bad rolled_back"]), ends
    return {
        "kills": kills,
        "kills_while": dict(phases),
        "rollouts": sum(ends.values()),
        "ends": dict(ends),
        "rollouts_half_done": 0,
        "requests": len(answered),
        "failed_requests": len(failed),
        "workers": 2,
        "endpoints_at_once": ENDPOINTS,
    }


def _kill(server: RolloutServer) -> None:
    """SIGKILL, and wait until the process is gone."""
    record = json.loads((server.home / "run" / "supervisor.json").read_text())
    log = (server.home / "up.log").read_text("utf-8", "replace")[-2000:]
    assert record["control"] is not None, f"the control process ended by itself\n{log}"
    descriptor = os.pidfd_open(int(record["control"]))
    try:
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        assert select.select([descriptor], [], [], 100)[0], "the control process outlives SIGKILL"
    finally:
        os.close(descriptor)


class _Line(threading.Thread):
    """One rollout after the other on one endpoint; every third candidate is bad."""

    def __init__(self, server: RolloutServer, endpoint: str, stopping: threading.Event) -> None:
        super().__init__(daemon=True)
        self.server, self.endpoint, self.stopping = server, endpoint, stopping
        self.doing = "nothing"
        self.ends: list[str] = []
        self.candidates: dict[int, tuple[str, RolloutPhase]] = {}
        self.failures: list[str] = []

    def run(self) -> None:
        turn = 0
        try:
            while not self.stopping.is_set():
                turn += 1
                self._one("bad" if turn % 3 == 0 else "good", turn)
        except Exception as error:
            self.failures.append(f"{self.endpoint}: {error!r}"[:2000])

    def _one(self, kind: str, turn: int) -> None:
        self.doing = "deploying"
        number = self._deploy(kind, turn)
        deadline = time.monotonic() + 900
        while True:
            try:
                state = self.server.rollout(self.endpoint)
            except SeawayError:
                state = None
            if state is not None and state.candidate == number:
                self.doing = f"{state.phase} at {state.percent:g} %"
                if state.phase in ENDS:
                    break
            assert time.monotonic() < deadline, f"{number} ({kind}) has no end: {state}"
            time.sleep(0.1)
        self.candidates[number] = (kind, state.phase)
        self.ends.append(f"{kind} {state.phase}")
        assert (kind, state.phase) != ("bad", RolloutPhase.PROMOTED), f"a bad candidate was promoted: {state}"

    def _deploy(self, kind: str, turn: int) -> int:
        """Until it is accepted: the kill may fall before, in, or after the answer, so the labels tell what was stored."""
        labels = {"turn": str(turn)}
        deadline = time.monotonic() + 300
        while True:
            try:
                accepted = self.server.deploy(self.endpoint, f"{kind}:v1", _ROLLOUT, labels=labels)
                assert accepted.revision is not None
                return accepted.revision
            except SeawayError as error:
                assert time.monotonic() < deadline, error
                time.sleep(0.1)


def _request(server: RolloutServer, endpoint: str, index: int) -> bytes:
    tensor = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [float(index % 100), 1.0]}
    body = json.dumps({"inputs": [tensor]}).encode()
    return load.post(f"/v2/models/{endpoint}/infer", f"127.0.0.1:{server.port}", body)


def _check_story(events: tuple[Event, ...], line: _Line) -> None:
    """Each rollout began once, took its steps in order, each once, and ended once, as its state says."""
    for number, (kind, phase) in line.candidates.items():
        own = [event for event in events if event.revision == number]
        kinds = [str(event.kind) for event in own]
        what = f"{line.endpoint}/{number} ({kind}): {kinds}"
        assert kinds.count("rollout_started") == 1, what
        steps = [float(event.details["percent"]) for event in own if event.kind == "rollout_stepped"]
        assert steps == list(_STEPS[: len(steps)]), f"{what}: {steps}"
        ended = [one for one in kinds if one in _ENDED]
        assert [_ENDED[one] for one in ended] == [phase], what
        if phase is RolloutPhase.PROMOTED:
            assert len(steps) == len(_STEPS), what

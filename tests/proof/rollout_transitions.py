"""No request is lost in any transition of a rollout: open-loop load over REST, gRPC and a stream while traffic moves.

Steps, promotions, aborts, rollbacks, blue/green switches, changes of settings, and workers that are killed. Only where a
worker is killed may a call be sent again, once, as a client does with a call that may be repeated.
"""

from __future__ import annotations

import json
import os
import random
import tempfile
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import rollout_models
import rollout_traffic
from rollout_server import RolloutServer, Sender
from seaway.core.errors import SeawayError
from seaway.core.rollouts.state import RolloutPhase
from seaway.testing import load
from server import PATIENT

REQUESTS: Final = 110_000
TRANSITIONS: Final = 210
PER_S: Final = 250.0
_CANARY: Final = {
    "steps": ["5%", "50%", "100%"],
    "hold": "1s",
    "bake": "30s",
    "checks": [],
    "inconclusive": {"after": "10m"},
}
_BLUE_GREEN: Final = {"steps": ["0%", "100%"], "hold": "1s", "bake": "30s", "checks": []}
_FACTORS: Final = {"one:v1": 2.0, "two:v1": 3.0}


def measure(scale: float) -> dict[str, Any]:
    """Requests and transitions; raises `AssertionError` where a request fails, or an answer does not fit its revision."""
    requests, transitions = max(2_000, round(REQUESTS * scale)), max(8, round(TRANSITIONS * scale))
    with tempfile.TemporaryDirectory(prefix="seaway-transitions-") as work:
        server = RolloutServer(Path(work))
        server.limits = PATIENT if scale < 1 else {}
        for ref, factor in _FACTORS.items():
            name = ref.partition(":")[0]
            server.package(rollout_models.work(Path(work) / f"{name}.onnx", factor, 1), name)
        rollout_traffic.package_steps(server, Path(work))
        with server.up(2, "--grpc", f"127.0.0.1:{server.grpc_port}"):
            server.deploy("linear", "one:v1")
            server.live("linear", 1)
            server.deploy("counting", "counting:v1")
            server.live("counting", 1)
            return _Run(server, requests).drive(transitions)


class _Run:
    """One load, and the transitions meanwhile."""

    def __init__(self, server: RolloutServer, requests: int) -> None:
        self.server = server
        self.answers: dict[int, tuple[str, float]] = {}
        self.chance = random.Random(20261122)
        self.done: Counter[str] = Counter()
        self.turn = 0
        self.sender = Sender(
            load.Load(
                "127.0.0.1",
                server.port,
                self._request,
                requests,
                PER_S,
                connections=24,
                timeout_s=100,
                seed=20261122,
                accept=self._accept,
                resends=1,
            )
        )
        self.grpc = rollout_traffic.GrpcCalls(server, _FACTORS)
        self.stream = rollout_traffic.Streams(server)

    def drive(self, transitions: int) -> dict[str, Any]:
        threads: list[threading.Thread] = [self.sender, self.grpc, self.stream]
        for thread in threads:
            thread.start()
        stories: tuple[Callable[[], None], ...] = (
            self._canary,
            self._aborted,
            self._blue_green,
            self._rolled_back,
            self._settings,
            self._killed,
            self._streamed,
        )
        number = 0
        while sum(self.done.values()) < transitions or number < len(stories):
            stories[number % len(stories)]()
            number += 1
        while self.sender.is_alive():  # the load is longer than what was asked for: go on as long as it lasts
            stories[number % len(stories)]()
            number += 1
        result = self.sender.finish()
        for other in (self.grpc, self.stream):
            other.stopping.set()
            other.join()
        return self._figures(result)

    def _canary(self) -> None:
        """5 %, 50 %, 100 % by themselves."""
        number = self._deploy(_CANARY)
        self._wait(number, RolloutPhase.BAKING)
        self.done["step"] += 2
        self.done["promotion"] += 1

    def _aborted(self) -> None:
        """A canary that a person stops at a share of his own."""
        number = self._deploy(_CANARY)
        self._wait_for(lambda: self._state(number).percent == 5.0, f"{number} took no step")
        self.server.run("traffic", "linear", "30%")
        self._wait_for(lambda: self._state(number).since_s is not None, f"{number} has no 30 %")
        self.server.run("abort", "linear")
        self._wait(number, RolloutPhase.ABORTED)
        self._back()
        self.done["step"] += 1
        self.done["share by hand"] += 1
        self.done["abort"] += 1

    def _blue_green(self) -> None:
        number = self._deploy(_BLUE_GREEN)
        self._wait(number, RolloutPhase.BAKING)
        self.done["switch"] += 1

    def _rolled_back(self) -> None:
        """What was promoted goes back while it bakes."""
        self.server.run("rollback", "linear")
        self._back()
        self.done["rollback"] += 1

    def _settings(self) -> None:
        """The same version with another limit."""
        self.turn += 1
        self.server.deploy(
            "linear",
            self._ref(),
            {"bake": "30s"},
            limits={
                **self.server.limits,
                "deadline": f"{(55 if self.server.limits else 5) + self.turn % 5}s",
            },
        )
        self._back()
        self.done["change of settings"] += 1

    def _killed(self) -> None:
        """kill -9 of a worker in the middle of a canary, which goes on."""
        number = self._deploy(_CANARY)
        self._wait_for(lambda: self._state(number).percent >= 5.0, f"{number} took no step")
        record = json.loads((self.server.home / "run" / "supervisor.json").read_text())
        os.kill(self.chance.choice(record["workers"]), 9)
        self.server.wait_until(lambda: self._state(number).phase is not RolloutPhase.RUNNING, 300, "no end")
        self._back()
        self.done["worker killed"] += 1
        self.done["step"] += 1

    def _streamed(self) -> None:
        """The model that answers by streams moves to its next revision while streams run."""
        self.turn += 1
        number = self.server.deploy(
            "counting", "counting:v1", _CANARY, labels={"turn": str(self.turn)}
        ).revision
        self.server.wait_until(
            lambda: (
                (s := self.server.rollout("counting")) is not None
                and s.candidate == number
                and s.phase not in (RolloutPhase.WAITING, RolloutPhase.RUNNING)
            ),
            300,
            "the streaming model has no end of its rollout",
        )
        self.done["step of a stream"] += 3

    def _deploy(self, rollout: dict[str, object]) -> int:
        self.turn += 1
        other = "two:v1" if self._ref() == "one:v1" else "one:v1"
        accepted = self.server.deploy("linear", other, rollout, labels={"turn": str(self.turn)})
        assert accepted.revision is not None
        return accepted.revision

    def _ref(self) -> str:
        found = self.server.state("linear").live_revision
        assert found is not None
        return found.ref

    def _state(self, candidate: int) -> Any:
        found = self.server.rollout("linear")
        assert found is not None and found.candidate == candidate, (found, candidate)
        return found

    def _wait(self, candidate: int, phase: RolloutPhase) -> None:
        self._wait_for(lambda: self._state(candidate).phase is phase, f"{candidate} is not {phase}")

    def _wait_for(self, condition: Callable[[], bool], what: str) -> None:
        def there() -> bool:
            try:
                return condition()
            except SeawayError:
                return False

        self.server.wait_until(there, 300, what)

    def _back(self) -> None:
        self.server.wait_until(lambda: self.server.state("linear").phase == "live", 300, "nothing is live")

    def _accept(self, index: int, body: bytes) -> bool:
        answer = json.loads(body)
        self.answers[index] = (answer["model_version"], answer["outputs"][0]["data"][0])
        return True

    def _request(self, index: int) -> bytes:
        tensor = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [float(index % 1000), 1.0]}
        body = json.dumps({"inputs": [tensor]}).encode()
        return load.post("/v2/models/linear/infer", f"127.0.0.1:{self.server.port}", body)

    def _figures(self, result: load.LoadResult) -> dict[str, Any]:
        refs = {
            str(event.revision): event.ref
            for event in self.server.control.history("linear")
            if event.kind == "deploy_requested"
        }
        wrong = [
            (index, answer)
            for index, answer in self.answers.items()
            if answer[1] != _FACTORS[refs[answer[0]] or ""] * (index % 1000 + 1)
        ]
        assert not result.failed, [str(outcome) for outcome in result.failed[:5]]
        assert not wrong, wrong[:5]
        assert not self.grpc.failures, self.grpc.failures[:5]
        assert not self.stream.failures, self.stream.failures[:5]
        resent = sum(outcome.attempts > 1 for outcome in result.outcomes)
        assert resent <= 48 * self.done["worker killed"], resent
        return {
            "requests": len(result.outcomes),
            "grpc_calls": self.grpc.calls,
            "streams": self.stream.streams,
            "transitions": sum(self.done.values()),
            "of_them": dict(self.done),
            "failed_requests": 0,
            "answers_that_do_not_fit_their_revision": 0,
            "sent_again_after_a_killed_worker": resent + self.grpc.resent + self.stream.resent,
            "revisions_that_answered": len({revision for revision, _ in self.answers.values()}),
            "latency_from_due_ms": {f"p{q}": round(result.latency_s(q / 100) * 1000, 2) for q in (50, 99)},
            "longest_stall_ms": round(result.max_stall_s * 1000, 1),
            "workers": 2,
        }

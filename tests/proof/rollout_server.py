"""A real `seaway up` whose rollouts are driven and followed by its control API, for the proofs of rollouts."""

from __future__ import annotations

import datetime
import json
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from seaway.client.control import ControlClient
from seaway.control import views
from seaway.core.deployments import Deployment, Phase
from seaway.core.events import Event
from seaway.core.rollouts.state import RolloutPhase, RolloutState
from seaway.testing import load
from server import Seaway, free_port

ENDS = (RolloutPhase.PROMOTED, RolloutPhase.ROLLED_BACK, RolloutPhase.ABORTED, RolloutPhase.SUPERSEDED)


class RolloutServer(Seaway):
    """One home, and the moves of its rollouts."""

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self.control = ControlClient(home / "control.sock")
        self.grpc_port = free_port()

    def package(self, path: Path, name: str) -> None:
        self.run("package", str(path), "--name", name, "--no-lock")

    def deploy(
        self, endpoint: str, ref: str, rollout: Mapping[str, object] | None = None, **more: object
    ) -> views.Accepted:
        """Put a version behind an endpoint with this section `rollout`; its gate may fail: that is not what is proved."""
        document = {
            "version": 1,
            "endpoint": endpoint,
            "serve": {"bundle": ref},
            "rollout": dict(rollout or {}),
            "limits": self.limits,
            **more,
        }
        spec = msgspec.convert(document, Deployment)
        return self.control.deploy(endpoint, views.DeployRequest(spec=spec, override="a proof"))

    def state(self, endpoint: str) -> views.EndpointStatus:
        return next(e for e in self.control.status().endpoints if e.endpoint == endpoint)

    def rollout(self, endpoint: str) -> RolloutState | None:
        """The endpoint's last rollout."""
        return self.state(endpoint).rollout

    def live(self, endpoint: str, number: int | None, seconds: float = 300) -> None:
        """Wait until this revision is live and nothing is on its way."""

        def there() -> bool:
            found = self.state(endpoint)
            return found.phase is Phase.LIVE and found.live == number

        self.wait_until(there, seconds, f"{endpoint}: revision {number} is not live")

    def ended(self, endpoint: str, candidate: int | None, seconds: float) -> RolloutState:
        """Wait for the end of a rollout."""
        self.wait_until(
            lambda: self._over(endpoint, candidate), seconds, f"{endpoint}/{candidate} has no end"
        )
        found = self.rollout(endpoint)
        assert found is not None
        return found

    def _over(self, endpoint: str, candidate: int | None) -> bool:
        found = self.rollout(endpoint)
        return found is not None and found.candidate == candidate and found.phase in ENDS

    def event(self, endpoint: str, kind: str, revision: int | None) -> Event:
        """The newest such event of a revision."""
        return [e for e in self.control.history(endpoint) if e.kind == kind and e.revision == revision][-1]

    def judgement(self, endpoint: str) -> dict[str, Any] | None:
        """What all checks say now; None before the first look."""
        found: dict[str, Any] = json.loads(self.run("rollout", endpoint, "--json"))
        return found["judgement"]


def epoch_s(event: Event) -> float:
    """When an event happened, in seconds since 1970."""
    return datetime.datetime.fromisoformat(event.at).timestamp()


class Sender(threading.Thread):
    """One open-loop load in the background."""

    def __init__(self, work: load.Load) -> None:
        super().__init__(daemon=True)
        self.work = work
        self.result: load.LoadResult | None = None

    def run(self) -> None:
        self.result = load.run(self.work)

    def finish(self) -> load.LoadResult:
        """Wait for the last answer."""
        self.join()
        assert self.result is not None
        return self.result


class Endless(threading.Thread):
    """An open-loop load in pieces of two seconds, until it is told to stop.

    `answered` holds each outcome with the time of its answer, in seconds since 1970; indices go on from piece to piece.
    """

    PIECE_S = 2.0

    def __init__(self, work: load.Load) -> None:
        """`work` says what to send and how fast; its `count` is not looked at."""
        super().__init__(daemon=True)
        self.work = work
        self.stopping = threading.Event()
        self.answered: list[tuple[float, load.Outcome]] = []

    def run(self) -> None:
        count = max(1, round(self.PIECE_S * self.work.rate_per_s))
        piece = 0
        while not self.stopping.is_set():
            began_s = time.time()
            found = load.run(self._piece(piece * count, count, self.work.seed + piece))
            self.answered += [(began_s + outcome.done_s, outcome) for outcome in found.outcomes]
            piece += 1

    def _piece(self, first: int, count: int, seed: int) -> load.Load:
        request, accept = self.work.request, self.work.accept
        return msgspec.structs.replace(
            self.work,
            count=count,
            seed=seed,
            request=lambda index: request(first + index),
            accept=lambda index, body: accept(first + index, body),
        )

    def finish(self) -> list[tuple[float, load.Outcome]]:
        """Stop after the piece that runs, and wait for its last answer."""
        self.stopping.set()
        self.join()
        return self.answered

"""A worker ends while a rollout runs: the candidate goes back where it did that for certain, and not for another's fault."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import control_process
import faulty_bundles
import msgspec
import pytest
from control_process import Server, until

from seaway.bundle import oci
from seaway.bundle.store import BundleStore
from seaway.control import views
from seaway.core.bundles import BundleFile, Digest, Manifest, Source, Task
from seaway.core.deployments import Backend, Deployment, LimitsSection
from seaway.core.rollouts.spec import Rollout
from seaway.core.rollouts.state import RolloutPhase, RolloutState
from seaway.testing.clock import VirtualClock
from seaway.wire import isolation
from seaway.wire.isolation import Isolated
from seaway.wire.worker_admin import LoadedRevision

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
SEGFAULT, SLEEP, TOIL, FINE = 1.0, 9.0, 12.0, 0.25
DEADLINE = "60s"


def _package(store: BundleStore, name: str, words: str) -> Digest:
    entry = words.encode()
    files = (BundleFile("model.txt", oci.sha256(entry), len(entry)),)
    manifest = Manifest(
        name, Task.OTHER, "model.txt", faulty_bundles.SIGNATURE, Source("faulty"), files, format="faulty"
    )
    version, _ = store.add({"model.txt": entry}, manifest)
    return version.digest


class Crashing:
    """A server with one worker: `prices`, whose second version is at half of its traffic, and `other`."""

    def __init__(self, home: Path) -> None:
        home.mkdir()
        store = BundleStore(home / "models", home / "opened", VirtualClock(1_800_000_000.0))
        _package(store, "prices", "stable")
        self.candidate = _package(store, "prices", "candidate")
        self.other = _package(store, "other", "other")
        self.server = Server(home, workers=1)

    def deploy(self, endpoint: str, bundle: str) -> None:
        spec = Deployment(1, endpoint, Backend(bundle=bundle), limits=LimitsSection(deadline=DEADLINE))
        asked = views.DeployRequest(spec=spec, override="its gate has nothing to go by")
        self.server.wait(self.server.client.deploy(endpoint, asked))

    def begin(self) -> None:
        self.deploy("prices", "prices:v1")
        self.deploy("other", "other:v1")
        rollout = Rollout(steps=("50%", "100%"), hold="10m", warmup="0s", checks=())
        limits = LimitsSection(deadline=DEADLINE)
        spec = Deployment(1, "prices", Backend(bundle="prices:v2"), limits=limits, rollout=rollout)
        asked = views.DeployRequest(spec=spec, override="its gate has nothing to go by")
        self.server.client.deploy("prices", asked)
        until(self.has_its_first_share)

    def has_its_first_share(self) -> bool:
        """Of one reading: the time of the preparation before it has a beginning too."""
        found = self.state
        return found.phase is RolloutPhase.RUNNING and found.step == 0 and found.since_s is not None

    @property
    def state(self) -> RolloutState:
        return self.server.client.rollout("prices").state

    def ask(self, path: str, value: float) -> tuple[int, Any]:
        """Raises `OSError` and `http.client.HTTPException` where the connection is cut."""
        connection = http.client.HTTPConnection(*self.server.address, timeout=120)
        try:
            body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [value]}]}
            head = {"content-type": "application/json"}
            connection.request("POST", f"/v2/models/{path}/infer", json.dumps(body), head)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def crash(self, path: str) -> None:
        """A request that ends the worker."""
        with pytest.raises((OSError, http.client.HTTPException)):
            self.ask(path, SEGFAULT)

    def listed(self) -> dict[Digest, Isolated]:
        return dict(isolation.read(self.server.run / isolation.FILE).models)

    def loaded(self) -> LoadedRevision | None:
        """The candidate in the worker."""
        workers = self.server.client.status().workers
        found = (one for worker in workers for one in worker.loaded)
        return next((one for one in found if (one.endpoint, one.number) == ("prices", 2)), None)

    def is_apart(self) -> bool:
        found = self.loaded()
        return found is not None and found.ready and found.isolated


@pytest.fixture
def crashing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Crashing]:
    monkeypatch.setattr(control_process, "ENVIRONMENT", faulty_bundles.environment())
    found = Crashing(tmp_path / "home")
    found.server.up()
    try:
        found.begin()
        yield found
    finally:
        found.server.clean()


@contextlib.contextmanager
def traffic(crashing: Crashing) -> Iterator[list[object]]:
    """Two callers that ask `prices` without a pause; what failed."""
    over = threading.Event()
    failed: list[object] = []

    def send() -> None:
        while not over.is_set():
            try:
                status, body = crashing.ask("prices", FINE)
            except (OSError, http.client.HTTPException) as error:
                failed.append(error)
            else:
                failed.extend([] if status == 200 else [body])

    threads = [threading.Thread(target=send) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield failed
    finally:
        over.set()
        for thread in threads:
            thread.join()


def test_f02_a_candidate_that_ends_a_worker_alone_is_rolled_back_within_seconds(crashing: Crashing) -> None:
    crashing.crash("prices/versions/2")
    until(lambda: crashing.state.phase is RolloutPhase.ROLLED_BACK)  # its step would take ten minutes
    assert crashing.state.cause == "floor" and "ended a worker" in str(crashing.state.why)
    assert crashing.listed()[crashing.candidate].alone == 1


def test_f02_a_candidate_that_ran_beside_a_crash_stays_until_it_crashes_itself(crashing: Crashing) -> None:
    for _ in range(3):
        crashing.ask("prices/versions/2", TOIL)  # from now on it runs on a thread, beside others

    def sleep() -> None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            crashing.ask("prices/versions/2", SLEEP)

    sleeper = threading.Thread(target=sleep)
    sleeper.start()
    until(lambda: (found := crashing.loaded()) is not None and found.in_flight > 0)
    with traffic(crashing):
        crashing.crash("other")
        sleeper.join()
        until(lambda: crashing.candidate in crashing.listed())
        # What has served for long stays in the shared worker until one ends without the candidate.
        assert {digest: known.alone for digest, known in crashing.listed().items()} == {crashing.candidate: 0}
        until(crashing.is_apart)
        until_s = time.monotonic() + 6
        while time.monotonic() < until_s:
            assert crashing.state.phase is RolloutPhase.RUNNING, crashing.state.why
            time.sleep(0.2)
        status, body = crashing.ask("prices/versions/2", SEGFAULT)
        assert (status, body["code"]) == (503, "engine_crashed")
        until(lambda: crashing.state.phase is RolloutPhase.ROLLED_BACK)
    assert crashing.state.cause == "floor" and "a process of its own since" in str(crashing.state.why)


def test_f02_a_worker_that_runs_on_moves_a_suspect_out_and_no_request_fails(crashing: Crashing) -> None:
    """Another worker ended while the candidate ran in it beside others."""
    (pid,) = crashing.server.worker_pids()
    with traffic(crashing) as failed:
        listed = isolation.IsolationList({crashing.candidate: Isolated(1, time.time())})
        (crashing.server.run / isolation.FILE).write_bytes(msgspec.json.encode(listed))
        os.kill(pid, signal.SIGUSR1)
        until(crashing.is_apart)
        until_s = time.monotonic() + 4
        while time.monotonic() < until_s:
            assert crashing.state.phase is RolloutPhase.RUNNING, crashing.state.why
            time.sleep(0.2)
    assert failed == []
    assert crashing.server.worker_pids() == [pid]

"""A control plane on fakes, and a client that calls its app without a network."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

import msgspec
from starlette.applications import Starlette

from seaway.control import api, auth, doors, routes
from seaway.control.bell import Bell
from seaway.control.deployments import Deployments
from seaway.control.effects import Effects
from seaway.control.rollouts.metrics import RolloutMetrics
from seaway.control.rollouts.requests import Rollouts
from seaway.control.workers import Workers
from seaway.core.bundles import Digest, Manifest, ModelRef, OpenedBundle, Source, Task, Version
from seaway.core.checks import CheckResult, GateReport, Verdict, overall
from seaway.core.errors import PermanentError, UserError
from seaway.core.tensors import Signature
from seaway.testing.clock import VirtualClock
from seaway.testing.state_store import MemoryStateStore
from seaway.wire import worker_admin

OWNER = auth.Principal("ada", auth.Role.OWNER)
STRANGER = auth.Principal("eve", auth.Role.STRANGER)


def digest_of(name: str, number: int) -> Digest:
    return Digest(f"sha256:{hashlib.sha256(f'{name}{number}'.encode()).hexdigest()}")


class FakeBundles:
    """Versions v1 to v9 of every model but `nothing`."""

    def resolve(self, ref: ModelRef) -> Version:
        for number in range(1, 10):
            digest = digest_of(ref.name, number)
            if ref.name != "nothing" and (ref.number == number or ref.digest == digest):
                return Version(ref.name, number, digest, 1, "2026-11-22T09:00:00Z")
        raise UserError("version_not_found", f"{ref} does not exist")

    def open(self, version: Version) -> OpenedBundle:
        manifest = Manifest(version.name, Task.OTHER, "m.onnx", Signature((), ()), Source("onnx"), ())
        there = str(Path(__file__).parent)
        return OpenedBundle(version.digest, manifest, there, str(version.ref), 1)


class DiskBundles(FakeBundles):
    """Bundles with directories that can go, or that cannot be made while `broken`."""

    def __init__(self, root: Path) -> None:
        self.root, self.broken, self.opens = root, False, 0
        self.may_open = threading.Event()
        self.may_open.set()

    def open(self, version: Version) -> OpenedBundle:
        self.opens += 1
        assert self.may_open.wait(60)
        if self.broken:
            raise PermanentError("digest_mismatch", "a blob is damaged")
        directory = self.root / version.digest
        directory.mkdir(parents=True, exist_ok=True)
        return msgspec.structs.replace(super().open(version), directory=str(directory))


class PatientWorkers(Workers):
    """Nobody counts as absent since the machine stood still for a second or two."""

    async def ask(self, slot: int, request: worker_admin.Request, timeout_s: float) -> worker_admin.Reply:
        return await super().ask(slot, request, max(timeout_s, 60.0))


class FakeGate:
    """Passes but for the versions in `verdicts`; remembers what it was asked."""

    def __init__(self) -> None:
        self.verdicts: dict[str, Verdict] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.before_answer = threading.Event()
        self.before_answer.set()
        self.arrived = threading.Semaphore(0)

    def __call__(self, version: Version, baseline: Version | None) -> GateReport:
        self.asked.append((str(version.ref), None if baseline is None else str(baseline.ref)))
        self.arrived.release()
        assert self.before_answer.wait(60)
        verdict = self.verdicts.get(str(version.ref), Verdict.PASSED)
        results = (
            CheckResult("loads", Verdict.PASSED, "it loads"),
            CheckResult("golden", verdict, "as it is"),
        )
        return GateReport(
            version.digest, str(version.ref), overall(r.verdict for r in results), results, "now"
        )


class Plane:
    """The use cases on fakes."""

    def __init__(self, records: Path = Path("/nonexistent")) -> None:
        self.records = records
        self.store = MemoryStateStore()
        self.clock = VirtualClock()
        self.gate = FakeGate()
        self.bundles = FakeBundles()
        self.woken = 0
        self.deployments = Deployments(
            self.store, self.bundles, self.gate, self.clock, self._wake, lambda *_: ()
        )
        self.rollouts = Rollouts(self.store, self.clock, self._wake, records / "rollouts")

    def _wake(self) -> None:
        self.woken += 1

    def kinds(self) -> list[str]:
        return [str(event.kind) for event in self.store.events()]


class Answer(msgspec.Struct):
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> dict[str, object]:
        return msgspec.json.decode(self.body, type=dict[str, object])


def call(
    plane: Plane,
    door: doors.Door,
    method: str,
    path: str,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    client: tuple[str, int] = ("0", 1),
) -> Answer:
    """One request to the API, on an event loop of its own."""

    async def run() -> Answer:
        with ThreadPoolExecutor(2) as deploying:
            app = make_app(plane, door, deploying)
            return await exchange(app, method, path, body, headers or {}, client)

    return asyncio.run(run())


def make_app(plane: Plane, door: doors.Door, deploying: Executor) -> Starlette:
    """The API of a plane without workers; made on the event loop that runs it."""
    bell, nowhere = Bell(), Path("/nonexistent")
    effects = Effects(plane.store, plane.bundles, Workers(nowhere), nowhere / "table", plane.clock, bell.ring)
    parts = routes.Parts(
        plane.deployments,
        plane.rollouts,
        effects,
        bell,
        deploying,
        plane.records,
        plane.clock,
        RolloutMetrics(plane.store, plane.records / "rollouts", plane.clock),
    )
    return api.create_app(parts, door)


async def exchange(
    app: Starlette, method: str, path: str, body: bytes, headers: Mapping[str, str], client: tuple[str, int]
) -> Answer:
    path, _, query = path.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(k.lower().encode(), v.encode()) for k, v in headers.items()],
        "client": client,
        "server": ("localhost", 80),
        "scheme": "http",
    }
    parts: list[bytes] = []
    start: dict[str, object] = {}

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, object]) -> None:
        if message["type"] == "http.response.start":
            start.update(message)
        else:
            parts.append(message.get("body", b""))  # type: ignore[arg-type]

    await app(scope, receive, send)  # type: ignore[arg-type]
    found = {k.decode(): v.decode() for k, v in start["headers"]}  # type: ignore[attr-defined]
    return Answer(int(start["status"]), found, b"".join(parts))  # type: ignore[call-overload]

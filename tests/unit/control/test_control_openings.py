"""While a very large bundle is opened, the control loop goes on: other endpoints are rolled back, and the server can stop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
from control_fakes import OWNER, FakeBundles, digest_of, exchange
from rollout_home import NAME, Home, home

from seaway.control import api, doors, routes, views
from seaway.control.openings import MOST
from seaway.control.rollouts import waiting
from seaway.control.rollouts.metrics import RolloutMetrics
from seaway.core.bundles import OpenedBundle, Version
from seaway.core.deployments import DeploymentState, Phase, deployment_of
from seaway.core.errors import PermanentError
from seaway.core.events import EventKind
from seaway.core.rollouts.state import RolloutPhase
from seaway.wire import worker_admin

LARGE = "costs:v7"
CANARY: dict[str, object] = {"steps": ["5%", "100%"], "hold": "10s", "checks": ["errors"], "bake": "0s"}


class LargeBundles(FakeBundles):
    """Bundles of which those in `large` are open only once `may_open` is set, or break then with `broken`."""

    def __init__(self, *large: str) -> None:
        self.large = large
        self.begun, self.may_open = threading.Event(), threading.Event()
        self.broken = False
        self.waited_in_vain = False

    def open(self, version: Version) -> OpenedBundle:
        if str(version.ref) in self.large:
            self.begun.set()
            self.waited_in_vain = not self.may_open.wait(60)
            assert not self.waited_in_vain
            if self.broken:
                raise PermanentError("digest_mismatch", "a blob is damaged")
        return super().open(version)


def _play(
    directory: Path, bundles: LargeBundles, scene: Callable[[Home], Coroutine[None, None, None]]
) -> None:
    """On a home whose control process begins anew, with these bundles; its loop runs."""

    async def run() -> None:
        async with home(directory) as found:
            found.bundles = bundles
            found.restart()
            running = asyncio.create_task(found.loop.run())
            try:
                await scene(found)
            finally:
                running.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await running

    try:
        asyncio.run(run())
    finally:
        bundles.may_open.set()


async def _until(found: Home, true: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not true():
            rings = found.bell.rings
            await found.bell.wait(rings, 0.01)


def _deploy(found: Home, ref: str) -> None:
    name = ref.partition(":")[0]
    found.deployments.deploy(OWNER, name, views.DeployRequest(spec=deployment_of(name, ref)))


def _state(found: Home, endpoint: str) -> DeploymentState:
    state = found.store.state(endpoint)
    assert state is not None
    return state


def test_another_endpoint_is_rolled_back_while_a_large_bundle_is_opened(tmp_path: Path) -> None:
    bundles = LargeBundles(LARGE)

    async def scene(found: Home) -> None:
        _deploy(found, f"{NAME}:v2")
        await _until(found, lambda: found.state.live == 2)
        _deploy(found, LARGE)
        await _until(found, lambda: found.effects.opening("costs") == (LARGE,))
        found.deployments.rollback(OWNER, NAME, None)
        await _until(found, lambda: found.state.live == 1)
        assert [shares[1] for shares in found.shares] == [100.0, 100.0]
        await _until(found, bundles.begun.is_set)
        assert not bundles.may_open.is_set()
        costs = _state(found, "costs")
        assert (costs.phase, costs.live) == (Phase.PROGRESSING, None)
        assert found.effects.opening(NAME) == ()
        bundles.may_open.set()
        await _until(found, lambda: _state(found, "costs").live == 1)
        assert found.effects.opening("costs") == ()

    _play(tmp_path, bundles, scene)


def test_what_cannot_be_opened_in_the_end_has_failed(tmp_path: Path) -> None:
    bundles = LargeBundles(LARGE)
    bundles.broken = True

    async def scene(found: Home) -> None:
        _deploy(found, LARGE)
        await _until(found, bundles.begun.is_set)
        assert _state(found, "costs").phase is Phase.PROGRESSING
        bundles.may_open.set()
        await _until(found, lambda: _state(found, "costs").phase is Phase.FAILED)
        (failed,) = [e for e in found.store.events() if e.kind is EventKind.REVISION_FAILED]
        assert (failed.endpoint, failed.details["code"]) == ("costs", "digest_mismatch")

    _play(tmp_path, bundles, scene)


def test_a_deploy_over_one_that_is_being_opened_does_not_wait_for_it(tmp_path: Path) -> None:
    bundles = LargeBundles(LARGE)

    async def scene(found: Home) -> None:
        _deploy(found, LARGE)
        await _until(found, bundles.begun.is_set)
        _deploy(found, "costs:v8")
        await _until(found, lambda: _state(found, "costs").live == 2)
        assert not bundles.may_open.is_set()

    _play(tmp_path, bundles, scene)


def test_a_new_control_process_rolls_back_before_it_has_opened_what_is_live(tmp_path: Path) -> None:
    bundles = LargeBundles(f"{NAME}:v1", f"{NAME}:v2")

    async def scene(found: Home) -> None:
        bundles.may_open.set()
        _deploy(found, f"{NAME}:v2")
        await _until(found, lambda: found.state.live == 2)
        bundles.may_open.clear()
        bundles.begun.clear()
        found.restart()
        running = asyncio.create_task(found.loop.run())
        found.deployments.rollback(OWNER, NAME, None)
        await _until(found, lambda: found.state.live == 1)
        await _until(found, lambda: bundles.begun.is_set() and found.effects.busy)
        assert found.effects.opening(NAME) == ()  # nobody waits for what the workers serve already
        running.cancel()

    _play(tmp_path, bundles, scene)


class OrderedBundles(FakeBundles):
    """Remembers in which order it is asked to open them; none is open before `may_open` is set."""

    def __init__(self) -> None:
        self.order: list[str] = []
        self.may_open = threading.Event()
        self.may_open.set()

    def open(self, version: Version) -> OpenedBundle:
        self.order.append(str(version.ref))
        assert self.may_open.wait(60)
        return super().open(version)


def test_after_a_restart_a_deploy_goes_before_all_that_is_served_or_was_live_before(tmp_path: Path) -> None:
    bundles = OrderedBundles()

    async def run() -> None:
        async with home(tmp_path) as found:
            for ref in (f"{NAME}:v2", "costs:v1", "costs:v2"):
                _deploy(found, ref)
                await found.loop.settle()
            found.clock.advance(3600.0)
            await found.loop.settle()
            assert _state(found, "costs").previous == 1 and _state(found, "costs").warm_until_s is None
            found.bundles = bundles
            bundles.may_open.clear()
            found.restart()
            await found.effects.observe()
            await _until(found, lambda: len(bundles.order) == MOST)
            _deploy(found, "zeta:v1")
            await found.effects.observe()
            assert found.effects.opening("zeta") == ("zeta:v1",)
            assert found.effects.opening("costs") == found.effects.opening(NAME) == ()
            bundles.may_open.set()
            await found.loop.settle()
            assert bundles.order[MOST] == "zeta:v1"
            assert sorted(bundles.order) == ["costs:v1", "costs:v2", f"{NAME}:v1", f"{NAME}:v2", "zeta:v1"]

    try:
        asyncio.run(run())
    finally:
        bundles.may_open.set()


def test_a_server_stops_while_it_opens_a_bundle(tmp_path: Path) -> None:
    bundles = LargeBundles(LARGE)

    async def scene(found: Home) -> None:
        _deploy(found, LARGE)
        await _until(found, bundles.begun.is_set)
        await found.effects.close()

    _play(tmp_path, bundles, scene)  # its event loop waits for what runs in threads of its own
    assert not bundles.waited_in_vain
    opening = [one for one in threading.enumerate() if one.name == "seaway-opening"]
    assert all(one.daemon for one in opening)


def test_a_verb_without_a_server_waits_until_all_is_open(tmp_path: Path) -> None:
    bundles = LargeBundles(LARGE)

    async def run() -> None:
        async with home(tmp_path) as found:
            found.bundles = bundles
            found.restart()
            _deploy(found, LARGE)
            settling = asyncio.create_task(found.loop.settle())
            await _until(found, lambda: bundles.begun.is_set() and found.effects.busy)
            assert not settling.done()
            bundles.may_open.set()
            async with asyncio.timeout(60):
                await settling
            assert _state(found, "costs").live == 1

    asyncio.run(run())


def test_of_a_rollout_it_is_told_that_its_candidate_is_being_opened(tmp_path: Path) -> None:
    bundles = LargeBundles(f"{NAME}:v2")

    async def scene(found: Home) -> None:
        found.deploy(2, CANARY)
        await _until(found, lambda: found.effects.opening(NAME) == (f"{NAME}:v2",))
        status = found.moves.status(OWNER, NAME)
        told = waiting.as_seen(status, found.effects.opening(NAME), ())
        assert status.state.phase is RolloutPhase.WAITING
        assert told.waiting.words.endswith("; opening prices:v2, each of its bytes is checked")
        assert waiting.as_seen(status, (), ()) == status
        one, two = (waiting.as_seen(status, (), slots).waiting.words for slots in ((1,), (0, 2)))
        assert one.endswith("; on worker 1 nothing is mirrored until another endpoint's rollout is over")
        assert "; on workers 0, 2 nothing is mirrored" in two
        begun = msgspec.structs.replace(
            status, state=msgspec.structs.replace(status.state, step=0, percent=5.0)
        )
        assert waiting.as_seen(begun, (f"{NAME}:v2",), ()) == begun

    _play(tmp_path, bundles, scene)


def test_the_evidence_of_a_rollout_begins_once_it_is_known_what_the_answers_are(tmp_path: Path) -> None:
    bundles = LargeBundles(f"{NAME}:v1")

    async def scene(found: Home) -> None:
        found.deploy(2, CANARY)

        async def look(true: Callable[[], bool]) -> None:
            async with asyncio.timeout(60):
                while not true():
                    await found.analysis.look()
                    found.clock.advance(0.1)
                    await found.bell.wait(found.bell.rings, 0.01)

        await look(lambda: found.rollout.since_s is not None and found.rollout.step == 0)
        for _ in range(5):
            found.clock.advance(1.0)
            await found.analysis.look()
        following = found.analysis._followed[NAME]
        assert following.through_s is None and following.judgement is None
        bundles.may_open.set()
        await look(lambda: following.through_s is not None)

    _play(tmp_path, bundles, scene)


def test_the_api_says_what_is_being_opened_and_where_nothing_is_mirrored(tmp_path: Path) -> None:
    bundles = LargeBundles(f"{NAME}:v2")

    async def scene(found: Home) -> None:
        found.deploy(2, CANARY)
        await _until(found, lambda: found.effects.opening(NAME) == (f"{NAME}:v2",))
        worker = found.workers[1]
        worker.loaded[NAME, 2] = worker_admin.LoadedRevision(
            NAME, 2, digest_of(NAME, 2), ready=False, unmirrored=True
        )
        await _until(found, lambda: found.effects.unmirrored(NAME, 2) == (1,))
        with ThreadPoolExecutor(1) as deploying:
            parts = routes.Parts(
                found.deployments,
                found.moves,
                found.effects,
                found.bell,
                deploying,
                tmp_path,
                found.clock,
                RolloutMetrics(found.store, tmp_path, found.clock),
            )
            app = api.create_app(parts, doors.SocketDoor(os.geteuid()))

            async def get(path: str) -> dict[str, Any]:
                return (await exchange(app, "GET", path, b"", {}, (str(os.geteuid()), 1))).json()

            (endpoint,) = (await get("/status"))["endpoints"]
            one, seconds = await get(f"/endpoints/{NAME}"), await get(f"/endpoints/{NAME}/seconds")
            rollout = await get(f"/endpoints/{NAME}/rollout")
        opening = [f"{NAME}:v2"]
        assert endpoint["opening"] == one["opening"] == seconds["endpoint"]["opening"] == opening
        for words in (rollout["waiting"]["words"], seconds["rollout"]["waiting"]["words"]):
            assert f"opening {NAME}:v2" in words and "on worker 1 nothing is mirrored" in words

    _play(tmp_path, bundles, scene)

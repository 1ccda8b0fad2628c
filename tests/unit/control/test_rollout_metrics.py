"""What Prometheus is told of rollouts: GET /metrics of the control process."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

from control_fakes import OWNER
from rollout_home import NAME, Home, home

from seaway.control.rollouts import views
from seaway.control.rollouts.metrics import RolloutMetrics
from seaway.core.rollouts.state import RolloutPhase
from seaway.testing.state_store import MemoryStateStore
from seaway.wire import metric_names

CANARY = {
    "steps": [{"to": "25%", "approve": True}, "100%"],
    "hold": "2s",
    "bake": "5s",
    "checks": ["errors"],
    "warmup": "0s",
}
_LINE = re.compile(r"([a-z_]+)(?:\{(.*)\})? (\S+)$")
_LABEL = re.compile(r'([a-z_]+)="(.*?)"')


class Watched:
    """A home whose metrics are read as Prometheus reads them."""

    def __init__(self, found: Home) -> None:
        self.home = found
        self.metrics = RolloutMetrics(found.store, found.rollouts, found.clock)

    async def samples(self) -> dict[tuple[str, str], float]:
        """By family and by the values of its labels, which must be those that the catalogue names, in its order."""
        found = {}
        for line in (await self.metrics.text(OWNER, self.home.effects.seen)).splitlines():
            parts = _LINE.match(line)
            if parts is not None:
                labels = _LABEL.findall(parts[2] or "")
                assert tuple(name for name, _ in labels) == metric_names.METRICS[parts[1]].labels
                found[parts[1], " ".join(value for _, value in labels)] = float(parts[3])
        return found

    async def until(self, phase: RolloutPhase, most: int = 60) -> None:
        for _ in range(most):
            if self.home.rollout.phase is phase:
                return
            await self.home.second()
        raise AssertionError(f"{self.home.rollout} after {most} seconds")


def play(tmp_path: Path, scene: Callable[[Watched], Awaitable[None]]) -> None:
    async def run() -> None:
        async with home(tmp_path) as found:
            await scene(Watched(found))

    asyncio.run(run())


def of(samples: dict[tuple[str, str], float], family: str) -> dict[str, float]:
    return {labels: value for (name, labels), value in samples.items() if name == family}


def one(samples: dict[tuple[str, str], float], family: str) -> set[str]:
    """The labels of what is 1 in a family; all else must be 0."""
    found = of(samples, family)
    assert set(found.values()) <= {0.0, 1.0}
    return {labels for labels, value in found.items() if value}


def test_a_rollout_from_its_step_to_its_end(tmp_path: Path) -> None:
    async def scene(watched: Watched) -> None:
        found = watched.home
        before = await watched.samples()
        assert of(before, "seaway_rollout_phase") == {}
        assert set(of(before, "seaway_rollouts_total").values()) == {0.0}
        found.deploy(2, CANARY)
        await watched.until(RolloutPhase.RUNNING)
        await found.seconds(4)
        samples = await watched.samples()
        assert one(samples, "seaway_rollout_phase") == {f"{NAME} 2 running"}
        assert len(of(samples, "seaway_rollout_phase")) == len(RolloutPhase)
        assert samples["seaway_rollout_share", f"{NAME} 2"] == 0.25
        assert one(samples, "seaway_rollout_check_verdict") == {f"{NAME} 2 errors inconclusive"}
        assert one(samples, "seaway_rollout_waits_for_approval") == set()
        for _ in range(60):
            await found.second()
            samples = await watched.samples()
            if one(samples, "seaway_rollout_waits_for_approval"):
                break
        assert one(samples, "seaway_rollout_waits_for_approval") == {f"{NAME} 2"}
        assert one(samples, "seaway_rollout_check_verdict") == {f"{NAME} 2 errors passed"}
        found.moves.move(OWNER, NAME, views.Approve())
        await watched.until(RolloutPhase.BAKING)
        samples = await watched.samples()
        assert samples["seaway_rollout_share", f"{NAME} 2"] == 1.0
        assert one(samples, "seaway_rollout_waits_for_approval") == set()
        await watched.until(RolloutPhase.PROMOTED)
        await found.second()
        samples = await watched.samples()
        assert one(samples, "seaway_rollout_phase") == {f"{NAME} 2 promoted"}
        assert one(samples, "seaway_rollouts_total") == {f"{NAME} promoted"}
        found.deployments.rollback(OWNER, NAME, None, None)
        await found.seconds(2)
        assert (await watched.samples())["seaway_rollout_share", f"{NAME} 2"] == 0.0

    play(tmp_path, scene)


def test_what_was_taken_back_stays_told_and_is_counted_over_a_restart(tmp_path: Path) -> None:
    async def scene(watched: Watched) -> None:
        found = watched.home
        found.deploy(2, CANARY)
        found.bad[2] = 0.2
        await watched.until(RolloutPhase.ROLLED_BACK)
        await found.second()
        found.deploy(3, CANARY)
        await watched.until(RolloutPhase.RUNNING)
        found.moves.move(OWNER, NAME, views.Pause())
        await found.second()
        samples = await watched.samples()
        assert one(samples, "seaway_rollout_phase") == {f"{NAME} 3 paused"}
        found.moves.move(OWNER, NAME, views.Abort())
        await found.second()
        for metrics in (watched.metrics, RolloutMetrics(found.store, found.rollouts, found.clock)):
            watched.metrics = metrics
            samples = await watched.samples()
            assert one(samples, "seaway_rollouts_total") == {f"{NAME} rolled_back", f"{NAME} aborted"}
            assert samples["seaway_rollout_share", f"{NAME} 3"] == 0.0

    play(tmp_path, scene)


def test_a_deleted_endpoint_is_told_no_more(tmp_path: Path) -> None:
    async def scene(watched: Watched) -> None:
        watched.home.deployments.delete(OWNER, NAME, None)
        for _ in range(3):
            await watched.home.second()
        assert await watched.samples() == {("seaway_control_processes", ""): 1.0}

    play(tmp_path, scene)


class CountingStore(MemoryStateStore):
    """Counts how often its events are read."""

    reads = 0

    def events(self, *args: object, **more: object) -> tuple:  # type: ignore[override]
        self.reads += 1
        return super().events(*args, **more)  # type: ignore[arg-type]


def test_many_scrapers_cost_no_more_than_one(tmp_path: Path) -> None:
    async def run() -> None:
        async with home(tmp_path) as found:
            store = CountingStore()
            metrics = RolloutMetrics(store, found.rollouts, found.clock)
            texts = await asyncio.gather(*(metrics.text(OWNER, found.effects.seen) for _ in range(20)))
            assert len(set(texts)) == 1 and store.reads == 1
            found.clock.advance(1.0)
            await metrics.text(OWNER, found.effects.seen)
            assert store.reads == 2

    asyncio.run(run())


def test_before_the_first_look_around_there_is_the_process_alone(tmp_path: Path) -> None:
    async def run() -> None:
        async with home(tmp_path) as found:
            text = await RolloutMetrics(found.store, found.rollouts, found.clock).text(OWNER, None)
            assert [line for line in text.splitlines() if line[0] != "#"] == ["seaway_control_processes 1"]

    asyncio.run(run())

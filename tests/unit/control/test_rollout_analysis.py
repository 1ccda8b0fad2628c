"""Rollouts end to end in one control plane: workers that count, the loop, the analysis, a virtual clock."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import msgspec
import pytest
from control_fakes import OWNER, digest_of
from rollout_home import NAME, RATE, Home, home

from seaway.control.rollouts import evidence_files, following
from seaway.control.rollouts import views as rollout_views
from seaway.control.rollouts.following import Following
from seaway.core.bundles import Digest
from seaway.core.checks import Verdict
from seaway.core.rollouts.state import RolloutPhase
from seaway.wire import isolation
from seaway.wire.isolation import Isolated, IsolationList

CANARY = {"steps": ["25%", "100%"], "hold": "10s", "bake": "20s", "checks": ["errors"], "warmup": "0s"}


def play(tmp_path: Path, scene: Callable[[Home], Awaitable[None]], workers: int = 2) -> None:
    async def run() -> None:
        async with home(tmp_path, workers) as found:
            await scene(found)

    asyncio.run(run())


async def until(found: Home, phase: RolloutPhase, most: int) -> int:
    """How many seconds it took."""
    for second in range(most):
        if found.rollout.phase is phase:
            return second
        await found.second()
    raise AssertionError(f"{found.rollout} after {most} seconds")


def saved(found: Home) -> int:
    """The newest second in the evidence on disk."""
    stored = evidence_files.load(found.rollouts, NAME, 2)
    assert stored is not None
    return stored.evidence.through_s


def judged(found: Home) -> int:
    """The newest second that was judged."""
    judgement = evidence_files.latest(found.rollouts, NAME, 2)
    assert judgement is not None
    return judgement.through_s


def test_a_good_candidate_is_promoted_and_baked(tmp_path: Path) -> None:
    async def scene(found: Home) -> None:
        found.deploy(2, CANARY)
        await until(found, RolloutPhase.RUNNING, 10)
        assert found.rollout.percent == 25
        await found.second()
        assert found.shares == [{1: 75.0, 2: 25.0}] * 2
        await until(found, RolloutPhase.BAKING, 60)
        assert found.state.live == 2
        await until(found, RolloutPhase.PROMOTED, 40)
        judged = evidence_files.latest(found.rollouts, NAME, 2)
        assert judged is not None and judged.looks > 30
        assert "rollout_promoted" in found.kinds()

    play(tmp_path, scene)


def test_a_bad_candidate_is_back_at_nothing_within_seconds(tmp_path: Path) -> None:
    async def scene(found: Home) -> None:
        found.deploy(2, CANARY)
        found.bad[2] = 0.2
        await until(found, RolloutPhase.RUNNING, 10)
        took = await until(found, RolloutPhase.ROLLED_BACK, 15)
        assert took <= 9, (
            "a look's second is complete 2.5 s after it, and counts once older requests have ended"
        )
        assert (found.rollout.cause, found.state.desired, found.state.rollback) == ("errors", 1, True)
        assert all(shares.get(2, 0.0) == 0 for shares in found.shares)
        judged = evidence_files.latest(found.rollouts, NAME, 2)
        assert judged is not None and judged.verdict is Verdict.FAILED
        looks = evidence_files.looks(found.rollouts, NAME, 2)
        assert looks[-1].verdict is Verdict.FAILED
        assert "is certain" in looks[-1].checks[0].words

    play(tmp_path, scene)


def test_a_burst_goes_back_without_evidence(tmp_path: Path) -> None:
    async def scene(found: Home) -> None:
        found.deploy(2, {**CANARY, "checks": [], "hold": "10m"})
        await until(found, RolloutPhase.RUNNING, 10)
        await found.seconds(3)
        found.bad[2] = 0.6
        assert await until(found, RolloutPhase.ROLLED_BACK, 5) <= 3
        assert found.rollout.cause == "floor"
        assert "requests of revision 2 failed within 3 s" in (found.rollout.why or "")

    play(tmp_path, scene)


def test_what_both_revisions_suffer_breaks_no_floor(tmp_path: Path) -> None:
    async def scene(found: Home) -> None:
        found.deploy(2, {**CANARY, "hold": "10m"})
        await until(found, RolloutPhase.RUNNING, 10)
        await found.seconds(3)
        found.bad |= {1: 0.6, 2: 0.6}
        await found.seconds(15)
        assert found.rollout.phase is RolloutPhase.RUNNING

    play(tmp_path, scene)


def test_a_candidate_that_ends_a_worker_or_cannot_be_loaded_again_goes_back(tmp_path: Path) -> None:
    async def scene(found: Home, **changed: object) -> None:
        found.deploy(2, CANARY)
        await until(found, RolloutPhase.RUNNING, 10)
        await found.second()
        loaded = found.workers[1].loaded
        loaded[NAME, 2] = msgspec.structs.replace(loaded[NAME, 2], **changed)
        assert await until(found, RolloutPhase.ROLLED_BACK, 3) <= 2
        assert found.rollout.cause == "floor"

    for number, changed in enumerate(({"isolated": True}, {"error": "boom", "error_code": "internal"})):
        folder = tmp_path / str(number)
        folder.mkdir()
        play(folder, lambda found, changed=changed: scene(found, **changed))  # type: ignore[misc]


def _listed(found: Home, alone: int) -> None:
    """The supervisor has written that the candidate ran in a worker that ended, and the workers have obeyed."""
    models = {digest_of(NAME, 2): Isolated(1, found.clock.now_s(), alone)}
    (found.run / isolation.FILE).write_bytes(msgspec.json.encode(IsolationList(models)))
    for worker in found.workers:
        worker.loaded[NAME, 2] = msgspec.structs.replace(worker.loaded[NAME, 2], isolated=True)


def test_one_that_was_alone_in_a_worker_that_ended_goes_back_at_once(tmp_path: Path) -> None:
    async def scene(found: Home) -> None:
        found.deploy(2, {**CANARY, "hold": "10m"})
        await until(found, RolloutPhase.RUNNING, 10)
        await found.second()
        _listed(found, alone=1)
        assert await until(found, RolloutPhase.ROLLED_BACK, 3) <= 1
        assert found.rollout.cause == "floor"

    play(tmp_path, scene)


def test_a_suspect_stays_until_it_ends_a_process_of_its_own(tmp_path: Path) -> None:
    async def scene(found: Home) -> None:
        found.deploy(2, {**CANARY, "hold": "10m"})
        await until(found, RolloutPhase.RUNNING, 10)
        await found.second()
        _listed(found, alone=0)
        await found.seconds(10)
        assert found.rollout.phase is RolloutPhase.RUNNING, "another model may have done it"
        loaded = found.workers[1].loaded
        loaded[NAME, 2] = msgspec.structs.replace(loaded[NAME, 2], faults=1)
        assert await until(found, RolloutPhase.ROLLED_BACK, 3) <= 2
        assert found.rollout.cause == "floor" and "ended a process of its own" in str(found.rollout.why)

    play(tmp_path, scene)


def test_a_suspect_that_moves_in_the_moment_of_a_look_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list was read before it was written: what the workers say later must not be held against it."""

    async def scene(found: Home) -> None:
        found.deploy(2, {**CANARY, "hold": "10m"})
        await until(found, RolloutPhase.RUNNING, 10)
        await found.second()
        before = found.effects.workers.isolated()

        def read() -> Mapping[Digest, Isolated]:
            monkeypatch.undo()
            _listed(found, alone=0)
            found.effects.observed = tuple(
                msgspec.structs.replace(one, loaded=tuple(worker.loaded.values()))
                for one, worker in zip(found.effects.observed, found.workers, strict=True)
            )
            return before

        monkeypatch.setattr(found.effects.workers, "isolated", read)
        await found.analysis.look()
        await found.seconds(2)
        assert found.rollout.phase is RolloutPhase.RUNNING, found.rollout.why

    play(tmp_path, scene)


def test_what_was_held_against_a_model_before_its_rollout_is_no_crash_in_it(tmp_path: Path) -> None:
    async def scene(found: Home) -> None:
        models = {digest_of(NAME, 2): Isolated(1, found.clock.now_s(), alone=1)}
        (found.run / isolation.FILE).write_bytes(msgspec.json.encode(IsolationList(models)))
        found.deploy(2, {**CANARY, "hold": "10m"})
        await until(found, RolloutPhase.RUNNING, 10)
        await found.seconds(5)
        assert found.rollout.phase is RolloutPhase.RUNNING

    play(tmp_path, scene)


def test_errors_in_the_bake_go_back_to_the_revision_that_is_still_warm(tmp_path: Path) -> None:
    async def scene(found: Home) -> None:
        found.deploy(2, {**CANARY, "bake": "10m"})
        await until(found, RolloutPhase.BAKING, 80)
        await found.seconds(20)
        found.bad[2] = 0.1
        assert await until(found, RolloutPhase.ROLLED_BACK, 15) <= 10
        assert found.shares == [{1: 100.0, 2: 0.0}] * 2 or all(s[1] == 100.0 for s in found.shares)

    play(tmp_path, scene)


def test_c10_without_traffic_it_stays_where_it_is(tmp_path: Path) -> None:
    async def scene(found: Home) -> None:
        for worker in found.workers:
            worker.count = lambda *_: None  # type: ignore[method-assign]
        found.deploy(2, {**CANARY, "inconclusive": {"after": "60s"}})
        await until(found, RolloutPhase.RUNNING, 10)
        await found.seconds(50)
        assert (found.rollout.phase, found.rollout.step) == (RolloutPhase.RUNNING, 0)
        await until(found, RolloutPhase.ROLLED_BACK, 30)
        assert "have not decided within 60s" in (found.rollout.why or "")

    play(tmp_path, scene)


def test_c09_a_silent_worker_holds_and_then_nothing_passes_until_it_is_back(tmp_path: Path) -> None:
    async def scene(found: Home) -> None:
        found.deploy(2, {**CANARY, "hold": "5s"})
        await until(found, RolloutPhase.RUNNING, 10)
        await found.seconds(2)
        found.workers[1].silent = True
        before = evidence_files.latest(found.rollouts, NAME, 2)
        await found.seconds(60)
        judged = evidence_files.latest(found.rollouts, NAME, 2)
        assert judged is not None
        assert judged.verdict is Verdict.ERRORED
        assert "worker 1" in (judged.checks[0].fault or "")
        assert before is None or judged.looks > before.looks, "the others go on"
        assert found.rollout.step == 0
        found.workers[1].silent = False
        await until(found, RolloutPhase.BAKING, 60)

    play(tmp_path, scene)


def test_a_second_waits_for_a_worker_that_is_late(tmp_path: Path) -> None:
    async def scene(found: Home) -> None:
        found.deploy(2, {**CANARY, "hold": "10m"})
        await until(found, RolloutPhase.RUNNING, 10)
        await found.seconds(10)
        through_s = judged(found)
        found.workers[1].silent = True
        for _ in range(2):
            await found.second()
            assert judged(found) == through_s
        found.workers[1].silent = False
        await found.second()
        assert judged(found) == through_s + 3
        looks = evidence_files.looks(found.rollouts, NAME, 2)
        assert Verdict.ERRORED not in {one.verdict for one in looks}
        assert looks[-1].checks[0].candidate == looks[-1].looks * RATE * len(found.workers) / 4

    play(tmp_path, scene)


def test_c09_harm_is_found_though_a_worker_is_silent(tmp_path: Path) -> None:
    async def scene(found: Home) -> None:
        found.deploy(2, CANARY)
        await until(found, RolloutPhase.RUNNING, 10)
        await found.seconds(2)
        found.workers[1].silent = True
        found.bad[2] = 0.2
        await until(found, RolloutPhase.ROLLED_BACK, 30)

    play(tmp_path, scene)


@pytest.mark.parametrize("gap_s", [0, 3, 200])
def test_a_killed_control_process_goes_on_and_counts_each_second_once(tmp_path: Path, gap_s: int) -> None:
    """The same traffic with and without a kill gives the same evidence; a long absence is read from the disk."""
    ends = []

    async def scene(found: Home, killed: bool) -> None:
        found.keeps = True
        found.deploy(2, {**CANARY, "hold": "10m"})
        await until(found, RolloutPhase.RUNNING, 10)
        await found.seconds(12)
        while saved(found) == judged(found):
            await found.second()
        if killed:
            found.restart()
            for _ in range(gap_s):
                for worker in found.workers:
                    worker.count(int(found.clock.now_s()), found.bad, keep=True)
                found.clock.advance(1.0)
            if gap_s > 100:
                for worker in found.workers:
                    del worker.seconds[:-100]
        else:
            await found.seconds(gap_s)
        await found.seconds(10)
        for followed in found.analysis._followed.values():
            followed.save()
        stored = evidence_files.load(found.rollouts, NAME, 2)
        assert stored is not None
        ends.append(stored.evidence)
        looks = [one.through_s for one in evidence_files.looks(found.rollouts, NAME, 2)]
        assert looks == sorted(set(looks))

    for killed in (False, True):
        folder = tmp_path / str(killed)
        folder.mkdir()
        play(folder, lambda found, killed=killed: scene(found, killed))  # type: ignore[misc]
    assert ends[0] == ends[1]
    assert ends[0].looks > gap_s


def test_a_person_pauses_and_harm_still_goes_back(tmp_path: Path) -> None:
    async def scene(found: Home) -> None:
        found.deploy(2, CANARY)
        await until(found, RolloutPhase.RUNNING, 10)
        found.moves.move(OWNER, NAME, rollout_views.Pause())
        await found.seconds(40)
        assert (found.rollout.phase, found.rollout.step) == (RolloutPhase.PAUSED, 0)
        found.bad[2] = 0.2
        await until(found, RolloutPhase.ROLLED_BACK, 15)

    play(tmp_path, scene)


def test_one_endpoints_fault_is_said_once_and_the_others_go_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene(found: Home) -> None:
        found.deploy(2, CANARY)
        await until(found, RolloutPhase.RUNNING, 10)
        (followed,) = found.analysis._followed.values()
        followed.look = lambda moment: 1 / 0  # type: ignore[assignment, method-assign, return-value]
        await found.seconds(5)
        said = [one.message for one in caplog.records if "division by zero" in one.message]
        assert said == [f"the rollout of {NAME}: ZeroDivisionError: division by zero"]
        del followed.look  # type: ignore[attr-defined]
        await found.second()
        assert f"the rollout of {NAME}: is followed again" in caplog.messages

    play(tmp_path, scene)


def test_a_floor_holds_though_no_evidence_can_be_had(tmp_path: Path) -> None:
    async def scene(found: Home) -> None:
        found.deploy(2, {**CANARY, "hold": "10m"})
        await until(found, RolloutPhase.RUNNING, 10)
        await found.seconds(3)
        (followed,) = found.analysis._followed.values()
        followed.look = lambda moment: 1 / 0  # type: ignore[assignment, method-assign, return-value]
        found.bad[2] = 0.6
        assert await until(found, RolloutPhase.ROLLED_BACK, 5) <= 3
        assert found.rollout.cause == "floor"

    play(tmp_path, scene)


def test_while_users_are_not_alike_nothing_passes_though_the_process_ends_and_a_floor_holds(
    tmp_path: Path,
) -> None:
    async def scene(found: Home) -> None:
        sticky = {"sticky": {"header": "x-user-id"}, "inconclusive": {"after": "2m", "then": "pause"}}
        found.deploy(2, {**CANARY, **sticky})
        await until(found, RolloutPhase.RUNNING, 10)
        for worker in found.workers:
            worker.unlike = True
        await found.seconds(30)
        found.restart()
        for worker in found.workers:
            worker.unlike = False
        await found.seconds(100)
        judgement = evidence_files.latest(found.rollouts, NAME, 2)
        assert judgement is not None and judgement.verdict is Verdict.ERRORED
        assert judgement.guard is not None and "users are not alike" in judgement.guard
        await until(found, RolloutPhase.PAUSED, 30)
        assert "not decided within 2m: users are not alike" in (found.rollout.why or "")
        found.bad[2] = 0.6
        assert await until(found, RolloutPhase.ROLLED_BACK, 5) <= 3
        assert found.rollout.cause == "floor"

    play(tmp_path, scene)


def test_a_sticky_rollout_whose_users_are_alike_is_promoted(tmp_path: Path) -> None:
    async def scene(found: Home) -> None:
        found.deploy(2, {**CANARY, "sticky": {"header": "x-user-id"}})
        await until(found, RolloutPhase.PROMOTED, 120)
        stored = evidence_files.load(found.rollouts, NAME, 2)
        assert stored is not None and stored.evidence.users is not None
        total = stored.evidence.users.guard.more.total
        assert total.candidate > 0 and total.stable == 2 * total.candidate, "25 % of 75 %"

    play(tmp_path, scene)


def test_a_rollback_is_stored_before_a_slow_disk_takes_the_evidence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene(found: Home) -> None:
        found.deploy(2, CANARY)
        await until(found, RolloutPhase.RUNNING, 10)
        await found.seconds(2)
        save, stored = Following.save, []

        def slowly(self: Following) -> None:
            stored.append(found.state.rollback)
            save(self)

        found.bad[2] = 0.2
        monkeypatch.setattr(Following, "_keep", lambda *_, **__: None)
        monkeypatch.setattr(Following, "save", slowly)
        await until(found, RolloutPhase.ROLLED_BACK, 15)
        assert stored and all(stored)

    play(tmp_path, scene)


def test_harm_that_was_saved_goes_back_though_a_share_has_just_changed(tmp_path: Path) -> None:
    """The process is killed between the verdict and the rollback, and a person changes the share before the next one."""

    async def scene(found: Home) -> None:
        found.deploy(2, CANARY)
        await until(found, RolloutPhase.RUNNING, 10)
        await found.seconds(2)
        found.analysis._act = lambda *_: None  # type: ignore[assignment, method-assign]
        found.bad[2] = 0.2
        await found.seconds(12)
        found.restart()
        found.bad.clear()
        found.moves.move(OWNER, NAME, rollout_views.Traffic(30.0))
        await found.loop.settle()
        assert found.rollout.since_s is None
        await found.analysis.look()
        assert (found.rollout.phase, found.rollout.cause) == (RolloutPhase.ROLLED_BACK, "errors")

    play(tmp_path, scene)


def test_where_the_clock_is_set_back_nothing_passes_and_it_is_said(tmp_path: Path) -> None:
    async def scene(found: Home) -> None:
        found.deploy(2, {**CANARY, "hold": "1s"})
        await until(found, RolloutPhase.RUNNING, 10)
        await found.seconds(4)
        found.clock.advance(-300.0)
        await found.seconds(100)
        judged = evidence_files.latest(found.rollouts, NAME, 2)
        assert judged is not None
        assert judged.verdict is Verdict.ERRORED
        assert "the clock was set back" in judged.checks[0].words
        assert found.rollout.step == 0
        await until(found, RolloutPhase.BAKING, 400)

    play(tmp_path, scene, workers=1)


def test_shadow_answers_are_judged_before_the_first_share(tmp_path: Path) -> None:
    async def scene(found: Home) -> None:
        steps = ["0%", "50%", "100%"]
        found.deploy(2, {**CANARY, "steps": steps, "shadow": "10%", "checks": ["errors", "agreement"]})
        await until(found, RolloutPhase.BAKING, 200)
        looks = evidence_files.looks(found.rollouts, NAME, 2)
        at_nothing = [one for one in looks if one.step == 0]
        assert at_nothing[-1].verdict is Verdict.PASSED
        assert [c.check for c in at_nothing[-1].checks if c.gating] == ["agreement"]

    play(tmp_path, scene)


def test_c09_without_any_label_quality_never_passes(tmp_path: Path) -> None:
    async def scene(found: Home) -> None:
        found.deploy(2, {**CANARY, "checks": ["errors", "quality"]})
        await until(found, RolloutPhase.RUNNING, 10)
        await found.seconds(60)
        judged = evidence_files.latest(found.rollouts, NAME, 2)
        assert judged is not None
        said = {c.check: c.verdict for c in judged.checks}
        assert said == {"errors": Verdict.PASSED, "quality": Verdict.INCONCLUSIVE}
        assert found.rollout.step == 0

    play(tmp_path, scene)


def test_looks_are_kept_less_often_as_time_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "_EVERY_LOOK", 40)

    async def scene(found: Home) -> None:
        found.deploy(2, {**CANARY, "steps": ["25%", {"to": "50%", "hold": "1h"}, "100%"]})
        await until(found, RolloutPhase.RUNNING, 10)
        await found.seconds(100)
        looks = [one.looks for one in evidence_files.looks(found.rollouts, NAME, 2)]
        assert looks[:41] == list(range(41))
        assert len(looks) < 55
        assert len([n for n in looks[41:] if n % 10]) <= 3, "looks at which a verdict changed"
        words = [one for one in evidence_files.looks(found.rollouts, NAME, 2) if one.checks[0].words]
        assert len(words) < 10
        judged = evidence_files.latest(found.rollouts, NAME, 2)
        assert judged is not None and judged.checks[0].words

    play(tmp_path, scene, workers=1)


def test_a_disk_that_takes_nothing_is_said_once_and_the_rollout_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene(found: Home) -> None:
        found.rollouts.write_bytes(b"not a folder")
        found.deploy(2, CANARY)
        await until(found, RolloutPhase.BAKING, 80)
        assert len([m for m in caplog.messages if "the evidence of prices, revision 2" in m]) == 1

    play(tmp_path, scene)


def test_a_share_by_hand_below_the_first_step_is_watched_too(tmp_path: Path) -> None:
    async def scene(found: Home) -> None:
        found.deploy(2, {**CANARY, "steps": ["50%", "100%"], "start": "2030-01-01T00:00:00Z"})
        await found.seconds(5)
        assert found.rollout.phase is RolloutPhase.WAITING
        found.moves.move(OWNER, NAME, rollout_views.Traffic(30.0))
        await found.seconds(3)
        assert (found.rollout.step, found.rollout.percent) == (-1, 30.0)
        found.bad[2] = 0.2
        await until(found, RolloutPhase.ROLLED_BACK, 15)
        assert found.rollout.cause == "errors"

    play(tmp_path, scene)

"""shadow_quality end to end in one control plane: outcomes and mirrored answers on disk, kills, a virtual clock."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
from outcome_lookups import Lookup, Made, answered
from provenance_fakes import CLASSIFIER, subject
from rollout_home import NAME, Home, home

from seaway.control.rollouts import evidence_files
from seaway.control.rollouts.paired_labels import SETTLED_S
from seaway.core.checks import Verdict
from seaway.core.feedback import Fact
from seaway.core.provenance import AnsweredBy
from seaway.core.records import MirroredAnswer
from seaway.core.rollouts.judgement import CheckJudgement
from seaway.core.rollouts.state import RolloutPhase
from seaway.monitor.feedback.outcomes import OutcomeRules, Outcomes
from seaway.monitor.recording.mirrored import MirroredAnswers
from seaway.monitor.sinks import RecordPaths

SHADOW = {
    "steps": [{"to": "0%", "hold": "5s"}, "100%"],
    "bake": "5s",
    "shadow": "100%",
    "checks": ["shadow_quality"],
}
BY = AnsweredBy(NAME, 1, "sha256:" + "a" * 64)


class Shadow:
    """Twenty requests a second whose answers and outcomes are on disk; `wrong` of the stable's and the candidate's."""

    def __init__(self, found: Home, wrong: tuple[float, float]) -> None:
        self.home, self.wrong = found, wrong
        self.draw = np.random.default_rng(4)
        self.lookup = Lookup()
        self.outcomes = Outcomes(found.records, self.lookup, OutcomeRules())
        self.kept = MirroredAnswers(RecordPaths(str(found.records), 0, 9), found.clock, 4 * 2**20)
        self.told = 0

    def send(self) -> None:
        facts = []
        for _ in range(20):
            name = f"r{self.told}"
            self.told += 1
            live, said = ("dog" if self.draw.random() < share else "cat" for share in self.wrong)
            made = answered(live)
            self.lookup.made[name] = Made(made.rows, self.home.clock.now_s(), BY, unit=True)
            outputs = {"label": np.array([said], object)}
            self.kept.put(subject(CLASSIFIER, NAME, 2), MirroredAnswer(name.encode(), 1, outputs))
            facts.append(Fact(name, 0, "", "cat", None, None, None))
        for block in self.kept.take()[0]:
            self.kept.write(block)
        self.outcomes.add([facts, facts], self.home.clock.now_s())

    async def seconds(self, count: int) -> None:
        for _ in range(count):
            if self.home.rollout.phase is not RolloutPhase.RUNNING or self.home.rollout.percent:
                return
            self.send()
            await self.home.second()


def play(tmp_path: Path, wrong: tuple[float, float], scene: Callable[[Shadow], Awaitable[None]]) -> None:
    async def run() -> None:
        async with home(tmp_path) as found:
            found.deploy(2, SHADOW)
            for _ in range(10):
                if found.rollout.phase is RolloutPhase.RUNNING and found.rollout.since_s is not None:
                    break
                await found.second()
            shadow = Shadow(found, wrong)
            await scene(shadow)
            shadow.outcomes.close()

    asyncio.run(run())


def said(found: Home) -> CheckJudgement:
    judgement = evidence_files.latest(found.rollouts, NAME, 2)
    assert judgement is not None
    (check,) = judgement.checks
    return check


def test_a_worse_candidate_goes_back_and_nobody_was_sent_to_it(tmp_path: Path) -> None:
    async def scene(shadow: Shadow) -> None:
        await shadow.seconds(150)
        rollout = shadow.home.rollout
        assert (rollout.phase, rollout.cause) == (RolloutPhase.ROLLED_BACK, "shadow_quality")
        assert rollout.percent == 0 and all(shares.get(2, 0.0) == 0 for shares in shadow.home.shares)
        assert said(shadow.home).words.startswith("candidate alone wrong on ")

    play(tmp_path, (0.02, 0.15), scene)


def test_a_better_candidate_goes_on(tmp_path: Path) -> None:
    async def scene(shadow: Shadow) -> None:
        await shadow.seconds(150)
        assert shadow.home.rollout.phase is not RolloutPhase.ROLLED_BACK
        assert said(shadow.home).verdict is Verdict.PASSED
        await shadow.home.seconds(20)
        assert shadow.home.state.live == 2

    play(tmp_path, (0.15, 0.02), scene)


def test_each_label_counts_once_whenever_the_control_process_is_killed(tmp_path: Path) -> None:
    async def scene(shadow: Shadow) -> None:
        for seconds in (3, 1, 7, 2, 5):
            await shadow.seconds(seconds)
            shadow.home.restart()
        await shadow.home.seconds(int(SETTLED_S) + 3)
        found = said(shadow.home)
        assert (found.candidate, found.stable) == (shadow.told, shadow.told) == (360, 360)
        stored = evidence_files.load(shadow.home.rollouts, NAME, 2)
        assert stored is not None and stored.paired is not None and stored.labels is None
        assert "cat" not in (tmp_path / "rollouts" / NAME / "2.evidence.json").read_text()
        assert "r35" not in (tmp_path / "rollouts" / NAME / "2.evidence.json").read_text()

    play(tmp_path, (0.05, 0.05), scene)

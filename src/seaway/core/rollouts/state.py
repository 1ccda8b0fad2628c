"""What is stored of a rollout: part of its endpoint's DeploymentState, changed with it by compare-and-set."""

from __future__ import annotations

import enum
from typing import Literal

import msgspec

from seaway.core.checks import Verdict
from seaway.core.rollouts.spec import CheckName


class RolloutPhase(enum.StrEnum):
    """Where a rollout is. `waiting` is before its first step (not ready yet, or not yet time); in `baking` the candidate has all
    traffic and the old revision stays warm. The rest are ends, and final."""

    WAITING = "waiting"
    RUNNING = "running"
    PAUSED = "paused"
    BAKING = "baking"
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"
    ABORTED = "aborted"
    SUPERSEDED = "superseded"


OPEN = (RolloutPhase.WAITING, RolloutPhase.RUNNING, RolloutPhase.PAUSED)
"""The candidate may have a share, and the stable revision has the rest."""


class Ground(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one check said when a share was taken. `words` is its sentence, "" where a later one of the same check is kept."""

    check: CheckName
    verdict: Verdict
    words: str = ""


class Grounds(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why a share was taken; `grounds` makes them and says them in words.

    `rule` is what allowed it: every worker was `ready` for the first step; the checks of the step before `passed`; their time
    was over and the policy goes on all the same (`undecided`); none was asked for (`time`); or a `person` did it by hand.
    `checks` are those that the step before was to wait for, without the `accepted` ones, which had failed and which a person
    has waved through. `approved` says that a person had to approve, and did. `despite` names what a person did not wait for.
    """

    rule: Literal["ready", "passed", "undecided", "time", "person"]
    checks: tuple[Ground, ...] = ()
    accepted: tuple[str, ...] = ()
    approved: bool = False
    despite: tuple[str, ...] = ()


class Taken(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """That the candidate was given `percent` at `at_s`, from `before` on; `by` whom, and on which grounds."""

    percent: float
    before: float
    at_s: float
    by: str
    grounds: Grounds


class RolloutState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A rollout is named by its endpoint and the number of its `candidate`; `stable` is what it is compared with.

    `step` is the place in the spec's steps, -1 before the first; `percent` the candidate's wanted share (a step's, or one that
    was set by hand). `since_s` is when every worker routed by it, None until they do; `turn` counts how often that began
    anew. `approved` is the highest step that a person has approved to be left, `accepted` the checks whose failure a person
    has waved through (they decide nothing any more). `why` says why it is paused or ended, `cause` which check failed, `by`
    who did it. `taken` says why each share was taken, oldest first.
    """

    candidate: int
    stable: int
    phase: RolloutPhase
    started_s: float
    step: int = -1
    percent: float = 0.0
    since_s: float | None = None
    turn: int = 0
    approved: int = -1
    accepted: tuple[str, ...] = ()
    why: str | None = None
    cause: str | None = None
    by: str | None = None
    ended_s: float | None = None
    taken: tuple[Taken, ...] = ()

    @property
    def open(self) -> bool:
        return self.phase in OPEN

    @property
    def judged(self) -> bool:
        """Whether its evidence is still gathered."""
        return self.open or self.phase is RolloutPhase.BAKING

    @property
    def preparing(self) -> bool:
        """Whether the candidate is only being made ready: before its first step, and no share was given by hand."""
        return self.open and self.step < 0 and self.percent == 0

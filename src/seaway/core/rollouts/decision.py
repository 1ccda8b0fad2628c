"""The decision of a rollout: from all that is known at one moment to at most one next action. Pure.

`control.rollouts.analysis` observes a Snapshot about once a second, calls `next_action`, stores what it says by
compare-and-set with an event, and starts again; `core.reconciliation` then moves the traffic.
"""

from __future__ import annotations

import msgspec

from seaway.core.rollouts.judgement import Judgement
from seaway.core.rollouts.spec import Rollout
from seaway.core.rollouts.state import RolloutState


class Snapshot(msgspec.Struct, frozen=True):
    """All that the decision may know.

    `ready` says that every worker that answers has the candidate ready, `settled` that every one of them routes by the
    wanted share. `judgement` is None before the first look. `floor` is which hard floor was broken (crashes, not ready, a
    burst of failures): it acts at once, without evidence. `bakes_until_s` is when the old revision may go.
    """

    now_s: float
    state: RolloutState
    spec: Rollout
    ready: bool
    settled: bool
    judgement: Judgement | None
    floor: str | None = None
    bakes_until_s: float | None = None


class TakeStep(msgspec.Struct, frozen=True):
    """Give the candidate the share of this step; the last one is its promotion."""

    step: int


class Settle(msgspec.Struct, frozen=True):
    """Store that every worker routes by the wanted share: the step's time begins."""


class Pause(msgspec.Struct, frozen=True):
    """Stay where it is until a person says what then."""

    why: str
    cause: str | None = None


class RollBack(msgspec.Struct, frozen=True):
    """All traffic goes back to the stable revision, for good."""

    why: str
    cause: str | None = None


class Finish(msgspec.Struct, frozen=True):
    """The bake is over: promoted."""


RolloutAction = TakeStep | Settle | Pause | RollBack | Finish


def next_action(snapshot: Snapshot) -> RolloutAction | None:
    """The one thing to do now, or None to hold."""
    raise NotImplementedError

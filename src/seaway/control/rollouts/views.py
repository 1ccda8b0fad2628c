"""What is asked of a rollout and what is answered: the values of its routes, used by the API and its clients."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from seaway.core.events import Event
from seaway.core.rollouts.judgement import Judgement
from seaway.core.rollouts.spec import Rollout
from seaway.core.rollouts.state import RolloutState

Reason = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]


class Promote(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Take the next step now, whatever its hold and its checks say; `full` goes to 100 %."""

    full: bool = False
    reason: Reason | None = None


class Pause(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Stay at this share until a person says what then; a failed check still takes it back."""

    reason: Reason | None = None


class Resume(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Go on; the failure of a check that paused it is accepted with that, for the rest of the rollout."""

    reason: Reason | None = None


class Abort(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All traffic goes back to the stable revision, for good."""

    reason: Reason | None = None


class Approve(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The step that waits for a person may be left."""

    reason: Reason | None = None


class Traffic(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Give the candidate this share of the traffic, and pause."""

    percent: Annotated[float, msgspec.Meta(ge=0, le=100)]
    reason: Reason | None = None


Move = Promote | Pause | Resume | Abort | Approve | Traffic
"""What a person may do with a rollout that is not over."""
WORDS: Final[dict[type[Move], str]] = {
    Promote: "promote",
    Pause: "pause",
    Resume: "resume",
    Abort: "abort",
    Approve: "approve",
    Traffic: "traffic",
}
"""The last word of each move's route, which is also its action in `control.auth`."""


class Arm(msgspec.Struct, frozen=True):
    """One of the two revisions; `ref` is NAME:vN."""

    number: int
    digest: str
    ref: str


class Waiting(msgspec.Struct, frozen=True):
    """What a rollout waits for, in one sentence.

    `next_percent` is the share of the next step, None behind the last; `next_s` when it is taken at the earliest (seconds
    since 1970), None where that cannot be told.
    """

    words: str
    next_percent: float | None = None
    next_s: float | None = None


class RolloutStatus(msgspec.Struct, frozen=True):
    """The last rollout of an endpoint, also after its end.

    `judgement` is that of the newest look, None before the first; `frozen` says that no share may rise now.
    """

    endpoint: str
    state: RolloutState
    spec: Rollout
    candidate: Arm
    stable: Arm
    waiting: Waiting
    now_s: float
    frozen: bool = False
    judgement: Judgement | None = None

    @property
    def looks(self) -> int:
        """How often the evidence was looked at."""
        return 0 if self.judgement is None else self.judgement.looks


class RolloutRecord(msgspec.Struct, frozen=True):
    """All that is kept of a rollout, of an earlier one too: its events and looks, both oldest first.

    `state` is None where a later rollout of the endpoint has taken its place.
    """

    endpoint: str
    candidate: Arm
    stable: Arm | None
    spec: Rollout
    state: RolloutState | None
    events: tuple[Event, ...]
    looks: tuple[Judgement, ...] = ()

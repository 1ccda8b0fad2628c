"""Whether users of the stable revision are alike: where arms are sticky, a slice of them against the rest of its own.

`judging` feeds it beside the checks. Where such a slice "fails", a candidate that fails says nothing of the candidate: users
differ, or their requests go wrong together (docs/statistics.md, "Users"). It takes no share of alpha from the checks, and is
never reset: its own chance of a false alarm is spent once in a rollout.
"""

from __future__ import annotations

import msgspec

from seaway.core.evidence import guards, units, words
from seaway.core.evidence.arms import Arms
from seaway.core.evidence.guards import SLICE_ALPHA, StableSlice
from seaway.core.evidence.streams import Look
from seaway.core.ledger import Counts, SliceCounts


class Users(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The guard of the check `errors`. `waiting` is a look that began at `since_s`: the slice or the rest lacks in it."""

    guard: StableSlice
    waiting: Look | None = None
    since_s: float = 0.0

    @property
    def unlike(self) -> bool:
        """Whether a slice differed at any time of the rollout."""
        return self.guard.tripped


def begin(errors: Arms, started_s: float) -> Users:
    """Before the first look of the check that it guards."""
    return Users(guards.begin_slice(errors.rule, started_s, errors.dispersion))


def seen(users: Users, at_s: float, stable: Counts, part: SliceCounts | None) -> Users:
    """With one more second: the stable's units, and those of them that are in the slice."""
    own = part or SliceCounts()
    look = Look(at_s, own.finished, own.bad, stable.finished - own.finished, stable.bad - own.bad)
    if look.fault() is not None or (stable.finished == 0 and users.waiting is None):
        return users
    whole, since_s, due = units.gathered(users.waiting, users.since_s, look)
    if due:
        return Users(guards.sliced(users.guard, whole))
    return Users(users.guard, whole, since_s)


def next_step(users: Users) -> Users:
    """The slice changes with the share: what waits was of another one."""
    return Users(users.guard)


def why(users: Users) -> str | None:
    """One sentence for people; None where users are alike as far as is known."""
    if not users.unlike:
        return None
    total = users.guard.more.total
    slice_, rest = (
        words.percent(bad / max(1.0, n))
        for n, bad in ((total.candidate, total.candidate_bad), (total.stable, total.stable_bad))
    )
    return (
        f"users are not alike: a slice of the stable revision's own has {slice_} errors against {rest} of its others, on "
        f"{total.candidate:,.0f} and {total.stable:,.0f} requests (false-alarm risk {100 * SLICE_ALPHA:g} % per rollout), "
        "so a difference of the arms says nothing of the candidate"
    )

"""Which rollout sent a request to its revision, from the history: so that no request has to keep it. Pure.

Called for `seaway explain REQUEST_ID` and `GET /requests/ID`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from seaway.core.errors import SeawayError
from seaway.core.events import ROLLOUT_ENDS, Event, EventKind, timestamp
from seaway.core.phrases import listed
from seaway.core.provenance import Explained, Explanation, RolloutThen
from seaway.core.records import Chosen
from seaway.core.rollouts.spec import Flag, Rollout

_BY_A_ROLLOUT: Final = (Chosen.SPLIT, Chosen.SLICE, Chosen.FLAG, Chosen.FALLBACK)
_LATE_S: Final = 10.0
"""So long after the end of a rollout a worker may still route by it."""


def wanted(found: Explained) -> bool:
    """Whether a rollout sent any of the requests, so that `with_rollouts` has to look."""
    return any(one.chosen in _BY_A_ROLLOUT for one in found.requests)


def with_rollouts(
    found: Explained,
    history: Callable[[str], Sequence[Event]],
    spec_of: Callable[[str, int], Rollout],
) -> Explained:
    """Each request that a rollout sent to its revision, with what is known of that.

    `history` gives an endpoint's events, `spec_of` the rollout of a revision; where they raise (the endpoint is
    gone, the store is away) nothing is added: what is kept of the request itself stands.
    """
    return msgspec.structs.replace(
        found, requests=tuple(_with_rollout(one, history, spec_of) for one in found.requests)
    )


def _with_rollout(
    one: Explanation, history: Callable[[str], Sequence[Event]], spec_of: Callable[[str, int], Rollout]
) -> Explanation:
    if one.chosen not in _BY_A_ROLLOUT:
        return one
    endpoint, revision = one.by.endpoint, one.by.revision
    try:
        then = then_of(history(endpoint), revision, one.at_s - one.took_s)
        if then is None:
            return one
        if one.chosen is Chosen.FLAG:
            to = "candidate" if revision == then.candidate else "stable"
            flags = (flag for flag in spec_of(endpoint, then.candidate).flags if flag.to == to)
            then = msgspec.structs.replace(then, flags=tuple(_in_words(flag) for flag in flags))
    except SeawayError:
        return one
    return msgspec.structs.replace(one, rollout=then)


def then_of(events: Sequence[Event], revision: int, at_s: float) -> RolloutThen | None:
    """The rollout that this revision took part in at that time; None where the history has none."""
    at = timestamp(at_s)
    begun = [e for e in events if e.kind is EventKind.ROLLOUT_STARTED and e.at <= at]
    if not begun or begun[-1].revision is None:
        return None
    candidate, stable = begun[-1].revision, int(begun[-1].details.get("stable", "0"))
    own = [e for e in events if e.revision == candidate and e.seq >= begun[-1].seq]
    over = next((e for e in own if e.kind in ROLLOUT_ENDS), None)
    if revision not in (candidate, stable) or (over is not None and over.at < timestamp(at_s - _LATE_S)):
        return None
    shares = [e.details["percent"] for e in own if e.at <= at and "percent" in e.details]
    return RolloutThen(candidate, stable, float(shares[-1]) if shares else 0.0)


def _in_words(flag: Flag) -> str:
    values = listed(flag.equals[:3]) if len(flag.equals) <= 3 else f"{', '.join(flag.equals[:3])}, …"
    if flag.header is not None:
        return f"header {flag.header}: {values}"
    if flag.cookie is not None:
        return f"cookie {flag.cookie}: {values}"
    return f"language: {values}"

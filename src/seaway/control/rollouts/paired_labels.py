"""Labels of mirrored requests as evidence: which of both revisions was right on the same request. Called by `following`.

The stable revision's answer stands beside the outcome already (`monitor.feedback`); the candidate's is looked up by the
request's id among the mirrored answers that the workers kept. Both answered the same request, so the share of the traffic
is no matter: a label of a request from an earlier step counts in the look in which it comes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from seaway.control.rollouts import labels
from seaway.core import agreement, feedback
from seaway.core.errors import SeawayError
from seaway.core.evidence.pairs import PairLook
from seaway.core.provenance import OVERFLOW, Joined
from seaway.monitor.feedback import arrivals
from seaway.monitor.feedback.arrivals import Arrived
from seaway.monitor.recording import mirrored

SETTLED_S: Final = 10.0
"""How old a request is before its label is looked at. By then its mirrored answer is on disk, unless it was dropped, or its
mirror is so far behind that it may as well have been. So no label waits in memory, and a restart needs the cursor alone."""


class PairsAsked(msgspec.Struct, frozen=True):
    """Of which rollout: `shadow_percent` of the requests were mirrored, drawn under `salt`."""

    endpoint: str
    candidate: int
    stable: int
    started_s: float
    shadow_percent: float
    salt: str


class PairCursor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How far labels are counted, stored in the same write as the evidence that they went into; see `labels.LabelCursor`.

    `cap` is the error of a number that counts as a loss of 1, None while it is learnt from `errors`.
    """

    number: int
    cap: float | None = None
    errors: tuple[float, ...] = ()


class Pairings(msgspec.Struct, frozen=True):
    """What came since the look before. `look` is None where nothing did; of `lost` labels the request was drawn to be
    mirrored, and no answer of the candidate is kept. `fault` says why outcomes cannot be read."""

    look: PairLook | None = None
    lost: int = 0
    fault: str | None = None


class PairedLabels:
    """The outcomes and mirrored answers of HOME/records. Blocking, one thread at a time; keeps nothing between calls."""

    def __init__(self, records: Path) -> None:
        self._records = records

    def look(
        self, asked: PairsAsked, cursor: PairCursor | None, now_s: float
    ) -> tuple[Pairings, PairCursor | None]:
        """The labels that came after `cursor`, at most `arrivals.MOST`, and where the next look goes on; None begins with
        the rollout's first.

        They are looked at in the order in which they came, each once its request is `SETTLED_S` old; so each counts once,
        however late it is. A request counts with its first label that can be compared with the stable's answer; only units
        do (the split chose it, and where it is sticky it is its user's first in the turn). Never raises `SeawayError`.
        """
        try:
            cursor = cursor or self._begin(asked)
            page = arrivals.after(
                self._records,
                cursor.number,
                asked.endpoint,
                (asked.stable, asked.stable),
                math.ceil(asked.started_s),
            )
        except SeawayError as error:
            return Pairings(fault=f"outcomes cannot be read: {error.message}"), cursor
        if page.last < cursor.number:
            return Pairings(fault=labels.LOST), cursor
        drawn = [one for one in page.found if one.first_judged and _drawn(one, asked)]
        fresh = (one.number for one in drawn if abs(now_s - one.predicted_s) < SETTLED_S)
        through = min(fresh, default=page.through + 1) - 1
        settled = [one for one in drawn if one.number <= through]
        cap, errors, counted = labels.learnt(cursor.cap, cursor.errors, settled, asked.stable)
        cursor = PairCursor(through, cap, errors)
        if not counted:
            return Pairings(), cursor
        joined = mirrored.lookup(self._records, [one.request_id.encode() for one in counted])
        harms = [
            harm
            for place, one in enumerate(counted)
            if (harm := _harm(one, joined, place, asked, cursor.cap)) is not None
        ]
        return Pairings(_look(harms, now_s), len(counted) - len(harms)), cursor

    def _begin(self, asked: PairsAsked) -> PairCursor:
        number = arrivals.before(self._records, asked.endpoint, (asked.stable,), asked.started_s)
        cap = labels.past_cap(self._records, asked.endpoint, asked.stable, asked.started_s)
        return PairCursor(number, cap)


def harm_of(label: Arrived, said: str | float | None, cap: float | None) -> float:
    """The candidate's loss less the stable's, -1 to 1; `said` is the candidate's answer, None where it failed.

    A loss is that of `labels.loss`. A number that is none is a loss of 1.
    """
    live = labels.loss(label, cap)
    if said is None:
        return 1.0 - live
    truth = feedback.truth_for(label.value, said)
    if isinstance(said, str) or isinstance(truth, str):
        return float(said != truth) - live
    if truth is None or not isinstance(label.answer, float):
        return float(said != truth) - live
    return labels.share_of(abs(said - truth), cap) - live


def _drawn(label: Arrived, asked: PairsAsked) -> bool:
    return agreement.draw(label.request_id.encode(), asked.salt).point < asked.shadow_percent


def _harm(label: Arrived, joined: Joined, place: int, asked: PairsAsked, cap: float | None) -> float | None:
    """None where what the candidate said is not there: dropped, too old, of another rollout or of another shape."""
    by = int(joined.by[place])
    if by < 0:
        return None
    who = joined.subjects[by]
    if (who.endpoint, who.revision) != (asked.endpoint, asked.candidate):
        return None
    if joined.units[place]:
        return harm_of(label, None, cap)
    if label.row >= int(joined.rows[place]):
        return None
    said = joined.row(int(joined.first[place]) + label.row).answer
    # A name that found no place in the files stands for many.
    return None if OVERFLOW in (said, label.answer) else harm_of(label, said, cap)


def _look(harms: Sequence[float], now_s: float) -> PairLook | None:
    if not harms:
        return None
    partial = tuple(harm for harm in harms if harm not in (-1.0, 0.0, 1.0))
    return PairLook(now_s, harms.count(1.0), harms.count(-1.0), harms.count(0.0), partial)

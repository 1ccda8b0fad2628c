"""Which rollout sent a request to its revision, read from the history."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from seaway.control.rollouts import shares
from seaway.core.errors import SeawayError, TemporaryError, UserError
from seaway.core.events import Event, EventKind, timestamp
from seaway.core.provenance import AnsweredBy, Explained, Explanation, Kept, RolloutThen
from seaway.core.records import Chosen
from seaway.core.rollouts.spec import Flag, Rollout

NOW_S = 1_000_000.0


def event(seq: int, kind: EventKind, at_s: float, revision: int = 5, **details: str) -> Event:
    return Event(seq=seq, at=timestamp(NOW_S + at_s), kind=kind, principal="ada", endpoint="prices", revision=revision, details=details)  # fmt: skip


HISTORY = (
    event(1, EventKind.ROLLOUT_STARTED, 0, 4, stable="3", percent="0"),
    event(2, EventKind.ROLLOUT_ABORTED, 50, 4, stable="3", percent="10"),
    event(3, EventKind.ROLLOUT_STARTED, 100, stable="3"),
    event(4, EventKind.ROLLOUT_STEPPED, 110, stable="3", percent="5"),
    event(5, EventKind.ACTION_REFUSED, 115, 9),
    event(6, EventKind.ROLLOUT_STEPPED, 200, stable="3", percent="25"),
    event(7, EventKind.ROLLOUT_ROLLED_BACK, 300, stable="3", percent="25"),
)
FLAGS = Rollout(
    steps=("5%", "100%"),
    flags=(
        Flag("candidate", ("beta", "gold"), header="x-tier"),
        Flag("stable", ("x",), cookie="plan"),
        Flag("candidate", ("a", "b", "c", "d"), language=True),
    ),
)


@pytest.mark.parametrize(
    ("revision", "at_s", "percent"),
    [
        (5, 105, 0.0),
        (5, 150, 5.0),
        (3, 250, 25.0),
        (5, 309, 25.0),  # a worker that has not heard of the end yet
        (5, 320, None),
        (4, 150, None),
        (3, 99, None),
        (3, -1, None),
    ],
)
def test_the_rollout_and_the_share_of_a_time(revision: int, at_s: float, percent: float | None) -> None:
    wanted = None if percent is None else RolloutThen(5, 3, percent)
    assert shares.then_of(HISTORY, revision, NOW_S + at_s) == wanted


def explained(
    revision: int, chosen: Chosen | None, history: Sequence[Event] | SeawayError = HISTORY
) -> Explanation:
    one = Explanation(
        request_id="r", trace_id=None, at_s=NOW_S + 152, by=AnsweredBy("prices", revision, "sha256:0"), door="rest", slot=0,
        pid=1, code="200", caller="anonymous", rows=1, batch_rows=1, queue_s=0.0, run_s=0.0, cpu_s=0.0, took_s=2.0, rate=1.0,
        chosen=chosen,
    )  # fmt: skip

    def told(_endpoint: str) -> Sequence[Event]:
        if isinstance(history, SeawayError):
            raise history
        return history

    found = Explained((one,), Kept(None, 1, 1, 0, 0))
    assert shares.wanted(found) is (chosen not in (None, Chosen.ONLY, Chosen.NAMED))
    (answer,) = shares.with_rollouts(found, told, lambda _endpoint, _number: FLAGS).requests
    return answer


def test_what_a_rollout_sent_is_told_with_it() -> None:
    assert explained(5, Chosen.SPLIT).rollout == RolloutThen(5, 3, 5.0)
    assert explained(3, Chosen.FALLBACK).rollout == RolloutThen(5, 3, 5.0)
    to_candidate = explained(5, Chosen.FLAG).rollout
    assert to_candidate is not None
    assert to_candidate.flags == ("header x-tier: beta and gold", "language: a, b, c, …")
    to_stable = explained(3, Chosen.FLAG).rollout
    assert to_stable is not None and to_stable.flags == ("cookie plan: x",)


def test_where_nothing_is_known_nothing_is_added() -> None:
    for answer in (
        explained(5, Chosen.ONLY),
        explained(5, None),
        explained(5, Chosen.SPLIT, UserError("endpoint_not_found", "gone")),
        explained(5, Chosen.SPLIT, TemporaryError("store_unavailable", "away")),
        explained(5, Chosen.SPLIT, ()),
        explained(8, Chosen.SPLIT),
    ):
        assert answer.rollout is None

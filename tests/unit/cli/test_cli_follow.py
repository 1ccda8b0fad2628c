"""A verb that waits for its change ends with it, however the change ends."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from seaway.cli import endpoints_view
from seaway.control import views
from seaway.core.bundles import Digest
from seaway.core.errors import TemporaryError, UserError
from seaway.core.events import Event, EventKind


class Told:
    """A control plane that tells these events and then, like a server's open stream, must not be asked for more."""

    def __init__(self, *events: Event, ends: bool = False) -> None:
        self._events = events
        self._ends = ends

    def follow(self, after: int) -> Iterator[Event]:
        yield from (event for event in self._events if event.seq > after)
        assert self._ends, "the verb waits for ever"


def event(seq: int, kind: EventKind, revision: int | None, endpoint: str = "prices", **details: str) -> Event:
    ref = None if revision is None else f"prices:v{revision}"
    return Event(
        at="2026-11-22T09:00:00Z", kind=kind, principal="bo", endpoint=endpoint, revision=revision, ref=ref,
        message="no", details=details, seq=seq,
    )  # fmt: skip


def accepted(revision: int | None) -> views.Accepted:
    ref = None if revision is None else f"prices:v{revision}"
    return views.Accepted("prices", revision, Digest("sha256:" + "0" * 64), ref, 7, True, 10, "the change")


def follow(told: Told, revision: int | None) -> views.Accepted:
    return endpoints_view.follow(told, accepted(revision), lambda _: None)  # type: ignore[arg-type]


DEPLOY, ROLLBACK, DELETE = (
    EventKind.DEPLOY_REQUESTED,
    EventKind.ROLLBACK_REQUESTED,
    EventKind.DELETE_REQUESTED,
)


@pytest.mark.parametrize(
    ("ours", "later"),
    [
        ((DEPLOY, 2), (ROLLBACK, 1)),
        ((DEPLOY, 2), (DEPLOY, 3)),
        ((DEPLOY, 2), (DELETE, None)),
        ((DELETE, None), (DEPLOY, 3)),
    ],
)
def test_a_change_ends_when_a_later_one_takes_its_place(
    ours: tuple[EventKind, int | None], later: tuple[EventKind, int | None]
) -> None:
    told = Told(event(11, *ours), event(12, DEPLOY, 9, endpoint="other"), event(13, *later))
    with pytest.raises(UserError) as caught:
        follow(told, ours[1])
    assert caught.value.code == "generation_conflict"
    assert "superseded" in caught.value.message and "bo" in caught.value.message


@pytest.mark.parametrize(
    ("ours", "end"),
    [((DEPLOY, 2), EventKind.REVISION_LIVE), ((DELETE, None), EventKind.ENDPOINT_DELETED)],
)
def test_a_change_ends_with_its_own_event(ours: tuple[EventKind, int | None], end: EventKind) -> None:
    earlier = event(11, ROLLBACK, 1)  # between the number that the answer carries and our own request
    told = Told(earlier, event(12, *ours), event(13, EventKind.REVISION_COOLED, 1), event(14, end, ours[1]))
    assert follow(told, ours[1]) == accepted(ours[1])


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("digest_mismatch", "seaway verify prices:v2"),
        ("blob_missing", "seaway verify prices:v2"),
        ("internal", "seaway verify prices:v2"),
        ("invalid_model", "mend the model"),
        (None, "mend the model"),
    ],
)
def test_the_advice_after_a_failure_fits_its_cause(code: str | None, said: str) -> None:
    details = {} if code is None else {"code": code}
    told = Told(event(11, DEPLOY, 2), event(12, EventKind.REVISION_FAILED, 2, **details))
    with pytest.raises(UserError) as caught:
        follow(told, 2)
    assert caught.value.code == "revision_failed" and said in (caught.value.hint or "")


def test_l06_a_server_that_goes_away_is_temporary() -> None:
    with pytest.raises(TemporaryError) as caught:
        follow(Told(event(11, DEPLOY, 2), ends=True), 2)
    assert (caught.value.code, caught.value.hint) == ("control_unavailable", "seaway status")

"""A verb that waits for its change ends with it, however the change ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec
import pytest
import watch_values

from seaway.cli import endpoints_view
from seaway.cli.patience import PATIENCE_S
from seaway.control import views
from seaway.core.bundles import Digest
from seaway.core.errors import TemporaryError, UserError
from seaway.core.events import Event, EventKind


class Told:
    """A control plane that tells these events and then, like a server's open stream, must not be asked for more."""

    def __init__(self, *events: Event, ends: bool = False) -> None:
        self._events = events
        self._ends = ends

    def follow(self, after: int, beat: Callable[[], None] | None = None) -> Iterator[Event]:
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
    return endpoints_view.follow(told, accepted(revision), lambda _: None, lambda: 0.0)  # type: ignore[arg-type]


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


class Beating:
    """A server whose workers are `workers[n]` at the n-th beat, each beat 15 s after the last; no event ever comes."""

    def __init__(self, *workers: tuple[views.WorkerStatus, ...]) -> None:
        self._workers = workers
        self.beats = 0

    def now_s(self) -> float:
        return 15.0 * self.beats

    def status(self) -> views.Status:
        return views.Status((), self._workers[self.beats - 1])

    def follow(self, after: int, beat: Callable[[], None]) -> Iterator[Event]:
        for _ in self._workers:
            self.beats += 1
            beat()
        yield event(11, DEPLOY, 2)
        yield event(12, EventKind.REVISION_LIVE, 2)


def waiting(server: Beating) -> tuple[list[str], views.Accepted]:
    said: list[str] = []
    done = endpoints_view.follow(server, accepted(2), said.append, server.now_s)  # type: ignore[arg-type]
    return said, done


def worker(pid: int, *, ready: bool) -> views.WorkerStatus:
    return views.WorkerStatus(0, pid, ready, False, 1, 0)


def test_a_deploy_that_no_worker_takes_ends_and_says_where_to_look() -> None:
    crashing = [((worker(pid, ready=False),) if pid % 2 else ()) for pid in range(100)]
    server = Beating(*crashing)
    with pytest.raises(TemporaryError) as caught:
        waiting(server)
    assert caught.value.code == "not_ready" and "no worker has been ready" in caught.value.message
    assert "seaway up" in (caught.value.hint or "")
    assert server.now_s() == PATIENCE_S


def test_a_deploy_says_once_that_its_bundle_is_being_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Beating(*[(worker(7, ready=True),)] * 6)
    opened = iter([("prices:v9",), ("prices:v2",), ("prices:v2",), ("prices:v2",), (), ()])
    alive = server.status

    def status() -> views.Status:
        endpoints = tuple(
            watch_values.status(endpoint=name, opening=opening)
            for name, opening in (("other", ("prices:v2",)), ("prices", next(opened)))
        )
        return msgspec.structs.replace(alive(), endpoints=endpoints)

    monkeypatch.setattr(server, "status", status)
    said, _ = waiting(server)
    loading = "prices: loading and warming prices:v2"
    assert said == [loading, "prices: opening, each byte is checked: prices:v2", loading]


@pytest.mark.parametrize("ready", [True, False])
def test_a_deploy_waits_for_workers_that_stay(ready: bool) -> None:
    gone: list[tuple[views.WorkerStatus, ...]] = [()] * 6
    alive = [(worker(7, ready=ready),)] * 20
    said, done = waiting(Beating(*gone, *alive, *gone))
    assert done.revision == 2
    assert [line for line in said if "no worker is ready" in line]

"""The verb `watch` without a server, with wrong words, and what it makes of a server that goes away."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
import watch_values as v

from seaway.cli import main as cli
from seaway.cli.watch import Poll
from seaway.control import views
from seaway.core.errors import SeawayError, TemporaryError, UserError
from seaway.core.events import Event
from seaway.core.ledger import Page
from seaway.testing.clock import VirtualClock


class FakeControl:
    """A server that answers one page a second; `away` is what it answers instead."""

    running = True

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self.away: SeawayError | None = None
        self.asked: list[int] = []
        self.generation = 1
        self.read = 0

    def seconds(self, endpoint: str, after_s: int = 0) -> views.Seconds:
        self.asked.append(after_s)
        if self.away is not None:
            raise self.away
        ahead_s = self._clock.now_s() - v.NOW_S
        page = v.page(3, 400, lambda ago: v.counts(2), endpoint)
        told = v.told(now_s=self._clock.now_s(), endpoint=v.status(generation=self.generation))
        moved = (
            type(second)(second.at_s + round(ahead_s), second.counts)
            for second in page.seconds
            if second.at_s + round(ahead_s) > after_s
        )
        pages = (Page(endpoint, 3, v.digest(3), tuple(moved)),)
        return views.Seconds(told.endpoint, told.now_s, told.through_s, pages, told.workers)

    def history(self, endpoint: str | None = None) -> tuple[Event, ...]:
        self.read += 1
        return v.EVENTS

    def deploy(self, endpoint: str, request: views.DeployRequest) -> views.Accepted:
        raise NotImplementedError

    def rollback(self, endpoint: str, to: int | None = None, reason: str | None = None) -> views.Accepted:
        raise NotImplementedError

    def delete(self, endpoint: str) -> views.Accepted:
        raise NotImplementedError

    def status(self) -> views.Status:
        raise NotImplementedError

    def live_at(self, at: str, endpoint: str | None = None) -> tuple[()]:
        raise NotImplementedError

    def follow(self, after: int, beat: Callable[[], None] | None = None) -> Iterator[Event]:
        raise NotImplementedError


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(v.NOW_S)


def test_only_new_seconds_are_asked_for_and_none_is_counted_twice(clock: VirtualClock) -> None:
    control = FakeControl(clock)
    poll = Poll(control, "prices", clock)
    for _ in range(5):
        assert poll.look().recent.requests == 600
        clock.advance(1.0)
    assert control.asked == [int(v.NOW_S) - 305, *range(v.THROUGH_S, v.THROUGH_S + 4)]


def test_events_are_read_when_the_endpoint_changes_and_now_and_then(clock: VirtualClock) -> None:
    control = FakeControl(clock)
    poll = Poll(control, "prices", clock)
    for _ in range(9):
        poll.look()
        clock.advance(1.0)
    assert control.read == 1
    control.generation = 2
    poll.look()
    assert control.read == 2
    clock.advance(10.0)
    poll.look()
    assert control.read == 3


def test_a_server_that_goes_away_leaves_the_last_picture_and_says_since_when(clock: VirtualClock) -> None:
    control = FakeControl(clock)
    poll = Poll(control, "prices", clock)
    last = poll.look()
    control.away = TemporaryError("control_unavailable", "nobody there")
    clock.advance(1.0)
    gone = poll.look_again(last)
    clock.advance(7.0)
    gone = poll.look_again(gone)
    assert (gone.silent_since_s, gone.now_s, gone.silence) == (v.NOW_S + 1, v.NOW_S + 8, "nobody there")
    assert gone.traffic == last.traffic
    control.away = UserError("endpoint_not_found", "deleted")
    assert poll.look_again(gone).silence == "deleted"
    control.away = None
    back = poll.look_again(gone)
    assert back.silence is None and back.silent_since_s is None
    assert back.recent.requests == 600


def test_with_no_server_it_says_that_nothing_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["watch", "prices", "--json"]) == 4
    error = json.loads(capsys.readouterr().err)
    assert error["code"] == "control_unavailable"
    assert "no server runs" in error["error"] and error["hint"] == "seaway up"


@pytest.mark.parametrize("interval", ["0s", "1", "10ms", "2h", "soon"])
def test_an_interval_that_is_none_is_refused(interval: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["watch", "prices", "--interval", interval]) == 2
    assert "--interval" in capsys.readouterr().err

"""What `seaway watch` computes from the ledger's seconds: windows, shares, running means, answers, and its memory."""

from __future__ import annotations

import msgspec
import pytest
import watch_values as v

from seaway.cli import watch_answers
from seaway.cli.watch_model import Memory, Watch, runs_of
from seaway.control import views
from seaway.core.answers import AnswerKind, count_numbers
from seaway.core.events import EventKind
from seaway.core.ledger import Counts, merge_pages


def test_windows_count_exactly_their_seconds() -> None:
    page = v.page(3, 400, lambda ago: v.counts(10, failed=1 if ago < 10 else 0, overdue=1 if ago == 9 else 0))
    view = Watch.from_pages(v.told(page), [page])
    assert (view.now.requests, view.now.per_s, view.now.failed, view.now.overdue) == (100, 10.0, 10, 1)
    assert (view.recent.requests, view.recent.failed) == (3000, 10)
    assert view.traffic == (10,) * 120
    assert view.bad == (0,) * 110 + (1,) * 10
    assert view.now.p99_ms == pytest.approx(2.0, rel=0.022)


def test_a_second_without_requests_is_a_zero_and_no_gap() -> None:
    page = v.page(3, 3, lambda ago: v.counts(5 if ago == 2 else 0))
    assert Watch.from_pages(v.told(page), [page]).traffic[-4:] == (0, 5, 0, 0)


def test_revisions_share_the_traffic_and_the_live_one_is_marked() -> None:
    old, new = v.page(3, 300, lambda ago: v.counts(30)), v.page(4, 20, lambda ago: v.counts(10, 8.0))
    told = v.told(old, new, endpoint=v.status(live=3, revisions=(3, 4)))
    first, second = Watch.from_pages(told, [old, new]).revisions
    assert (first.number, first.live, first.share_percent, first.ref) == (4, False, 25.0, "prices:v4")
    assert (second.number, second.live, second.share_percent) == (3, True, 75.0)
    assert first.now.p50_ms == pytest.approx(8.0, rel=0.022)
    assert Watch.from_pages(told, [old, new]).now.requests == 400


def test_a_revision_that_is_gone_and_was_not_asked_for_minutes_is_not_shown() -> None:
    gone = v.page(2, 400, lambda ago: v.counts(10 if ago >= 300 else 0))
    now = v.page(3, 5, lambda ago: v.counts(1))
    assert [one.number for one in Watch.from_pages(v.told(gone, now), [gone, now]).revisions] == [3]


def test_means_are_those_since_the_earlier_poll_over_all_workers() -> None:
    earlier = v.told(
        workers=[
            v.worker(0, v.loaded(3, v.execution(1000, 500, 1000, 1.0))),
            v.worker(1, v.loaded(3, v.execution(50, 50, 50, 1.0))),
        ]
    )
    later = v.told(
        workers=[
            v.worker(0, v.loaded(3, v.execution(1300, 600, 1400, 1.3))),
            v.worker(1, v.loaded(3, v.execution(150, 50, 50, 1.1))),
        ]
    )
    (one,) = Watch.from_pages(later, [], before=runs_of(earlier)).revisions
    assert one.running is not None and not one.running.since_loading
    assert one.running.batch_rows == pytest.approx(4.0)
    assert one.running.queue_ms == pytest.approx(1.0)  # 0.4 s for 400 requests
    assert one.running.run_ms == pytest.approx(2.0)  # 0.2 s for 100 batches
    assert (one.running.in_flight, one.running.memory_bytes) == (4, 80 << 20)
    (fresh,) = Watch.from_pages(later, []).revisions
    assert fresh.running is not None and fresh.running.since_loading
    assert fresh.running.batch_rows == pytest.approx(1450 / 650)


def test_a_worker_that_was_replaced_begins_at_zero() -> None:
    before = runs_of(v.told(workers=[v.worker(0, v.loaded(3, v.execution(5000, 5000, 5000)))]))
    later = v.told(workers=[v.worker(0, v.loaded(3, v.execution(10, 5, 20)))])
    (one,) = Watch.from_pages(later, [], before=before).revisions
    assert one.running is not None and one.running.batch_rows == 4.0


def test_classes_are_shared_out_the_most_frequent_first() -> None:
    found = watch_answers.read(Counts(answers=(("a", 1), ("b", 3), ("nan", 1)), unread=15), AnswerKind.CLASS)
    assert found is not None
    assert [(share.name, share.percent) for share in found.classes] == [
        ("b", 60.0),
        ("a", 20.0),
        ("nan", 20.0),
    ]
    assert (found.rows, found.unread, found.no_answer_percent) == (5, 15, 20.0)
    assert watch_answers.read(Counts(), AnswerKind.CLASS) is None


def test_numbers_lie_within_a_bin_of_where_they_are() -> None:
    import numpy as np

    values = np.concatenate([np.linspace(-5.0, 200.0, 2001), np.zeros(3), [np.nan, np.inf]])
    counts = Counts(answers=tuple(sorted(count_numbers(values).items())))
    found = watch_answers.read(counts, AnswerKind.NUMBER)
    assert found is not None and found.numbers is not None
    exact = np.quantile(values[np.isfinite(values)], (0.01, 0.5, 0.99))
    assert (found.numbers.p1, found.numbers.median, found.numbers.p99) == pytest.approx(exact, rel=0.06)
    assert found.no_answer_percent == pytest.approx(100 * 2 / len(values))


def test_classes_that_look_like_bins_are_classes_where_the_model_says_so() -> None:
    counts = Counts(answers=(("-1", 4), ("0", 6)))
    found = watch_answers.read(counts, AnswerKind.CLASS)
    assert found is not None and [share.name for share in found.classes] == ["0", "-1"]
    number = watch_answers.read(counts, AnswerKind.NUMBER)
    assert number is not None and number.numbers is not None and number.numbers.median == 0.0
    names = watch_answers.read(Counts(answers=(("up", 4),)), AnswerKind.NUMBER)
    assert names is not None and names.kind is AnswerKind.CLASS


def test_a_revision_that_a_rollout_came_back_to_was_live_all_the_time() -> None:
    again = [*v.EVENTS, v.event(90, EventKind.REVISION_LIVE, 3, ago_s=5.0)]
    view = Watch.from_pages(v.told(), [], again)
    assert view.live_since_s == pytest.approx(v.NOW_S - 3800.0)


def test_it_is_live_since_its_event_and_the_last_events_are_kept() -> None:
    many = tuple(msgspec.structs.replace(v.EVENTS[2], seq=n) for n in range(4, 30))
    view = Watch.from_pages(v.told(), [], (*v.EVENTS, *many))
    assert view.live_since_s == pytest.approx(v.NOW_S - 3800.0)
    assert [event.seq for event in view.events] == list(range(22, 30))
    assert (
        Watch.from_pages(v.told(endpoint=v.status(live=2, revisions=(2,))), [], v.EVENTS).live_since_s is None
    )


def poll(memory: Memory, *pages: object, ahead_s: int = 0, missing: bool = False) -> views.Seconds:
    lost = [views.MissingWorker(1, "gone")] if missing else []
    told = v.told(*pages, now_s=v.NOW_S + ahead_s, missing=lost)  # type: ignore[arg-type]
    memory.take(told)
    return told


def test_the_memory_asks_on_and_holds_five_minutes() -> None:
    memory = Memory()
    poll(memory, v.page(3, 900, lambda ago: v.counts(1)))
    assert memory.asked_after_s == v.THROUGH_S
    (page,) = memory.pages("prices")
    assert len(page.seconds) == 300
    told = poll(memory, ahead_s=100)
    (page,) = memory.pages("prices")
    assert len(page.seconds) == 200
    assert sum(Watch.from_pages(told, [page]).traffic) == 20
    poll(memory, ahead_s=400)
    assert memory.pages("prices") == ()


def test_seconds_in_which_a_worker_was_missing_are_asked_for_again_and_replaced() -> None:
    memory = Memory()
    poll(memory, v.page(3, 5, lambda ago: v.counts(1)))
    half, whole = v.page(3, 1, lambda ago: v.counts(2)), v.page(3, 1, lambda ago: v.counts(7))
    later = [msgspec.structs.replace(p.seconds[0], at_s=v.THROUGH_S + 1) for p in (half, whole)]
    poll(memory, msgspec.structs.replace(half, seconds=(later[0],)), ahead_s=1, missing=True)
    assert memory.asked_after_s == v.THROUGH_S
    assert memory.pages("prices")[0].seconds[-1].counts.finished == 2
    poll(memory, msgspec.structs.replace(whole, seconds=(later[1],)), ahead_s=2)
    assert memory.asked_after_s == v.THROUGH_S + 2
    assert [s.counts.finished for s in memory.pages("prices")[0].seconds] == [1, 1, 1, 1, 1, 7]


def test_the_means_of_ten_seconds_look_back_ten_seconds() -> None:
    memory = Memory()
    assert memory.before is None
    for ahead_s in range(0, 31, 3):
        told = v.told(workers=[v.worker(0, v.loaded(3, v.execution(ahead_s)))], now_s=v.NOW_S + ahead_s)
        memory.take(told)
        if ahead_s == 0:
            assert memory.before is None
        else:
            assert memory.before is not None
    assert memory.before is not None
    assert [run.requests for run in memory.before.values()] == [18]  # of 30: the newest that is 10 s old


def test_merged_pages_of_workers_are_what_it_takes() -> None:
    pages = merge_pages([v.page(3, 10, lambda ago: v.counts(1)), v.page(3, 10, lambda ago: v.counts(2))])
    assert Watch.from_pages(v.told(*pages), pages).now.requests == 30

"""The picture of `seaway watch` with fixed values, at several sizes, and with values as large and odd as they may be."""

from __future__ import annotations

import msgspec
import pytest
import watch_values as v

from seaway.cli import history_view
from seaway.cli import watch_figures as figures
from seaway.cli.watch_model import Watch
from seaway.cli.watch_view import render
from seaway.control import views
from seaway.core.answers import AnswerKind
from seaway.core.deployments import Phase
from seaway.core.events import EventKind
from seaway.core.ledger import Counts, Page

LONG = "a-name-as-long-as-names-may-be-" + "x" * 32
SIZES = [(80, 24), (100, 30), (120, 40), (200, 60), (40, 10), (20, 5), (1, 1)]

AT_80_BY_24 = """\
prices  live  revision 3  prices:v3  sha256:000000000000
1 worker ready, 180.0 MiB · live for 1 h 3 min · counted up to 07:59:58 UTC
! revision 4 failed: its first prediction failed: bad axis
TRAFFIC  requests a second in the last 80 s, at most 80
▁▁▁▁▁▂▂▂▂▂▂▂▂▂▂▃▃▃▃▃▃▃▃▃▃▄▄▄▄▄▄▄▄▄▄▅▅▅▅▅▅▅▅▅▅▆▆▆▆▆▆▆▆▆▆▇▇▇▇▇▇▇▇▇▇███████████████
                                                      !                    !
REQUESTS      10 s       %  5 min       %    LATENCY ms  10 s  5 min
  ended     77.5/s          3,625            p50         4.01   4.01
! failed         2  0.26 %      4  0.11 %    p90         4.01   4.01
  refused        0     0 %      0     0 %    p99         4.01   4.01
  invalid        0     0 %      0     0 %
  rejected       0     0 %      0     0 %
! overdue        2  0.26 %      4  0.11 %
REVISIONS  the last 10 s, times in ms; batch, queue, run: means since loading
revision  share  req/s    errors   p50   p99  batch  queue   run    lane
3 live    100 %   77.5  ! 0.26 %  4.01  4.01    8.0   1.00  2.00  inline
ANSWERS  the last 5 min: 3,625 rows
  up    75.9 %  ██████████████████████████████▍
  down  24.1 %  █████████▊
WORKERS  memory, open requests
  0  ready  180.0 MiB  2 open
EVENTS  UTC
! 07:58:55  failed  4 prices:v4  its first prediction failed: bad axis
  06:56:40  live  3 prices:v3  by ada"""


def ramp(ago: int) -> Counts:
    requests = max(0, 80 - abs(ago - 5))
    bad = 2 if ago in (4, 25) else 0
    answers = (("down", requests // 4), ("up", requests - requests // 4))
    return v.counts(requests, 4.0, answers, failed=bad, overdue=bad)


def picture(view: Watch, width: int, height: int | None) -> list[str]:
    lines = v.drawn(render(view, width, height), width)
    assert height is None or len(lines) <= height
    assert all(figures.Text(line).cell_len <= width for line in lines)
    return lines


def simple() -> Watch:
    page = v.page(3, 300, ramp)
    status = v.status(failed=4, reason="its first prediction failed: bad axis")
    return Watch.from_pages(v.told(page, endpoint=status), [page], v.EVENTS)


def many_revisions(count: int) -> Watch:
    pages = [v.page(n, 5, lambda ago, n=n: v.counts(n, answers=(("up", n),))) for n in range(1, count + 1)]
    workers = [v.worker(0, *(v.loaded(n, v.execution()) for n in range(1, count + 1)))]
    told = v.told(*pages, endpoint=v.status(live=2, revisions=(2,)), workers=workers)
    return Watch.from_pages(told, pages)


def extreme() -> Watch:
    """Numbers as large as can be, names as long and as odd."""
    number = 10**15

    def of_second(ago: int) -> Counts:
        answers = tuple((f"{'klasse' * 30}{n}\x1b[31m\n漢字", number) for n in range(40))
        wrong = dict.fromkeys(("failed", "refused", "rejected", "cancelled", "invalid", "overdue"), number)
        return Counts(
            finished=10 * number,
            rows=10**16,
            unread=number,
            latency=((640, number),),
            answers=answers,
            **wrong,
        )

    pages = [v.page(number, 60, of_second, LONG) for number in (123_456, 123_457, 123_458)]
    run = v.execution(number, number, number * 100, 1e9)
    workers = [v.worker(s, v.loaded(123_456, run), v.loaded(123_457, run)) for s in range(64)]
    missing = [views.MissingWorker(s, "it gave\x1b]0;no\x07answer " * 30) for s in range(60, 80)]
    status = v.status(live=123_456, endpoint=LONG, revisions=(123_456, 123_457), reason="why " * 99, failed=9)
    told = v.told(*pages, endpoint=status, workers=workers, missing=missing)
    events = [v.event(n, EventKind.ACTION_REFUSED, 7, "refused\r\n\x1b[2J" * 40) for n in range(20)]
    return Watch.from_pages(told, pages, events)


def test_at_80_by_24_all_of_it_is_there() -> None:
    assert "\n".join(picture(simple(), 80, 24)) == AT_80_BY_24


def test_events_are_called_as_the_history_calls_them() -> None:
    kinds = (
        EventKind.ROLLOUT_STARTED,
        EventKind.ROLLOUT_STEPPED,
        EventKind.TRAFFIC_SET,
        EventKind.REVISION_LIVE,
    )
    events = [v.event(place, kind, 3) for place, kind in enumerate(kinds)]
    lines = picture(Watch.from_pages(v.told(), [], events), 100, None)
    shown = lines[lines.index("EVENTS  UTC") + 1 :]
    assert [line.split("  ")[2] for line in shown] == [history_view.SAID[kind] for kind in reversed(kinds)]
    assert "step" in shown[2]


def test_a_wide_terminal_shows_two_sections_side_by_side_and_more_columns() -> None:
    lines = picture(simple(), 120, 40)
    (heads,) = [line for line in lines if "REQUESTS" in line]
    assert "LATENCY ms" in heads and "ANSWERS" in heads
    assert any("EVENTS" in line and "WORKERS" in line for line in lines)
    (heads,) = [line for line in lines if line.startswith("revision  ")]
    assert heads.split()[-3:] == ["open", "memory", "version"]


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize(
    "make", [simple, extreme, lambda: many_revisions(40)], ids=["simple", "extreme", "40"]
)
def test_it_fits_any_terminal(make: object, width: int, height: int) -> None:
    lines = picture(make(), width, height)  # type: ignore[operator]
    assert lines
    if height >= 24:
        text = "\n".join(lines)
        for title in ("TRAFFIC", "REQUESTS", "LATENCY", "REVISIONS"):
            assert title in text


@pytest.mark.parametrize("width", [80, 160])
def test_what_others_wrote_moves_no_cursor(width: int) -> None:
    text = "\n".join(picture(extreme(), width, None))
    assert not {char for char in text if not char.isprintable()} - {"\n"}


def test_numbers_stay_short_however_large() -> None:
    lines = picture(extreme(), 80, 24)
    (ended,) = [line for line in lines if line.startswith("  ended")]
    assert ended.split()[1:3] == ["30.0P/s", "1,800P"]
    (failed,) = [line for line in lines if line.startswith("! failed")]
    assert failed.split()[2:4] == ["30.0P", "10.0"]


def test_no_traffic_at_all() -> None:
    text = "\n".join(picture(Watch.from_pages(v.told(workers=[v.worker(0, v.loaded(3))]), []), 80, 24))
    assert "TRAFFIC  requests a second in the last 80 s\n  none" in text
    assert "ANSWERS  the last 5 min\n  none counted" in text
    assert "EVENTS  UTC\n  none" in text
    assert "!" not in text and "nan" not in text.lower()


def test_nothing_is_live_and_no_worker_answers() -> None:
    status = v.status(live=None, revisions=(1,), desired=1)
    text = "\n".join(picture(Watch.from_pages(v.told(endpoint=status, workers=[]), []), 80, 24))
    assert "revision 1 is on its way" in text
    assert "opening" not in text
    assert "REVISIONS" in text and "none is loaded" in text
    assert "0 workers ready" in text


def test_a_revision_whose_bundle_is_being_opened_says_so() -> None:
    status = v.status(revisions=(3, 4), desired=4, opening=("prices:v4",), phase=Phase.PROGRESSING)
    text = "\n".join(picture(Watch.from_pages(v.told(endpoint=status), []), 100, 24))
    assert "revision 4 is on its way: opening prices:v4, each of its bytes is checked" in text


def test_one_class_fills_its_bar() -> None:
    page = v.page(3, 30, lambda ago: v.counts(4, answers=(("only", 4),)))
    lines = picture(Watch.from_pages(v.told(page), [page]), 100, 30)
    assert f"  only   100 %  {'█' * 40}" in lines


def test_many_classes_show_five_and_the_rest_together() -> None:
    answers = tuple((f"class {n}", 10 - n) for n in range(9))
    page = v.page(3, 30, lambda ago: v.counts(9, answers=answers))
    text = "\n".join(picture(Watch.from_pages(v.told(page), [page]), 100, 30))
    assert "class 4" in text and "class 5" not in text
    assert "and 4 more: 25.9 %" in text


def test_numbers_say_where_they_lie() -> None:
    page = v.page(3, 30, lambda ago: v.counts(4, answers=(("+8", 3), ("nan", 1))))
    lines = picture(Watch.from_pages(v.told(page, kind=AnswerKind.NUMBER), [page]), 100, 30)
    place = next(index for index, line in enumerate(lines) if line.startswith("ANSWERS"))
    assert lines[place + 1].split() == ["revision", "p1", "median", "p99", "NaN,", "inf"]
    assert lines[place + 2].split() == ["3", "live", "2.09", "2.09", "2.09", "25.0", "%"]


def test_answers_that_were_not_all_read_say_how_many_were() -> None:
    page = v.page(3, 30, lambda ago: v.counts(20, answers=(("up", 5),), unread=15))
    text = "\n".join(picture(Watch.from_pages(v.told(page), [page]), 100, 30))
    assert "150 rows, 25.0 % of all" in text


def test_two_revisions_are_compared_side_by_side() -> None:
    old = v.page(3, 300, lambda ago: v.counts(4, answers=(("down", 1), ("up", 3))))
    new = v.page(4, 20, lambda ago: v.counts(2, answers=(("down", 1), ("up", 1))))
    told = v.told(old, new, endpoint=v.status(revisions=(3, 4)))
    lines = picture(Watch.from_pages(told, [old, new]), 80, 24)
    assert "  answer   rev 3   rev 4" in lines
    assert "  up      75.0 %  50.0 %" in lines


def test_of_forty_revisions_the_live_and_the_busiest_stay_and_the_others_are_counted() -> None:
    lines = picture(many_revisions(40), 100, 30)
    start = lines.index(next(line for line in lines if line.startswith("REVISIONS")))
    table = lines[start + 2 : lines.index("", start)]
    assert table[0].startswith("40 ") and table[1].startswith("39 ")
    assert table[-2].startswith("2 live")
    assert table[-1].strip() == f"… and {40 - (len(table) - 1)} more"
    assert sum(line.split()[0].isdigit() for line in picture(many_revisions(40), 100, None) if line) >= 40


def test_what_must_not_be_overlooked_stands_in_the_header() -> None:
    told = v.told(missing=[views.MissingWorker(1, "worker 1 gave no answer in 1.5 s")])
    view = Watch.from_pages(told, [])
    gone = msgspec.structs.replace(
        view, silent_since_s=v.NOW_S, now_s=v.NOW_S + 75.0, silence="the control process does not answer"
    )
    lines = picture(gone, 120, 40)
    assert lines[1].startswith("1 of 2 workers ready")
    assert lines[2].startswith(
        "! no answer since 08:00:00 UTC (1 min 15 s), all below is of then: the control"
    )
    assert lines[3] == "! not in these figures: worker 1 (worker 1 gave no answer in 1.5 s)"
    assert any("! 1  gives no answer" in line for line in lines)


def test_a_picture_without_colour_marks_what_is_wrong() -> None:
    page = Page("prices", 3, v.digest(3), v.page(3, 10, lambda ago: v.counts(5, refused=1)).seconds)
    lines = picture(Watch.from_pages(v.told(page), [page]), 80, 24)
    assert any(line.startswith("! refused") for line in lines)
    assert any(line.strip("! ") == "" and line.endswith("!" * 10) for line in lines)
    (row,) = [line for line in lines if line.startswith("3 live")]
    assert " ! 20.0 % " in row


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (9_999, "9,999"),
        (10_000, "10.0k"),
        (123_456, "123k"),
        (999_499, "999k"),
        (999_500, "1.00M"),
        (4_560_000, "4.56M"),
    ],
)
def test_counts(number: int, text: str) -> None:
    assert figures.count(number) == text


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (0, 0, "-"),
        (0, 10**9, "0 %"),
        (1, 10**9, "<0.01 %"),
        (1, 300, "0.33 %"),
        (1, 3, "33.3 %"),
        (10**9 - 1, 10**9, ">99.9 %"),
        (7, 7, "100 %"),
    ],
)
def test_a_share_hides_neither_the_first_nor_the_last(part: int, whole: int, text: str) -> None:
    assert figures.share(part, whole) == text


def test_bars_show_the_least_request_and_fill_the_highest() -> None:
    assert figures.bars((0, 1, 1000), 2) == ["  █", " ▁█"]
    assert figures.bars((0, 0), 1) == ["  "]
    assert figures.bar(0.5, 4) == "██" and figures.bar(0.0, 4) == "" and figures.bar(1.0, 4) == "████"


def test_the_header_says_of_how_many_requests_the_summaries_are_and_what_cannot_be_kept() -> None:
    def header(rate: float, *faults: str) -> list[str]:
        worker = msgspec.structs.replace(v.worker(0, v.loaded(3)), recorder_rate=rate, recorder_faults=faults)
        told = v.told(v.page(3, 10, ramp), workers=[v.worker(1, v.loaded(3)), worker])
        return picture(Watch.from_pages(told, told.pages), 100, 30)[:4]

    assert not any("summaries" in line for line in header(1.0))
    assert "summaries of 12.5 % of the requests" in header(0.125)[1]
    assert "! cannot keep seconds: No space left on device" in header(1.0, "seconds: No space left on device")

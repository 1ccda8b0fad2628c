"""What a replay's report says: shares with intervals, the rows that changed most, slices, outcomes, and a page that is safe."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from seaway.core.agreement import Rule
from seaway.core.answers import AnswerKind, AnswerSpec
from seaway.core.captures import Cell
from seaway.core.checks import Verdict
from seaway.core.replays import Cost, LeftOut
from seaway.validate import replay, replay_report
from seaway.validate.replay import About, Replayed, Said

AT_S = 1_770_000_000.0


def about(rule: Rule | None = None) -> About:
    return About(
        "prices",
        "prices:v2",
        "sha256:" + "a" * 64,
        "the recorded answers of revision 1",
        AT_S,
        rule or Rule(),
    )


def request(
    n: int,
    live: Sequence[float | str],
    candidate: Sequence[float | str] | None,
    sure: Sequence[float] | None = None,
    cells: Mapping[str, Sequence[Cell]] | None = None,
    truths: Mapping[int, str] | None = None,
) -> Replayed:
    said = None if candidate is None else Said(_array(candidate), None if sure is None else np.array(sure))
    failure = "execution_failed: it failed" if candidate is None else None
    return Replayed(
        f"r-{n}", AT_S - n, len(live), Said(_array(live)), said, failure, cells or {}, truths or {}
    )


def _array(values: Sequence[float | str]) -> np.ndarray:
    text = any(isinstance(value, str) for value in values)
    return np.array(list(values), dtype=object if text else np.float64)


def test_the_same_answers_differ_nowhere() -> None:
    found = replay.report(about(), [request(n, [1.0, 2.0], [1.0, 2.001]) for n in range(50)])
    assert (found.differ.count, found.differ.of, found.rows, found.rows_differ) == (0, 50, 100, 0)
    assert found.differ.low == 0.0 and 0.05 < found.differ.high < 0.1
    assert (found.moved, found.changes, found.slices, found.labelled) == ((), (), (), None)
    assert (found.first_at, found.last_at) == (replay.iso(AT_S - 49), replay.iso(AT_S))


def test_the_interval_is_about_requests_and_not_about_rows() -> None:
    """A hundred rows that change together are one request that changed."""
    requests = [request(0, [1.0] * 100, [2.0] * 100), *(request(n, [1.0], [1.0]) for n in range(1, 20))]
    found = replay.report(about(), requests)
    assert (found.differ.count, found.differ.of, found.rows_differ) == (1, 20, 100)


def test_numbers_that_moved_most_come_first_and_nan_before_all() -> None:
    requests = [request(n, [100.0], [100.0 + 2 * n]) for n in range(30)]
    requests.append(request(99, [1.0], [float("nan")]))
    found = replay.report(about(), requests)
    assert [one.request_id for one in found.moved[:3]] == ["r-99", "r-29", "r-28"]
    assert (found.moved[0].by, found.moved[1].by) == (None, 58.0)
    assert len(found.moved) == replay.MOST_MOVED
    assert found.numbers is not None and found.numbers.largest == 58.0


def test_classes_that_changed_are_ranked_by_how_sure_the_new_answer_is() -> None:
    requests = [request(n, ["yes"], ["no"], sure=[n / 10]) for n in range(1, 10)]
    requests += [request(n, ["no"], ["no"], sure=[1.0]) for n in range(20, 30)]
    found = replay.report(about(), requests)
    assert [one.request_id for one in found.moved[:2]] == ["r-9", "r-8"]
    assert found.moved[0].by == 0.9 and found.numbers is None
    assert [(one.live, one.candidate, one.rows) for one in found.changes] == [("yes", "no", 9)]


def test_a_request_that_the_candidate_fails_is_counted_apart() -> None:
    found = replay.report(
        about(), [request(0, [1.0], [1.0]), request(1, [1.0], None), request(2, [1.0], None)]
    )
    assert (found.requests, found.differ.of, found.failed) == (3, 1, 2)
    assert found.failures == (LeftOut("execution_failed: it failed", 2),)


def test_a_candidate_that_fails_on_everything_has_a_report_too() -> None:
    found = replay.report(about(), [request(n, [1.0], None, truths={0: "1"}) for n in range(40)])
    assert (found.differ.of, found.differ.low, found.differ.high) == (0, 0.0, 1.0)
    assert found.labelled is not None and found.labelled.only_live_right == 40
    assert replay_report.to_html(found)


def test_the_slice_that_is_worse_is_found_and_is_certain() -> None:
    rng = np.random.default_rng(3)
    requests = []
    for n in range(600):
        region, area = str(rng.choice(["north", "south", "west"])), float(rng.normal())
        bad = region == "west" and rng.random() < 0.5
        cells: dict[str, Sequence[Cell]] = {
            "region": [region],
            "area": [area],
            "storeys": [int(rng.integers(4))],
        }
        requests.append(request(n, [1.0], [2.0 if bad else 1.0], cells=cells))
    found = replay.report(about(), requests)
    first = found.slices[0]
    assert (first.where, first.certain) == ("region = west", True)
    assert first.low < 0.5 < first.high and first.low > found.differ.value
    assert not any(one.certain for one in found.slices[1:])
    assert found.slices_seen > len(found.slices) - 1


def test_no_slice_of_identical_models_is_certain() -> None:
    rng = np.random.default_rng(4)
    requests = [
        request(n, [1.0], [2.0 if rng.random() < 0.2 else 1.0], cells={"k": [int(rng.integers(10))]})
        for n in range(1000)
    ]
    assert not any(one.certain for one in replay.report(about(), requests).slices)


@pytest.mark.parametrize(
    ("live", "candidate", "verdict", "words"),
    [
        ("1", "0", Verdict.FAILED, "only the candidate is wrong on 600"),
        ("1", "1", Verdict.PASSED, "not worse by more than 1.0 %, for certain"),
        ("0", "1", Verdict.PASSED, "only what was live on 600"),
    ],
)
def test_outcomes_say_which_of_the_two_is_right(
    live: str, candidate: str, verdict: Verdict, words: str
) -> None:
    requests = [request(n, [live], [candidate], truths={0: "true"}) for n in range(600)]
    found = replay.report(about(), requests).labelled
    assert found is not None
    assert (found.requests, found.verdict) == (600, verdict)
    assert words in found.reason


def test_few_outcomes_are_no_verdict() -> None:
    requests = [request(n, ["1"], ["1"], truths={0: "1"} if n < 3 else {}) for n in range(50)]
    found = replay.report(about(), requests).labelled
    assert found is not None and (found.requests, found.verdict) == (3, Verdict.INCONCLUSIVE)
    assert "too few to be certain" in found.reason


def test_of_two_numbers_the_nearer_one_is_better_and_near_ones_are_the_same() -> None:
    requests = [
        request(0, [10.0], [12.0], truths={0: "10.5"}),
        request(1, [10.0], [12.0], truths={0: "11.9"}),
        request(2, [10.0], [10.01], truths={0: "10.01"}),
        request(3, [10.0], [float("nan")], truths={0: "10"}),
        request(4, [10.0], [12.0], truths={0: "not a number"}),
    ]
    found = replay.report(about(), requests).labelled
    assert found is not None
    assert (found.requests, found.only_live_right, found.only_candidate_right) == (4, 2, 1)


def test_the_order_of_requests_changes_nothing() -> None:
    requests = [
        request(n, [float(n)], [float(n) * (1.2 if n % 3 else 1)], cells={"k": [n % 4]}) for n in range(200)
    ]
    found = replay.report(about(), requests)
    turned = replay.report(about(), requests[::-1])
    assert found.differ == turned.differ and found.slices == turned.slices and found.numbers == turned.numbers


def test_outputs_without_an_answer_are_compared_as_rows_of_numbers() -> None:
    one = replay.read(None, {"e": np.ones((2, 3)), "note": np.array(["a", "b"], dtype=object)}, 2)
    assert one.values.shape == (2, 3)
    two = Said(one.values * np.array([[1.0], [2.0]]))
    found = replay.report(about(), [Replayed("r", AT_S, 2, one, two)])
    assert found.rows_differ == 1 and found.moved[0].live == "[1, 1, 1]" and found.moved[0].by == 1.0


def test_answers_of_another_kind_differ_everywhere() -> None:
    found = replay.report(about(), [request(0, ["1", "2"], [1.0, 2.0])])
    assert found.rows_differ == 2 and found.moved[0].candidate == 1.0


def test_read_gives_answers_and_confidence() -> None:
    spec = AnswerSpec(AnswerKind.CLASS, "p", argmax=True, confidence="p", classes=("no", "yes"))
    said = replay.read(spec, {"p": np.array([[0.2, 0.8], [0.9, 0.1]])}, 2)
    assert (
        said.values.tolist() == ["yes", "no"] and said.sure is not None and said.sure.tolist() == [0.8, 0.9]
    )


def test_the_page_tells_it_and_holds_names_as_text_only() -> None:
    cells: dict[str, Sequence[Cell]] = {"<script>alert(1)</script>": ["<b>"]}
    requests = [
        request(n, ["<i>x</i>"], ["y"], sure=[0.5], cells=cells, truths={0: "y"}) for n in range(40)
    ] + [request(n, ["y"], ["y"], sure=[0.5], cells={"other": ["z"]}) for n in range(40, 80)]
    given = about()
    given = About(
        given.endpoint, given.candidate, given.digest, given.compared_with, AT_S, cost=Cost(1000, 0.5, 0.25)
    )
    page = replay_report.to_html(replay.report(given, requests))
    assert "prices:v2" in page and "50 %" in page and "0.25" in page and "certain" in page
    assert "<script>alert" not in page and "<i>x</i>" not in page and "&lt;script&gt;" in page
    assert not re.search(r'(src|href)="http', page) and "default-src 'none'" in page
    assert "{{" not in page and "{%" not in page

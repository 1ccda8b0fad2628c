"""The page and the JSON of a gate's report."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import gate_fakes as fakes
import msgspec
import pytest

from seaway.core.bundles import Task
from seaway.core.checks import CheckResult, GateReport, GoldenFigures, Measurement, Verdict
from seaway.validate import report, suite


@pytest.fixture
def classifier(tmp_path: Path) -> GateReport:
    workshop = fakes.Workshop(tmp_path)
    table = fakes.rows(500)
    old = workshop.bundle(fakes.good, table)
    return suite.run_gate(
        workshop.bundle(fakes.upside_down, table, requirements=("accuracy>=0.8",)),
        workshop.runtime,
        fakes.TickingClock(),
        old,
    )


class Page(HTMLParser):
    """Collects tags, what they would load, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.words = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [
            value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "action")
        ]

    def handle_data(self, data: str) -> None:
        self.words += data


def test_the_page_says_the_verdict_the_checks_and_the_numbers(classifier: GateReport) -> None:
    page = Page(report.to_html(classifier))
    words = " ".join(page.words.split())
    assert "This version may not take traffic." in words
    for result in classifier.results:
        assert result.check in words and result.reason in words
    assert classifier.digest in words and str(classifier.baseline_ref) in words
    assert words.index("accuracy>=0.8") < words.index("loads and answers")  # what failed stands first
    assert page.tags.count("circle") == len(classifier.figures.reliability)  # type: ignore[union-attr]


def test_the_page_loads_nothing_and_runs_nothing(classifier: GateReport) -> None:
    html = report.to_html(classifier)
    page = Page(html)
    assert page.loads == []
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    assert "url(" not in html and "@import" not in html
    assert re.search(r"default-src 'none'", html)


def test_a_hostile_name_stays_text(classifier: GateReport) -> None:
    evil = "<script>alert(1)</script>"
    hostile = msgspec.structs.replace(
        classifier,
        results=(CheckResult(evil, Verdict.FAILED, evil, (Measurement(evil, 1.0, 1),)),),
        figures=GoldenFigures(2, (evil, "b"), ((1, 0), (0, 1))),
    )
    html = report.to_html(hostile)
    assert "<script" not in html
    assert evil in Page(html).words


def test_a_regressor_gets_a_drawing_of_its_errors(tmp_path: Path) -> None:
    workshop = fakes.Workshop(tmp_path)
    bundle = workshop.bundle(lambda x, kind: 3 * x, fakes.rows(80, Task.REGRESSION), task=Task.REGRESSION)
    found = suite.run_gate(bundle, workshop.runtime, fakes.TickingClock())
    assert Page(report.to_html(found)).tags.count("circle") == 80


def test_a_version_without_golden_set_says_so(tmp_path: Path) -> None:
    workshop = fakes.Workshop(tmp_path)
    found = suite.run_gate(workshop.bundle(fakes.good, None), workshop.runtime, fakes.TickingClock())
    assert "none: only loading, form and speed" in Page(report.to_html(found)).words


def test_json_comes_back_as_the_same_report(classifier: GateReport) -> None:
    data = report.to_json(classifier)
    assert report.from_json(data) == classifier
    assert data.endswith(b"}\n")

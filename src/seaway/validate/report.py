"""A gate's report as a page that a person reads, and as JSON that a program does; stored beside the version."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import jinja2
import msgspec

from seaway.core.checks import CheckResult, GateReport, GoldenFigures, Measurement, Verdict
from seaway.validate.metrics import METRICS

_WORDS: Final = {
    Verdict.PASSED: "may take traffic",
    Verdict.FAILED: "may not take traffic",
    Verdict.ERRORED: "could not be judged in full",
    Verdict.INCONCLUSIVE: "is not refused, but the evidence is thin",
}


class _Dot(msgspec.Struct, frozen=True):
    """A mark in a drawing of 300 by 300: centre and radius."""

    x: float
    y: float
    r: float
    title: str


class _Cell(msgspec.Struct, frozen=True):
    """One cell of the confusion matrix: its count and its share of the row, in percent."""

    count: int
    percent: float
    right: bool


class _Bar(msgspec.Struct, frozen=True):
    """An interval on a scale of 0 to 100."""

    low: float
    high: float
    at: float


def to_json(report: GateReport) -> bytes:
    """The report as JSON, ending in a newline; `from_json` reads it."""
    return msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n"


def from_json(data: bytes) -> GateReport:
    """Raises `msgspec.DecodeError` for anything that `to_json` has not written."""
    return msgspec.json.decode(data, type=GateReport)


def to_html(report: GateReport) -> str:
    """One page, complete in itself: it loads nothing, and holds whatever a model's names contain as text only."""
    figures = report.figures
    return template("gate.html.jinja").render(
        report=report,
        words=_WORDS[report.verdict],
        name=_name,
        interval=_interval,
        measured=_measured,
        bar=_bar,
        reliability=_reliability(figures) if figures else (),
        confusion=_confusion(figures) if figures else (),
        residuals=_residuals(figures) if figures else None,
        golden=next((result for result in report.results if result.check == "golden"), None),
        without_figures=_others(report.results),
    )


def template(name: str) -> jinja2.Template:
    """A page by its file name. Whatever it is given is escaped, and a name that it is not given is an error."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("seaway.validate", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def _others(results: Sequence[CheckResult]) -> list[CheckResult]:
    """The worst first, so that a reader on a phone sees what refused the version."""
    rank = (Verdict.FAILED, Verdict.ERRORED, Verdict.INCONCLUSIVE, Verdict.PASSED)
    return sorted(results, key=lambda result: rank.index(result.verdict))


def number(value: float | None, digits: int = 4) -> str:
    """The digits that count, thousands kept apart, and a real minus sign."""
    if value is None:
        return "–"
    text = f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.{digits}g}"
    return text.replace("-", "−") if "e" not in text else text


def _name(measurement: Measurement) -> str:
    """Such as `log loss, change`."""
    base = measurement.metric.removesuffix("_difference")
    changed = ", change" if base != measurement.metric else ""
    return base.removesuffix(f"_{measurement.unit.lower()}").replace("_", " ") + changed


def _interval(measurement: Measurement) -> str:
    if measurement.low is None or measurement.high is None:
        return ""
    return f"{number(measurement.low, 3)} to {number(measurement.high, 3)}"


def _measured(measurement: Measurement) -> str:
    unit = {"percent": " %"}.get(measurement.unit, f" {measurement.unit}" if measurement.unit else "")
    return number(measurement.value) + unit


def _bar(measurement: Measurement) -> _Bar | None:
    """Where value and interval lie between 0 and 1; None for a metric of another scale."""
    low, value, high = measurement.low, measurement.value, measurement.high
    known = METRICS.get(measurement.metric)
    if low is None or value is None or high is None or known is None or not known.bounded:
        return None
    return _Bar(100 * low, 100 * high, 100 * value)


def _reliability(figures: GoldenFigures) -> tuple[_Dot, ...]:
    """A dot for each bin: stated chance to the right, share that came true upwards, area by rows."""
    most = max((b.rows for b in figures.reliability), default=1)
    return tuple(
        _Dot(
            x=300 * b.stated,
            y=300 * (1 - b.came_true),
            r=3 + 9 * (b.rows / most) ** 0.5,
            title=f"stated {b.stated:.0%}, came true {b.came_true:.0%}, {b.rows} rows",
        )
        for b in figures.reliability
    )


def _confusion(figures: GoldenFigures) -> tuple[tuple[_Cell, ...], ...]:
    return tuple(
        tuple(
            _Cell(count, 100 * count / max(1, sum(row)), right=place == column)
            for column, count in enumerate(row)
        )
        for place, row in enumerate(figures.confusion)
    )


class _Residuals(msgspec.Struct, frozen=True):
    """Errors over answers: the dots, and what the edges of the drawing stand for."""

    dots: tuple[_Dot, ...]
    left: str
    right: str
    edge: str


def _residuals(figures: GoldenFigures) -> _Residuals | None:
    if not figures.residuals:
        return None
    answers = [answer for answer, _ in figures.residuals]
    left, right = min(answers), max(answers)
    edge = max(abs(error) for _, error in figures.residuals) or 1.0
    width = (right - left) or 1.0
    return _Residuals(
        dots=tuple(
            _Dot(
                x=10 + 280 * (answer - left) / width,
                y=150 - 140 * error / edge,
                r=3,
                title=f"answer {number(answer)}, off by {number(error)}",
            )
            for answer, error in figures.residuals
        ),
        left=number(left),
        right=number(right),
        edge=number(edge),
    )

"""A replay's report as a page that a person reads; the terminal's table is `cli.replay`'s."""

from __future__ import annotations

from seaway.core.evidence import words
from seaway.core.replays import ReplayReport
from seaway.validate import report as pages


def to_html(report: ReplayReport) -> str:
    """One page, complete in itself: it loads nothing, and holds whatever requests contain as text only."""
    return pages.template("replay.html.jinja").render(
        report=report,
        percent=words.percent,
        number=pages.number,
        shown=_shown,
        truths=any(one.truth is not None for one in report.moved),
    )


def _shown(value: str | float) -> str:
    return value if isinstance(value, str) else pages.number(value, 6)

"""`seaway replay`: recorded traffic run on a candidate offline, and how its answers differ."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Parameter

from seaway.cli import output
from seaway.cli.options import COMMON, Common, Flag
from seaway.cli.records import since_s
from seaway.core.errors import UserError
from seaway.core.evidence import words

if TYPE_CHECKING:
    from seaway.core.replays import ReplayReport, Share

_MOST_ROWS: Final = 10
_WIDE: Final = 24
_LINE: Final = 98
_MOST_LIMIT: Final = 1_000_000


def replay(
    endpoint: Annotated[str, Parameter(help="The endpoint whose recorded traffic is replayed.")],
    /,
    *,
    candidate: Annotated[str, Parameter(help="The version to try: NAME:v3.")],
    since: Annotated[str, Parameter(help="Only what came since: 30m, 12h, 7d, or a time.")] = "1d",
    limit: Annotated[int, Parameter(help="The newest so many requests.")] = 10_000,
    rerun: Annotated[
        bool, Flag, Parameter(help="Compare with what is live, run again, not with recorded answers.")
    ] = False,
    html: Annotated[Path | None, Parameter(help="Write the report as a page to this file too.")] = None,
    common: Common = COMMON,
) -> int:
    """Run recorded requests on a candidate, offline: what would change for whom, and what it would cost. No user sees it."""
    from seaway.validate import replay_report
    from seaway.wiring import replays
    from seaway.wiring.home import Home

    if not 1 <= limit <= _MOST_LIMIT:
        raise UserError("invalid_request", f"--limit {limit} is not between 1 and {_MOST_LIMIT:,}")
    home = Home(common.configuration())
    question = replays.Question(endpoint, candidate, since_s(since, home.clock.now_s()), limit, rerun)
    with output.progress(common.json) as progress:
        report = replays.run(home, question, progress)
    if html is not None:
        try:
            html.write_text(replay_report.to_html(report), "utf-8")
        except OSError as error:
            raise UserError("file_not_found", f"{html} cannot be written: {error.strerror}") from error
    if common.json:
        output.print_json(report)
    else:
        print_report(report)
        if html is not None:
            output.say(f"\npage: {output.plain(html)}")
    return 0


def print_report(report: ReplayReport) -> None:
    """What a person wants to know, the most important first."""
    output.say(
        f"[bold]{output.plain(report.candidate)}[/] on {report.requests:,} requests of {report.endpoint}"
    )
    output.say(f"from {report.first_at} to {report.last_at}")
    output.say(f"compared with {output.plain(report.compared_with)}\n")
    output.say(
        f"differs on [bold]{_share(report.differ)}[/]; in {report.rows_differ:,} of {report.rows:,} rows"
    )
    if report.failed:
        output.say(f"[red]failed[/] on {report.failed:,} requests, which are in no figure above")
        for one in report.failures:
            output.say(f"  {one.requests:,} × {output.plain(one.why)}")
    if report.labelled is not None:
        verdict = report.labelled.verdict.value
        colour = {"passed": "green", "inconclusive": "yellow"}.get(verdict, "red")
        output.say(f"quality: [{colour}]{verdict}[/]")
        output.say(
            output.plain(
                textwrap.fill(report.labelled.reason, _LINE, initial_indent="  ", subsequent_indent="  ")
            )
        )
    if report.numbers is not None:
        found = report.numbers
        output.say(
            f"mean {found.live_mean:.6g} → {found.candidate_mean:.6g}; "
            f"differences: median {found.p50:.3g}, p90 {found.p90:.3g}, largest {found.largest:.3g}"
        )
    if report.cost is not None:
        cost = report.cost
        output.say(
            f"processor time for 1,000 rows: {cost.candidate_per_thousand_s:.3g} s, "
            f"what is live takes {cost.live_per_thousand_s:.3g} s"
        )
    _print_tables(report)
    for left in report.left_out:
        output.note(f"{left.requests:,} requests left out: {output.plain(left.why)}")
    for warning in report.warnings:
        output.note(f"[yellow]warning[/] {output.plain(warning)}")


def _print_tables(report: ReplayReport) -> None:
    if report.changes:
        rows = [(_cut(one.live), _cut(one.candidate), one.rows) for one in report.changes[:_MOST_ROWS]]
        output.table("\nclasses that changed", ("was", "becomes", "rows"), rows)
    if report.slices:
        sliced = [
            (
                _cut(one.where, 40),
                one.requests,
                words.percent(one.share),
                f"{words.percent(one.low)} to {words.percent(one.high)}",
                "yes" if one.certain else "-",
            )
            for one in report.slices
        ]
        heads = ("slice", "requests", "differ", "95 % interval", "certain")
        output.table("\nwhere it differs most", heads, sliced)
    if report.moved:
        moved = [
            (_cut(one.request_id, 32), one.row, _cut(one.live, 14), _cut(one.candidate, 14), _number(one.by))
            for one in report.moved[:_MOST_ROWS]
        ]
        heads = ("request", "row", "was", "becomes", "by" if report.numbers is not None else "sure")
        output.table("\nrows that changed most", heads, moved)


def _share(share: Share) -> str:
    if not share.of:
        return "nothing: no request was answered"
    low, high = words.percent(share.low), words.percent(share.high)
    return f"{words.percent(share.value)} of the requests ({share.count:,} of {share.of:,}; 95 %: {low} to {high})"


def _cut(value: str | float, most: int = _WIDE) -> str:
    text = value if isinstance(value, str) else f"{value:.6g}"
    return text if len(text) <= most else text[: most - 1] + "…"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"

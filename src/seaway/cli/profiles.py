"""The verb `profile`: what an endpoint's inputs, outputs and confidences look like, beside what its bundle expects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from seaway.cli import output
from seaway.cli.options import COMMON, Common
from seaway.core import events, sections
from seaway.core.errors import UserError

if TYPE_CHECKING:
    from seaway.wiring.profiles import Column, Figures, Profiled, Share

_LONGEST_NAME = 20
_PLACES = " ".join(f"{head:>10}" for head in ("p1", "p50", "p99"))
_HEADS = ("column", *(f"{head:>8}" for head in ("count", "missing", "invalid", "distinct")), _PLACES)
_LONGEST_VALUES = 34
_CLAUSES = 3


def profile(
    endpoint: Annotated[str, Parameter(help="The endpoint.")],
    /,
    *,
    revision: Annotated[int | None, Parameter(help="Its revision; else the newest that answered.")] = None,
    since: Annotated[str, Parameter(help="How far back: 10m, 1h, 7d.")] = "1h",
    common: Common = COMMON,
) -> int:
    """What came and what was answered, column by column, beside what the bundle's sample led to expect.

    Counts are of the sample that was looked at; its rate is in the first line.
    """
    from seaway.core.bundles import parse_name
    from seaway.wiring import profiles
    from seaway.wiring.home import Home

    home = Home(common.configuration())
    try:
        since_s = home.clock.now_s() - sections.seconds(since)
    except ValueError as error:
        raise UserError(
            "invalid_request", f"--since {since[:40]!r} is no duration", "such as 10m, 1h or 7d"
        ) from error
    found = profiles.ask(home, parse_name(endpoint), revision, since_s)
    if common.json:
        output.print_json(found)
    elif found is None:
        output.note(f"nothing was summarised of {endpoint} in the last {output.plain(since)}")
    else:
        print_profile(found)
    return 0


def print_profile(found: Profiled) -> None:
    """Who, when and how much, then one table for inputs and one for outputs."""
    output.say(
        f"[bold]{found.endpoint}[/] revision {found.revision} ({output.plain(found.ref)})"
        f"  {_time(found.start_s)} to {_time(found.end_s)}"
    )
    lowest = "" if found.lowest_rate >= found.rate else f" (lowest {found.lowest_rate:.2%})"
    output.say(
        f"rows: {found.seen_rows:,} seen, {found.rows:,} taken, rate {found.rate:.2%}{lowest}; "
        f"{found.seen:,} requests"
    )
    if not found.has_reference:
        output.say("[dim]the bundle has no reference profile at hand (seaway package --sample FILE)[/]")
    confidence = found.confidence
    for title, columns in (("inputs", found.inputs), ("outputs", found.outputs)):
        rows = [row for column in columns for row in _rows(column)]
        if title == "outputs" and confidence is not None:
            rows.append(_row("(confidence)", confidence))
        if rows:
            output.say("")
            output.table(title, _HEADS, rows)
    for name in found.damaged:
        output.note(f"[yellow]damaged[/] {output.plain(name)}: what it held is not in these figures")


def _rows(column: Column) -> Iterator[tuple[str, ...]]:
    yield _row(f"{column.name} (values)" if column.found.pooled else column.name, column.found)
    if column.expected is not None:
        yield _row("  expected", column.expected)


def _row(name: str, figures: Figures) -> tuple[str, ...]:
    return (
        _cut(name, _LONGEST_NAME),
        *(f"{_count(n):>8}" for n in (figures.count, figures.missing, figures.invalid, figures.distinct)),
        _values(figures),
    )


def _values(figures: Figures) -> str:
    """Quantiles, or the most frequent categories; of texts too long or too many, length and script."""
    if figures.length and figures.overflowed:
        length = "/".join("-" if value is None else f"{value:.0f}" for value in figures.length)
        written_in = figures.languages or figures.scripts
        told = _shares(written_in, sum(share.count for share in written_in))
        return _cut(f"length {length} {told}", _LONGEST_VALUES)
    if figures.overflowed:
        return "too many kinds to tell apart"
    if figures.top:
        return _cut(_shares(figures.top, figures.count - figures.missing), _LONGEST_VALUES)
    return " ".join(_number(value) for value in (figures.p1, figures.p50, figures.p99))


def _shares(shares: Sequence[Share], total: int) -> str:
    return ", ".join(f"{_cut(share.name, 14)} {share.count / total:.0%}" for share in shares[:_CLAUSES])


def _number(value: float | None) -> str:
    return f"{'-' if value is None else format(value, '.4g'):>10}"


def _count(value: int | None) -> str:
    if value is None:
        return "-"
    if value < 10_000_000:
        return str(value)
    return f"{value / 1e6:.1f}M" if value < 10**10 else f"{value / 1e9:.1f}G"


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else f"{text[: room - 1]}…"


def _time(at_s: int) -> str:
    return events.timestamp(at_s)[:16].replace("T", " ") + "Z"

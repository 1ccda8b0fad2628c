"""`seaway records`: look at captured requests, export them, erase a subject's."""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Parameter

from seaway.cli import output
from seaway.cli.options import COMMON, Common, Flag
from seaway.core.errors import UserError

if TYPE_CHECKING:
    from seaway.wiring.home import Home

_SPAN: Final = re.compile(r"(\d{1,9})([smhd])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_WIDE: Final = 48


def records(
    endpoint: Annotated[str | None, Parameter(help="One endpoint; only --erase works on all.")] = None,
    /,
    *,
    sql: Annotated[str | None, Parameter(help="One SELECT over the view `records`.")] = None,
    since: Annotated[
        str | None, Parameter(help="Only what came since: 90s, 30m, 12h, 7d, or a time.")
    ] = None,
    limit: Annotated[int, Parameter(help="Rows to print; all are exported.")] = 20,
    export: Annotated[Path | None, Parameter(help="Write to this .parquet or .csv file instead.")] = None,
    erase: Annotated[
        str | None,
        Parameter(
            help="Erase the captured requests of this subject, and all else that is kept of them.",
            allow_leading_hyphen=True,
        ),
    ] = None,
    yes: Annotated[bool, Flag, Parameter(help="Erase without asking.")] = False,
    common: Common = COMMON,
) -> int:
    """Captured requests, the newest first; or what a query finds. Works with and without a running server."""
    from seaway.wiring import captures
    from seaway.wiring.home import Home

    home = Home(common.configuration())
    if erase is not None:
        if sql is not None or export is not None or since is not None:
            raise UserError("invalid_request", "--erase goes with no other question")
        return _erase(home, endpoint, erase, yes=yes, common=common)
    if endpoint is None:
        raise UserError("invalid_request", "which endpoint?", "seaway records ENDPOINT")
    if limit < 1:
        raise UserError("invalid_request", f"--limit {limit} is below 1")
    from_s = 0.0 if since is None else since_s(since, home.clock.now_s())
    if export is not None:
        written = captures.export(home, endpoint, sql or captures.NEWEST, from_s, export)
        _warn(written.damaged, written.torn, written.unended)
        if common.json:
            output.print_json(written)
        else:
            output.say(f"{output.plain(written.path)}: {written.rows} rows")
        return 0
    found = captures.ask(home, endpoint, sql or captures.NEWEST, from_s, limit)
    _warn(found.damaged, found.torn, found.unended)
    columns, rows = found.answer.columns, [[_value(cell) for cell in row] for row in found.answer.rows]
    if common.json:
        output.print_json(
            {
                "columns": columns,
                "rows": rows,
                "more": found.answer.more,
                "damaged": found.damaged,
                "torn": found.torn,
                "unended": found.unended,
            }
        )
    else:
        output.table(None, *((columns, rows) if sql else _short(columns, rows)))
        if found.answer.more:
            output.note(f"more than {limit} rows: --limit, or --export FILE")
    return 0


def _erase(home: Home, endpoint: str | None, subject: str, *, yes: bool, common: Common) -> int:
    from seaway.control import views
    from seaway.wiring import control_access

    where = "every endpoint" if endpoint is None else endpoint
    if not yes:
        raise UserError(
            "invalid_request",
            f"this removes all captured requests of one subject from {where}, and what else is kept of them, for good",
            "add --yes",
        )
    with control_access.open_control(home) as control, output.progress(common.json) as progress:
        progress("erasing")
        done = control.erase(views.EraseRequest(subject, endpoint))
    if common.json:
        output.print_json(done)
    else:
        output.say(f"{done.requests} requests ({done.rows} rows) erased from {output.plain(where)}")
        output.say(
            f"and of these: {done.explained} explained, {done.outcomes} facts of feedback, {done.log_lines} log lines"
        )
    if done.pending:
        output.note("a worker still writes a file of that time; the server erases the rest once it is closed")
    if done.damaged:
        output.note(f"damaged, so not looked at; remove by hand: {output.plain(', '.join(done.damaged))}")
    return 4 if done.pending else 1 if done.damaged else 0


def _warn(damaged: Sequence[str], torn: int, unended: int) -> None:
    if damaged:
        output.note(f"[yellow]warning[/] left out, since damaged: {output.plain(', '.join(damaged))}")
    if torn:
        output.note(f"[yellow]warning[/] {torn} records could not be read (cut short by a kill, or damaged)")
    if unended:
        output.note(
            f"[yellow]warning[/] killed while they captured (or their disk was full): {unended} workers; "
            "of each the last two seconds may be missing"
        )


def _short(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> tuple[list[str], list[list[object]]]:
    """What fits into a line: when, which, how it ended, and the answer; `--json` and `--sql` show all."""
    shown = [name for name in ("received_at", "request_id", "revision", "code", "subject") if name in columns]
    outputs = [(i, name.partition(".")[2]) for i, name in enumerate(columns) if name.startswith("output.")]
    table = []
    for row in rows:
        line: list[object] = [str(row[columns.index(name)] or "-")[:_WIDE] for name in shown]
        said = " ".join(f"{name}={row[i]}" for i, name in outputs if row[i] is not None)
        table.append([*line, said if len(said) <= _WIDE else said[: _WIDE - 1] + "…"])
    return [*shown, "output"], table


def _value(cell: object) -> object:
    """As it prints: times are UTC, and what JSON has no number for is text."""
    if isinstance(cell, datetime.datetime) and cell.tzinfo is None:
        return cell.isoformat(sep="T", timespec="milliseconds") + "Z"
    if isinstance(cell, int) and not -(2**63) <= cell < 2**64:
        return str(cell)
    return cell


def since_s(text: str, now_s: float) -> float:
    """The time that `--since` names: a span before now, or a time. Raises `UserError("invalid_request")`."""
    found = _SPAN.fullmatch(text)
    if found:
        return now_s - int(found[1]) * _SECONDS[found[2]]
    try:
        at = datetime.datetime.fromisoformat(text)
    except ValueError as error:
        raise UserError(
            "invalid_request", f"--since {text[:40]!r} is no time", "such as 12h, or 2026-11-22T09:00:00Z"
        ) from error
    return (at if at.tzinfo else at.replace(tzinfo=datetime.UTC)).timestamp()

"""How the command line prints: tables for people, one JSON document for programs, errors with cause and fix."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from seaway import settings
from seaway.core.errors import SeawayError, TemporaryError

_MARKS = {"passed": "[green]passed[/]", "failed": "[red]failed[/]", "inconclusive": "[yellow]inconclusive[/]"}


class Terminal(Console):
    """A console that leaves a reader that went away to `cli.main`, where it is no error."""

    def on_broken_pipe(self) -> None:
        """Called by rich inside the handling of the `BrokenPipeError`."""
        raise BrokenPipeError


def console() -> Console:
    """Standard output: colours only on a terminal, no wrapping in a pipe."""
    out = Terminal(highlight=False)
    if not out.is_terminal:
        # 80 is rich's word for "unknown": a pipe has no width, so tables get room; COLUMNS is taken as it is.
        out = Terminal(highlight=False, width=160 if out.width == 80 else out.width, soft_wrap=True)
    return out


def say(text: str) -> None:
    """One line for a person; rich markup is understood."""
    console().print(text)


def plain(text: object) -> str:
    """Text that may hold brackets, safe inside markup."""
    return escape(str(text))


def note(text: str) -> None:
    """A line beside the result (progress, a hint), on stderr so that stdout stays the result."""
    Console(stderr=True, highlight=False).print(text)


def table(title: str | None, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table; numbers are right-aligned, verdicts coloured."""
    shown = Table(
        title=title, title_justify="left", box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0)
    )
    rows = [list(row) for row in rows]
    for index, name in enumerate(columns):
        numeric = bool(rows) and all(isinstance(row[index], int | float) for row in rows)
        last = index == len(columns) - 1  # the one that gives way where the terminal is narrow
        shown.add_column(name, justify="right" if numeric else "left", overflow="fold", no_wrap=not last)
    for row in rows:
        shown.add_row(*(_cell(cell) for cell in row))
    console().print(shown)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.6g}"
    return _MARKS.get(str(value), escape(str(value)))


def print_json(document: object) -> None:
    """One JSON document, keys in order, with a final newline."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n")


def print_error(error: SeawayError, as_json: bool) -> None:
    """Cause and fix on stderr."""
    if as_json:
        body: dict[str, object] = {"error": error.message, "code": error.code, "hint": error.hint}
        if isinstance(error, TemporaryError):
            body["retry_after_s"] = error.retry_after_s
        sys.stderr.write(msgspec.json.encode(body).decode() + "\n")
        return
    err = Console(stderr=True, highlight=False, soft_wrap=True)
    err.print(f"[bold red]error[/] {escape(error.message)}  [dim]({error.code})[/]")
    if error.hint:
        for index, line in enumerate(error.hint.splitlines()):
            err.print(f"{'  fix' if index == 0 else '     '} {escape(line)}")


def human_bytes(count: int) -> str:
    """Such as `1.4 MiB`."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError("unreachable")


def wants_traceback() -> bool:
    """Whether the user asked for the stack of an internal fault."""
    return settings.flag("SEAWAY_TRACEBACK")


@contextlib.contextmanager
def progress(quiet: bool) -> Iterator[Callable[[str], None]]:
    """A spinner on stderr whose text the given function sets; silent in a pipe or with `--json`."""
    err = Console(stderr=True)
    if quiet or not err.is_terminal:
        yield lambda _text: None
        return
    with err.status("starting …") as shown:
        yield lambda text: shown.update(escape(text))


def print_line(value: object) -> None:
    """One JSON value as a line, at once."""
    print_lines([value])
    sys.stdout.flush()


def print_lines(values: Iterable[object]) -> None:
    """One JSON value per line."""
    for value in values:
        sys.stdout.write(msgspec.json.encode(value).decode() + "\n")

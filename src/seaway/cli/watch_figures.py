"""Numbers, times, bars and columns as `seaway watch` writes them: short, of a known width, without control characters."""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence
from typing import Final

from rich.cells import cell_len
from rich.text import Text

_LEVELS: Final = " ▁▂▃▄▅▆▇█"
_UNITS: Final = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_EXACT: Final = 10_000


def clean(text: str) -> str:
    """Text of others (class names, messages), safe to write: whatever would move the cursor becomes a mark."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text)


def count(number: int) -> str:
    """Exact below ten thousand, then three digits: `9,876`, `12.3k`, `4.56M`."""
    for size, unit in _UNITS:
        if number >= max(0.9995 * size, _EXACT):
            return f"{_three(number / size)}{unit}"
    return f"{number:,}"


def rate(per_s: float) -> str:
    """Requests a second: `0.3`, `42.1`, `1,234`."""
    return f"{per_s:.1f}" if per_s < 99.95 else count(round(per_s))


def share(part: int, whole: int) -> str:
    """A percent that never hides one: `0 %` means none."""
    return "-" if whole == 0 else percent(100.0 * part / whole)


def percent(value: float) -> str:
    """At most 7 characters: `12.3 %`, `<0.01 %`."""
    if value == 0.0:
        return "0 %"
    if value < 0.01:
        return "<0.01 %"
    if value < 10.0:
        return f"{value:.2f} %"
    return f"{value:.1f} %" if value < 99.95 else ("100 %" if value == 100.0 else ">99.9 %")


def ms(value: float | None) -> str:
    """Three digits: `0.042`, `4.20`, `42.0`, `1,234`, `12.3k`."""
    if value is None:
        return "-"
    if value >= 1000:
        return count(round(value))
    return f"{value:.3f}" if value < 1 else _three(value)


def number(value: float) -> str:
    """About three digits of any number."""
    return f"{value:.3g}"


def clock(at_s: float) -> str:
    """The time of day in UTC: of what was seen just now."""
    return datetime.datetime.fromtimestamp(at_s, datetime.UTC).strftime("%H:%M:%S")


def _three(value: float) -> str:
    if value >= 99.95:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"


def bars(series: Sequence[int], rows: int) -> list[str]:
    """One column for each number, the highest filling all `rows`; whatever is above zero is seen."""
    top = max(series, default=0)
    steps = rows * 8
    heights = [math.ceil(steps * value / top) if top else 0 for value in series]
    return [
        "".join(_LEVELS[min(8, max(0, height - 8 * row))] for height in heights)
        for row in reversed(range(rows))
    ]


def bar(part: float, width: int) -> str:
    """A share of 1 as a bar of at most `width`."""
    eighths = math.ceil(part * width * 8)
    full, rest = divmod(eighths, 8)
    return "█" * full + ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉")[rest]


def columns(
    heads: Sequence[str], rows: Sequence[Sequence[str | Text]], left: int = 1, gap: int = 2
) -> list[Text]:
    """A table as lines, the head first; the first `left` columns begin at the left, the others end at the right."""
    cells = [[Text(head, "dim") for head in heads]]
    cells += [[cell if isinstance(cell, Text) else Text(cell) for cell in row] for row in rows]
    widths = [max(cell_len(row[place].plain) for row in cells) for place in range(len(heads))]
    lines = []
    for row in cells:
        line = Text()
        for place, (cell, width) in enumerate(zip(row, widths, strict=True)):
            room = " " * (width - cell_len(cell.plain))
            line.append(" " * gap if place else "")
            line.append_text(Text.assemble(cell, room) if place < left else Text.assemble(room, cell))
        line.rstrip()
        lines.append(line)
    return lines


def fit(line: Text, width: int) -> Text:
    """The line, cut to the width with `…`."""
    cut = line.copy()
    cut.truncate(width, overflow="ellipsis")
    return cut


def short(text: str, width: int) -> str:
    """Clean text, cut to the width with `…`."""
    return fit(Text(clean(text)), width).plain

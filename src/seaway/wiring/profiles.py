"""`seaway profile`: what an endpoint's summaries say of each column, beside what its bundle's ReferenceProfile expects."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from seaway.bundle import blobs
from seaway.core.bundles import Digest, ModelRef
from seaway.core.errors import SeawayError, UserError
from seaway.core.profiles import CategoricalSummary, NumericSummary, ReferenceProfile, quantile
from seaway.core.summaries import ColumnSummary
from seaway.monitor import readable
from seaway.monitor.summaries import windows
from seaway.wiring.home import Home

_TOP: Final = 10
_DIGITS: Final = re.compile(r"([0-9]+)")


class Share(msgspec.Struct, frozen=True):
    """A category and how many values had it."""

    name: str
    count: int


class Figures(msgspec.Struct, frozen=True):
    """What is said of one column. Quantiles are within 4.4 % (`core.profiles.quantile`).

    `top` are the most frequent categories; `overflowed` says that there are too many to be told apart. For texts
    `length` has the quantiles of the length in characters, in the order p1, p50, p99.
    """

    count: int
    missing: int = 0
    invalid: int = 0
    distinct: int | None = None
    low: float | None = None
    p1: float | None = None
    p50: float | None = None
    p99: float | None = None
    high: float | None = None
    top: tuple[Share, ...] = ()
    overflowed: bool = False
    length: tuple[float | None, ...] = ()
    scripts: tuple[Share, ...] = ()
    languages: tuple[Share, ...] = ()
    pooled: bool = False
    centroid: tuple[float, ...] = ()


class Column(msgspec.Struct, frozen=True):
    """A column as it came, and as the bundle expects it (None where its profile has no such column of this kind)."""

    name: str
    found: Figures
    expected: Figures | None = None


class Profiled(msgspec.Struct, frozen=True):
    """The answer; times in seconds since 1970. `rate` is the share of the `seen_rows` that is in the summaries, `rows`."""

    endpoint: str
    revision: int
    ref: str
    digest: str
    start_s: int
    end_s: int
    seen: int
    seen_rows: int
    rows: int
    rate: float
    lowest_rate: float
    files: int
    damaged: tuple[str, ...]
    has_reference: bool
    inputs: tuple[Column, ...]
    outputs: tuple[Column, ...]
    confidence: Figures | None


def ask(home: Home, endpoint: str, revision: int | None, since_s: float) -> Profiled | None:
    """What was summarised of a revision (of the newest, without one) since then; None where nothing was.

    Reads files alone, so it needs no server. Raises `UserError("endpoint_not_found")` where no worker ever wrote a
    summary of this endpoint, and `PermanentError("records_unreadable")`.
    """
    root, now_s = home.paths.records, home.clock.now_s()
    readable.check(root, root / endpoint, root / endpoint / windows.DIRECTORY)
    if not windows.revisions(root, endpoint):
        raise UserError(
            "endpoint_not_found",
            f"there are no summaries of {endpoint!r}",
            "they are there some seconds after its first answer; `seaway status` lists the endpoints",
        )
    reading = windows.read(root, endpoint, revision, since_s, now_s + 60)
    if reading is None:
        return None
    window, summary = reading.window, reading.window.summary
    reference = reference_of(home, window.ref, window.digest)
    known = reference or ReferenceProfile()
    return Profiled(
        window.endpoint,
        window.revision,
        window.ref,
        window.digest,
        window.start_s,
        reading.end_s,
        window.seen,
        window.seen_rows,
        summary.rows,
        reading.rate,
        window.lowest_rate,
        reading.files,
        reading.damaged,
        reference is not None,
        tuple(_column(n, c, known.numeric, known.categorical) for n, c in _ordered(summary.inputs)),
        tuple(
            _column(n, c, known.output_numeric, known.output_categorical)
            for n, c in _ordered(summary.outputs)
        ),
        None if summary.confidence is None else _numbers(summary.confidence),
    )


def reference_of(home: Home, ref: str, digest: str) -> ReferenceProfile | None:
    """The ReferenceProfile of a version, its bytes checked; None where the version is not in this home or has none."""
    try:
        version = home.bundles.resolve(ModelRef(ModelRef.parse(ref).name, digest=Digest(digest)))
        manifest = home.bundles.manifest(version)
        file = next((one for one in manifest.files if one.path == manifest.profile), None)
        if file is None:
            return None
        path = home.paths.models / version.name / "blobs" / "sha256" / file.digest.removeprefix("sha256:")
        blobs.check_file(path, file.digest, file.size_bytes, ref)
        return msgspec.json.decode(path.read_bytes(), type=ReferenceProfile)
    except (SeawayError, msgspec.DecodeError, OSError):
        return (
            None  # live figures are worth showing without it; `seaway verify` says what is wrong with a store
        )


def _column(
    name: str,
    column: ColumnSummary,
    numeric: dict[str, NumericSummary],
    categorical: dict[str, CategoricalSummary],
) -> Column:
    expected = None
    if column.categories is not None and name in categorical:
        expected = _categories(categorical[name])
    elif column.numeric is not None and not column.pooled and name in numeric:
        expected = _numbers(numeric[name])
    return Column(name, _figures(column), expected)


def _ordered(columns: dict[str, ColumnSummary]) -> list[tuple[str, ColumnSummary]]:
    """By name, numbers in names by their value: x[2] comes before x[10]."""
    return sorted(
        columns.items(),
        key=lambda one: [part.zfill(12) if part.isdigit() else part for part in _DIGITS.split(one[0])],
    )


def _figures(column: ColumnSummary) -> Figures:
    found = _numbers(column.numeric) if column.numeric is not None else Figures(0)
    if column.categories is not None:
        found = _categories(column.categories)
    if column.texts is not None:
        texts = column.texts
        found = msgspec.structs.replace(
            found,
            length=tuple(quantile(texts.lengths, q) for q in (0.01, 0.5, 0.99)),
            scripts=_top(texts.scripts),
            languages=_top(texts.languages),
        )
    return msgspec.structs.replace(
        found,
        distinct=column.distinct_count(),
        pooled=column.pooled,
        centroid=() if column.centroid is None else column.centroid.means(),
    )


def _numbers(summary: NumericSummary) -> Figures:
    return Figures(
        summary.count,
        summary.missing,
        summary.infinite,
        low=summary.low,
        p1=quantile(summary, 0.01),
        p50=quantile(summary, 0.5),
        p99=quantile(summary, 0.99),
        high=summary.high,
    )


def _categories(summary: CategoricalSummary) -> Figures:
    distinct = None if summary.overflowed else len(summary.categories)
    return Figures(
        summary.count, summary.missing, distinct=distinct, top=_top(summary), overflowed=summary.overflowed
    )


def _top(summary: CategoricalSummary) -> tuple[Share, ...]:
    ranked = sorted(summary.categories, key=lambda one: (-one[1], one[0]))
    return tuple(Share(name, count) for name, count in ranked[:_TOP])

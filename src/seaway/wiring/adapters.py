"""The built-in adapters, by the name of what they do; imported when first asked for and by nobody else.

Third parties' runtimes come by entry points (group `seaway.runtimes`, name = bundle format); the built-in ones use the
same form, `module:attribute`, and win.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Any, Final

from seaway.core.captures import RecordQuery, Rows, SegmentFormat
from seaway.core.errors import PermanentError, UserError
from seaway.core.ports import Converter, Runtime, TableReader
from seaway.core.spans import SpanExporter

RUNTIMES: Final[dict[str, str]] = {
    "onnx": "seaway.adapters.runtimes.onnxruntime:OnnxRuntime",
    "onnx-steps": "seaway.adapters.runtimes.onnx_steps:OnnxStepsRuntime",
}
"""Bundle format → the class of its Runtime, made without arguments."""

RUNTIME_GROUP: Final = "seaway.runtimes"
"""The entry-point group of other packages' Runtimes."""

CONVERTERS: Final = ("seaway.adapters.converters.sklearn:SklearnConverter",)
"""Classes of Converters, made without arguments, in the order in which they are asked."""

TABLE_READERS: Final = ("seaway.adapters.tables.parquet:ParquetReader",)

SEGMENT_FORMAT: Final = "seaway.adapters.records.parquet:ParquetSegments"
RECORD_QUERY: Final = "seaway.adapters.records.duckdb:DuckdbRecords"
"""What captured requests are kept as, and asked with."""

SPAN_EXPORTER: Final = "seaway.adapters.traces.otlp:make"
"""A function of the collector's URL, the name of this process and the version."""

LANGUAGE_DETECTOR: Final = "seaway.adapters.languages.langid:detector"
"""A function without arguments; what it returns tells the language of a text, or is None where nothing is installed."""


def attribute(target: str) -> object:
    """What `module:attribute` names; imports the module."""
    module, _, name = target.partition(":")
    found: object = getattr(importlib.import_module(module), name)
    return found


def runtime(model_format: str) -> Runtime:
    """A new Runtime for bundles of this format, Seaway's own or an installed package's.

    Raises `UserError("unknown_format")`, `PermanentError("invalid_config")` where a package names a Runtime that
    cannot be imported or made.
    """
    target = RUNTIMES.get(model_format)
    if target is not None:
        own: Runtime = _made(target)
        return own
    offered = metadata.entry_points(group=RUNTIME_GROUP)
    entry = next((e for e in offered if e.name == model_format), None)
    if entry is None:
        raise UserError(
            "unknown_format",
            f"nothing here runs models of format {model_format!r}",
            f"known: {sorted({*RUNTIMES, *offered.names})}; others come with the package that brings their runtime",
        )
    try:
        found: Runtime = entry.load()()
    except (
        Exception
    ) as error:  # the package is not ours: whatever it raises, the operator must hear which one
        package = "a package" if entry.dist is None else f"the package {entry.dist.name}"
        raise PermanentError(
            "invalid_config",
            f"{package} offers a runtime for {model_format!r} as {entry.value}, which cannot be used: "
            f"{type(error).__name__}: {error}",
            "install it again, or ask its authors",
        ) from error
    return found


def converters() -> tuple[Converter, ...]:
    """A new one of every Converter."""
    return tuple(_made(target) for target in CONVERTERS)


def table_readers() -> tuple[TableReader, ...]:
    """A new one of every TableReader."""
    return tuple(_made(target) for target in TABLE_READERS)


def segment_format() -> SegmentFormat:
    """A new one; raises `UserError("missing_extra")`."""
    found: SegmentFormat = _made(SEGMENT_FORMAT)
    return found


def record_query(segments: Sequence[str], rows: Rows, since_s: float) -> RecordQuery:
    """A database over these segments and rows; raises `UserError("missing_extra")`."""
    kind = attribute(RECORD_QUERY)
    assert callable(kind)
    found: RecordQuery = kind(segments, rows, since_s)
    return found


def span_exporter(url: str, instance: str, version: str) -> SpanExporter:
    """A new one, with its thread; raises `UserError("missing_extra")`."""
    try:
        make = attribute(SPAN_EXPORTER)
    except ImportError as error:
        raise UserError(
            "missing_extra", "otlp needs OpenTelemetry, which is not installed", "pip install 'seaway[otel]'"
        ) from error
    assert callable(make)
    found: SpanExporter = make(url, instance, version)
    return found


def language_detector() -> Callable[[str], str] | None:
    """What tells the language of a text (the extra `language`); None where it is not installed."""
    found: Callable[[str], str] | None = _made(LANGUAGE_DETECTOR)
    return found


def _made(target: str) -> Any:
    kind = attribute(target)
    assert callable(kind)
    return kind()

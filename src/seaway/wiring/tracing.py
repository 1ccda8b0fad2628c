"""Builds what traces a worker's requests, where `otlp` is set: the library behind it is imported only then."""

from __future__ import annotations

import socket

import numpy as np

import seaway
from seaway.monitor.sinks import RecordPaths
from seaway.monitor.telemetry.spans import SpanSink
from seaway.settings import RecordingOptions
from seaway.wiring import adapters


def sink(paths: RecordPaths, options: RecordingOptions) -> SpanSink | None:
    """The sink of this worker, None where requests are not traced. Raises `UserError("missing_extra")`."""
    if options.otlp is None:
        return None
    instance = f"{socket.gethostname()}-{paths.writer}"
    exporter = adapters.span_exporter(options.otlp, instance, seaway.__version__)
    return SpanSink(exporter, options.trace_sample, np.random.default_rng())

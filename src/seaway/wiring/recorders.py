"""Builds a worker's recorder with its sinks: what `serve` tells of every answer, and where `monitor` keeps it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from seaway.core.ports import Clock
from seaway.core.records import RecordRules
from seaway.monitor.capture import sink as capture
from seaway.monitor.logs.request_log import Logged, RequestLogSink
from seaway.monitor.provenance.sink import ProvenanceSink
from seaway.monitor.recording.mirrored import MirroredAnswers
from seaway.monitor.recording.recorder import Recorder
from seaway.monitor.sinks import RecordPaths, Sink
from seaway.monitor.summaries import sink as summaries
from seaway.serve import log
from seaway.settings import RecordingOptions
from seaway.wiring import adapters, tracing


def make(
    root: Path, slot: int, options: RecordingOptions, rules: Callable[[str], RecordRules], clock: Clock
) -> Recorder:
    """The recorder of the worker in this process; `rules` tells those of an endpoint now."""
    paths = RecordPaths(str(root), slot, os.getpid())
    mirrored = MirroredAnswers(paths, clock) if options.recording else None
    return Recorder(paths, _sinks(paths, options, clock), rules, clock, _say, mirrored)


def _sinks(paths: RecordPaths, options: RecordingOptions, clock: Clock) -> list[Sink]:
    found: list[Sink] = []
    if options.recording:
        found += [
            summaries.make(paths, clock, adapters.language_detector()),
            ProvenanceSink(paths, clock),
            capture.make(paths, clock),
        ]
    if options.log_requests != "off":
        folder = Path(paths.root).parent / "log"
        found.append(RequestLogSink(folder, paths, Logged(options.log_requests)))
    traced = tracing.sink(paths, options)
    return found if traced is None else [*found, traced]


def _say(text: str) -> None:
    log.write_line(f"seaway: the recorder cannot keep {text}")

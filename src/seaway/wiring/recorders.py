"""Builds a worker's recorder with its sinks: what `serve` tells of every answer, and where `monitor` keeps it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from seaway.core.ports import Clock
from seaway.core.records import RecordRules
from seaway.monitor.recorder import Recorder
from seaway.monitor.sinks import RecordPaths, Sink
from seaway.serve import log
from seaway.settings import RecordingOptions


def make(
    root: Path, slot: int, options: RecordingOptions, rules: Callable[[str], RecordRules], clock: Clock
) -> Recorder:
    """The recorder of the worker in this process; `rules` tells those of an endpoint now."""
    paths = RecordPaths(str(root), slot, os.getpid())
    return Recorder(paths, _sinks(paths, options, clock), rules, clock, _say)


def _sinks(paths: RecordPaths, options: RecordingOptions, clock: Clock) -> list[Sink]:
    return []


def _say(text: str) -> None:
    log.write_line(f"seaway: the recorder cannot keep {text}")

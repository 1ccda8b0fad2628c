"""Capture behind the real recorder: what it takes, and what a full disk does to the counts."""

from __future__ import annotations

import asyncio
import resource
import signal
from pathlib import Path

import numpy as np
from capture_requests import place
from engine_fakes import FakeClock
from recorder_fakes import Ended, handle, recorder, tell

from seaway.core.records import RecordRules
from seaway.monitor.capture import files as capture_files
from seaway.monitor.capture import rows as capture_rows
from seaway.monitor.capture import sink as capture
from seaway.monitor.capture import spool as capture_spool
from seaway.monitor.recording.recorder import Recorder
from seaway.monitor.sinks import RecordPaths


def answer(root: Path, rules: RecordRules, count: int) -> Recorder:
    """A recorder that has been told of so many requests, and is closed."""
    clock = FakeClock()
    one = recorder(root, clock, [capture.make(RecordPaths(str(root), 0, 77), clock)], rules)

    async def scenario() -> None:
        one.begin()
        revision = handle(clock)
        for number in range(count):
            outputs = {"y": np.array([number], np.float32)}
            ended = Ended(outputs, ended_s=clock.at_s, request_id=b"r-%d" % number, headers={"u": b"ada"})
            tell(one, revision, ended)
        await one.settled()

    asyncio.run(asyncio.wait_for(scenario(), 30))
    one.close()
    return one


def value(one: Recorder, family: str, **labels: str) -> float:
    found = next(f for f in one.families({}) if f.name == family)
    return sum(s.value for s in found.samples if labels.items() <= s.labels.items())


def test_all_requests_reach_the_choice(tmp_path: Path) -> None:
    answer(tmp_path, RecordRules(capture_percent=25.0, subject="u"), 3000)
    spools = [capture_spool.read(path) for path in capture_files.spools(place(tmp_path, "e"))]
    cells = capture_rows.rows_of(spools, lambda _: True).cells
    ids = [b"r-%d" % number for number in range(3000)]
    chosen = capture.chosen([Ended(request_id=name) for name in ids], 25.0)
    assert cells["request_id"] == [request.request_id.decode() for request in chosen]
    assert 600 < len(chosen) < 900 and set(cells["subject"]) == {"ada"}
    assert cells["output.y"] == [float(str(name).partition("-")[2]) for name in cells["request_id"]]


def test_f10_a_full_disk_costs_no_count_and_is_counted_as_dropped(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        one = answer(tmp_path, RecordRules(capture_percent=100.0), 3000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert value(one, "seaway_requests_total", code="200") == 3000
    dropped = value(one, "seaway_recorder_requests_total", sink="capture", outcome="dropped")
    assert dropped > 0
    spools = [capture_spool.read(path) for path in capture_files.spools(place(tmp_path, "e"))]
    kept = sum(len(spool.requests) for spool in spools)
    assert kept + dropped == 3000 and not any(spool.torn for spool in spools)

"""Provenance at full size: what a request costs, a million found and joined, and kill -9 at a hundred random points."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from seaway.monitor.provenance import files as provenance_files
from seaway.monitor.provenance.sink import SPACE_BYTES, ProvenanceSink
from seaway.monitor.sinks import Block, RecordPaths, Subject
from seaway.testing.clock import VirtualClock

sys.path.append(str(Path(__file__).resolve().parents[1] / "unit" / "monitor"))
import provenance_fakes as fakes

REQUESTS = 1_000_000
KILLS = 100
BLOCK = 1024

_WRITER = """
import sys
sys.path[:0] = sys.argv[2:]
import provenance_fakes as fakes
from seaway.monitor.provenance.sink import ProvenanceSink
from seaway.monitor.sinks import RecordPaths
from seaway.testing.clock import VirtualClock
sink = ProvenanceSink(RecordPaths(sys.argv[1], 0, 1), VirtualClock(), space_bytes=4 << 20)
start = 0
while True:
    sink.take(fakes.block([fakes.number(b"r-%d" % n, float(n), float(-n)) for n in range(start, start + 100)]))
    start += 100
    print(start, flush=True)
"""


def measure(scale: float) -> dict[str, Any]:
    """The figures, at that share of the full size."""
    labelled = fakes.subject(fakes.CLASSIFIER, slices=("city",))
    return {
        "cost_us": {
            "number": round(_cost_us(fakes.subject(), scale), 2),
            "class, confidence and a slice": round(_cost_us(labelled, scale), 2),
        },
        **_million(max(BLOCK, int(REQUESTS * scale))),
        "kills": _kills(max(3, int(KILLS * scale))),
    }


def _made(of: Subject, start: int) -> Block:
    ids = [b"5f2a9c1e77b04d36-%x" % n for n in range(start, start + BLOCK)]
    if of.answer is not None and of.answer.confidence is not None:
        return fakes.block([fakes.labels(one, "up" if n % 3 else "down") for n, one in enumerate(ids)], of)
    return fakes.block([fakes.number(one, float(n)) for n, one in enumerate(ids, start)], of)


def _cost_us(of: Subject, scale: float) -> float:
    """Processor time for each request, the median of blocks whose objects are not in the cache."""
    with tempfile.TemporaryDirectory() as directory:
        sink = ProvenanceSink(RecordPaths(directory, 0, 1), VirtualClock())
        blocks = [_made(of, n * BLOCK) for n in range(max(10, int(100 * scale)))]
        costs = []
        for block in blocks:
            begun_s = time.thread_time()
            sink.take(block)
            costs.append(time.thread_time() - begun_s)
        sink.close()
    return float(np.median(costs)) / BLOCK * 1e6


def _million(requests: int) -> dict[str, Any]:
    """Find one request, and join all of them in random order with a tenth that was never seen."""
    with tempfile.TemporaryDirectory() as directory:
        sink = ProvenanceSink(RecordPaths(directory, 0, 1), VirtualClock())
        for start in range(0, requests, BLOCK):
            sink.take(_made(fakes.subject(), start))
        sink.close()
        kept = provenance_files.kept(directory)
        written = -(-requests // BLOCK) * BLOCK
        assert kept.kept == written and kept.space_bytes <= SPACE_BYTES
        finds = []
        for n in np.random.default_rng(1).integers(0, written, 20).tolist():
            begun_s = time.perf_counter()
            (found,) = provenance_files.find(directory, b"5f2a9c1e77b04d36-%x" % n)
            finds.append(time.perf_counter() - begun_s)
            assert found.answers[0].answer == float(np.float32(n))
        order = np.random.default_rng(2).permutation(written + written // 10)
        ids = [b"5f2a9c1e77b04d36-%x" % n for n in order.tolist()]
        begun_s, begun_cpu_s = time.perf_counter(), time.process_time()
        joined = provenance_files.lookup(directory, ids)
        join_s, join_cpu_s = time.perf_counter() - begun_s, time.process_time() - begun_cpu_s
        known = joined.by >= 0
        assert (known == (order < written)).all()
        assert (joined.numbers[joined.first[known]] == order[known].astype(np.float32)).all()
        return {
            "requests": written,
            "bytes_each": round(kept.space_bytes / written, 1),
            "find_ms": round(float(np.median(finds)) * 1e3, 2),
            "joined_ids": len(ids),
            "join_s": round(join_s, 2),
            "join_cpu_s": round(join_cpu_s, 2),
        }


def _kills(times: int) -> dict[str, int]:
    """After each kill all that had been taken is there, as far as the ring reaches, and nothing is half there."""
    chance = random.Random(3)
    records = 0
    for _ in range(times):
        with tempfile.TemporaryDirectory() as directory:
            here = str(Path(fakes.__file__).parent)
            command = [sys.executable, "-c", _WRITER, directory, here]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
                assert process.stdout is not None
                process.stdout.readline()
                time.sleep(chance.uniform(0, 0.25))
                os.kill(process.pid, signal.SIGKILL)
                taken = int(["100", *process.stdout.read().split()][-1])
            joined = provenance_files.lookup(directory, [b"r-%d" % n for n in range(taken + 100)])
            known = np.flatnonzero(joined.by >= 0)
            assert set(range(max(0, taken - 5000), taken)) <= set(known.tolist())
            assert (joined.rows[known] == 2).all()
            assert (joined.numbers[joined.first[known]] == known).all()
            assert (joined.numbers[joined.first[known] + 1] == -known).all()
            records += len(known)
    return {"times": times, "records_read": records, "lost_or_mixed": 0}

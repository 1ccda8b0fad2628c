"""Runs the load generators on the load core and reads what they print: wrk, h2load and the bench's own client.

`measure` calls it while a server runs. wrk cycles through bodies that were formatted before the start, so that it is
not the bottleneck; h2load knows one body per process, so each of its connections is a process with another body.
"""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from bench import bodies, loads, places, processes, protobuf
from bench.bodies import Form

_SCRIPT: Final = """\
-- Cycles through bodies that `bench` prepared; prints one line of figures at the end.
local sizes = {%(sizes)s}
local headers = {%(headers)s}
local paths = {%(paths)s}
local requests = {}
local last = 0

function init(args)
  local file = assert(io.open("%(path)s", "rb"))
  for i, size in ipairs(sizes) do
    requests[i] = wrk.format("POST", paths[(i - 1) %% #paths + 1], headers, file:read(size))
  end
  file:close()
end

function request()
  last = last %% #sizes + 1
  return requests[last]
end

function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    'FIGURES {"requests":%%d,"seconds":%%.6f,"p50_us":%%d,"p99_us":%%d,"errors":%%d,"refused":%%d}\\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50), latency:percentile(99),
    e.connect + e.read + e.write + e.timeout, e.status))
end
"""
_H2LOAD_CONNECTIONS: Final = 4
_H2LOAD_STREAMS: Final = 16


class Sample(msgspec.Struct, frozen=True):
    """One run. `errors` counts requests without an answer and answers that are no success."""

    per_s: float
    p50_ms: float
    p99_ms: float
    errors: int


class _Figures(msgspec.Struct, frozen=True):
    requests: int
    seconds: float
    p50_us: int
    p99_us: int
    errors: int
    refused: int


def wrk(port: int, paths: list[str], model: str, form: Form, connections: int, seconds: float) -> Sample:
    """One closed-loop run of wrk; with several paths, the bodies go to them by turns."""
    file = places.BODIES / f"{model}-{form}-{len(paths)}.lua"
    file.write_text(script(bodies.prepared(model, form), paths))
    command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "20s"]
    command += ["-s", str(file), f"http://{places.HOST}:{port}"]
    return parse_wrk(processes.run(command, timeout_s=seconds + 60))


def parse_wrk(printed: str) -> Sample:
    """The line that the script prints. Raises `Failed` without one."""
    found = re.search(r"^FIGURES (.*)$", printed, re.MULTILINE)
    if found is None:
        raise processes.Failed(f"wrk printed no figures: {printed[-400:]}")
    figures = msgspec.json.decode(found[1], type=_Figures)
    good = figures.requests - figures.refused
    return Sample(
        per_s=round(good / figures.seconds, 1),
        p50_ms=figures.p50_us / 1000,
        p99_ms=figures.p99_us / 1000,
        errors=figures.errors + figures.refused,
    )


def script(prepared: bodies.Prepared, paths: list[str]) -> str:
    """The wrk script that sends these bodies to these paths."""
    sizes = ",".join(map(str, prepared.sizes))
    headers = ", ".join(f'["{name}"] = "{value}"' for name, value in prepared.headers.items())
    quoted = ", ".join(f'"{path}"' for path in paths)
    return _SCRIPT % {"sizes": sizes, "headers": headers, "paths": quoted, "path": prepared.path}


def ask(load: loads.Load) -> loads.Outcome:
    """One run of the bench's own  in a process of its own."""
    command = [sys.executable, "-m", "bench.client", msgspec.json.encode(load).decode()]
    printed = processes.run(command, timeout_s=load.seconds + 60)
    return msgspec.json.decode(printed, type=loads.Outcome)


def h2load(port: int, model: str, seconds: float, turn: int) -> Sample:
    """gRPC over four connections of 16 streams each, four different bodies; other ones in each `turn`."""
    messages = bodies.prepared(model, Form.OIP_GRPC).bodies()
    running: list[tuple[subprocess.Popen[str], Path]] = []
    for connection in range(_H2LOAD_CONNECTIONS):
        body = places.BODIES / f"h2load-{connection}.body"
        body.write_bytes(protobuf.framed(messages[(turn * _H2LOAD_CONNECTIONS + connection) % len(messages)]))
        log = places.LOGS / f"h2load-{connection}.tsv"
        log.unlink(missing_ok=True)
        command = ["h2load", "-t1", "-c1", f"-m{_H2LOAD_STREAMS}", f"-D{max(1, round(seconds))}"]
        command += ["--log-file", str(log), "-d", str(body)]
        command += ["-H", "content-type: application/grpc", "-H", "te: trailers"]
        command.append(f"http://{places.HOST}:{port}{protobuf.METHOD}")
        running.append((processes.start(command), log))
    rows: list[str] = []
    failed = 0
    for process, log in running:
        printed, _ = process.communicate(timeout=seconds + 60)
        failed += parse_h2load_failures(printed)
        rows += log.read_text().splitlines()
    return parse_h2load_log(rows, max(1, round(seconds)), failed)


def parse_h2load_failures(printed: str) -> int:
    """How many requests failed. Raises `Failed` where it printed no summary."""
    found = re.search(r"(\d+) failed, (\d+) errored, (\d+) timeout", printed)
    if found is None:
        raise processes.Failed(f"h2load printed no summary: {printed[-400:]}")
    return int(found[1]) + int(found[2])


def parse_h2load_log(rows: list[str], seconds: float, failed: int) -> Sample:
    """Figures from h2load's log: start (µs), status, duration (µs), one request a row."""
    cells = [row.split("\t") for row in rows]
    good = [int(cell[2]) for cell in cells if len(cell) >= 3 and cell[1] == "200"]
    if not good:
        raise processes.Failed("h2load got no answer")
    return Sample(
        per_s=round(len(good) / seconds, 1),
        p50_ms=float(np.quantile(good, 0.5)) / 1000,
        p99_ms=float(np.quantile(good, 0.99)) / 1000,
        errors=failed + len(cells) - len(good),
    )


def median(samples: list[Sample]) -> Sample:
    """Each figure's median over the runs; the errors of all."""
    return Sample(
        per_s=statistics.median(each.per_s for each in samples),
        p50_ms=statistics.median(each.p50_ms for each in samples),
        p99_ms=statistics.median(each.p99_ms for each in samples),
        errors=sum(each.errors for each in samples),
    )

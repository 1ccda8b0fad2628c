"""The process in which a version is judged: `python -m seaway.wiring.gate_process --out FD --life FD HOME NEW [OLD]`.

`wiring.gate_runs` starts it, reads one message a line from its pipe, and ends it where it takes too much.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from pathlib import Path

import msgspec

from seaway import settings
from seaway.core.checks import GateReport
from seaway.core.errors import SeawayError
from seaway.validate import suite
from seaway.wiring import gate_runs, lifeline
from seaway.wiring.home import Home


def main() -> None:
    """Judge one version, and say so; the last message is the report, or what kept it from being made."""
    parser = argparse.ArgumentParser(prog="seaway-gate")
    parser.add_argument("--out", type=int, required=True, help="the pipe for messages")
    parser.add_argument("--life", type=int, required=True, help="a pipe that closes when the caller ends")
    parser.add_argument("home", type=Path)
    parser.add_argument("version")
    parser.add_argument("baseline", nargs="?")
    arguments = parser.parse_args()
    lifeline.end_with_pipe(arguments.life)
    _first_to_go()

    def say(message: gate_runs.Message) -> None:
        data = memoryview(msgspec.json.encode(message) + b"\n")
        while data:
            data = data[os.write(arguments.out, data) :]

    try:
        home = Home(settings.load(arguments.home))
        say(gate_runs.Judged(_judge(home, arguments.version, arguments.baseline, say)))
    except SeawayError as error:
        say(gate_runs.Fault(error.code, error.message, error.hint))
    sys.stderr.flush()
    os._exit(0)  # threads in a model that never returns are not waited for


def _judge(home: Home, version: str, baseline: str | None, say: gate_runs.Say) -> GateReport:
    candidate = home.bundles.open(home.version(version))
    return suite.run_gate(
        candidate,
        home.runtime,
        home.clock,
        None if baseline is None else home.bundles.open(home.version(baseline)),
        on_start=lambda check: say(gate_runs.Began(check)),
        on_result=lambda result: say(gate_runs.Found(result)),
    )


def _first_to_go() -> None:
    """Where the machine runs out of memory before anyone looks, the kernel shall end this process, and no worker."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", "ascii")


if __name__ == "__main__":
    main()

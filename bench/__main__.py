"""The one command: `make bench`, or `python -m bench --quick --only small,heavy --peers mlserver,kserve`.

It installs what is missing, makes the models, measures each system by itself, prints the tables and stores them. A
wrong answer fails it. Only a full run writes docs/; a partial one writes into the bench's cache.
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from bench import catalogue, endpoints, figures, install, measure, models, places, processes, report
from bench.figures import Measured, Scaled
from bench.measure import Plan

_WORKS = (*models.MODELS, "endpoints")
_SEAWAY_ONLY = frozenset({"conv"})


def main() -> int:
    """Run it. Exits 1 after a wrong answer, 2 where a program is missing."""
    started = time.monotonic()
    arguments = _arguments()
    works = _chosen(arguments.only, _WORKS)
    peers = _chosen(arguments.peers, catalogue.PEERS)
    systems = [catalogue.SEAWAY, *peers]
    missing = catalogue.missing_programs(systems)
    if missing:
        print(f"missing: {', '.join(missing)}", file=sys.stderr)
        return 2
    plan = Plan(seconds=arguments.seconds, runs=arguments.runs, first_port=arguments.port)
    if arguments.quick:
        plan = msgspec.structs.replace(plan, seconds=1.0, runs=1, connections=(1, 64), starts=2)
    signal.signal(
        signal.SIGTERM, lambda number, frame: sys.exit(128 + number)
    )  # so that all servers are ended
    processes.adopt_orphans()
    processes.allow_files(2 * measure.MOST_CONNECTIONS)
    install.install(systems)
    models.make_all()
    if arguments.install_only:
        return 0
    os.sched_setaffinity(0, {int(core) for core in places.LOAD_CORES.split(",")})
    try:
        measured, scaled = _measure(works, systems, plan)
    finally:
        processes.end_all()
    made = report.document(
        f"python -m bench {shlex.join(sys.argv[1:])}".strip(),
        msgspec.to_builtins(plan),
        started,
        measured,
        scaled,
    )
    full = works == list(_WORKS) and peers == list(catalogue.PEERS) and not arguments.quick
    proof, charts = (
        (places.PROOF, places.CHARTS) if full else (places.CACHE / "last.json", places.CACHE / "charts")
    )
    report.store(made, arguments.out or proof)
    report.draw(arguments.out or proof, charts)
    print(report.tables(made))
    wrong = [entry for entry in measured if entry.wrong]
    for entry in wrong:
        print(f"WRONG ANSWERS: {entry.system} {entry.work} {entry.form}: {entry.problem}", file=sys.stderr)
    return 1 if wrong else 0


def _measure(works: list[str], systems: list[str], plan: Plan) -> tuple[list[Measured], list[Scaled]]:
    """One system and one model at a time."""
    measured: list[Measured] = []
    scaled: list[Scaled] = []

    def add(entries: list[Measured]) -> None:
        figures.judge(entries)
        measured.extend(entries)
        for entry in entries:
            print(report.line(entry), flush=True)

    for work in works:
        if work == "endpoints":
            scaled = _attempt(lambda: endpoints.scaled(plan))
            continue
        for system in systems:
            if system == catalogue.SEAWAY or work not in _SEAWAY_ONLY:
                add(measure.system(system, work, plan))
        if work == "conv":
            add([endpoints.without_batching(plan)])
    return measured, scaled


def _attempt(action: Callable[[], list[Scaled]]) -> list[Scaled]:
    try:
        return action()
    except processes.Failed as error:
        print(f"endpoints: NOT MEASURED: {error}", flush=True)
        return []


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", default="", help=f"of {','.join(_WORKS)}")
    parser.add_argument("--peers", default="", help=f"of {','.join(catalogue.PEERS)}, or none")
    parser.add_argument("--quick", action="store_true", help="one run of a second each; shows that all works")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each timed run")
    parser.add_argument("--runs", type=int, default=3, help="whose median counts")
    parser.add_argument("--port", type=int, default=places.FIRST_PORT, help="the first of a hundred ports")
    parser.add_argument("--out", type=Path, help="where to write the document")
    parser.add_argument("--install-only", action="store_true", help="set everything up, measure nothing")
    return parser.parse_args()


def _chosen(given: str, known: tuple[str, ...]) -> list[str]:
    """The names in their own order; all where none is given. Exits 2 for an unknown one."""
    names = [name for name in given.split(",") if name]
    if names == ["none"]:
        return []
    unknown = set(names) - set(known)
    if unknown:
        print(f"unknown: {', '.join(sorted(unknown))}; choose of {', '.join(known)}", file=sys.stderr)
        sys.exit(2)
    return [name for name in known if name in names] if names else list(known)


if __name__ == "__main__":
    sys.exit(main())

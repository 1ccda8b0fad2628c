"""What recording costs and holds: `python -m bench.recording` on a quiet machine; writes docs/proof/recording.json.

Three servers of *small* stand side by side on one core and are loaded by turns: one that records all that is on by
default, one that only counts (`recording = false`), one without any recorder. The turns go to and fro, so that a drift of
the machine meets all alike; what counts is the median of each round's ratio. Then the first one answers ten million
requests, and its memory is taken at every million.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import statistics
import sys
import time
import urllib.request
from contextlib import AbstractContextManager
from typing import Any, Final

import msgspec

from bench import catalogue, generators, install, measure, models, places, processes, report
from bench.bodies import Form
from bench.probes import Probe

_CONNECTIONS: Final = 64
_TARGET: Final = 0.95
_GROWTH_MB: Final = 16.0
_UNRECORDED: Final = places.PEERS / "seaway_unrecorded"
ARMS: Final[dict[str, dict[str, str]]] = {
    "all": {},
    "counts only": {"SEAWAY_RECORDING": "false"},
    "none": {"PYTHONPATH": str(_UNRECORDED)},
}


def main() -> int:
    """Exits 1 where a target is missed."""
    arguments = _arguments()
    started = time.monotonic()
    processes.adopt_orphans()
    install.install([catalogue.SEAWAY])
    models.make_all()
    os.sched_setaffinity(0, {int(core) for core in places.LOAD_CORES.split(",")})
    try:
        figures = _measure(arguments.rounds, arguments.seconds, arguments.requests)
    finally:
        processes.end_all()
    command = " ".join(["python -m bench.recording", *sys.argv[1:]])
    full = arguments.requests >= 10_000_000 and arguments.rounds >= 10
    report.keep("recording", command, started, figures, places.PROOF.parent if full else places.CACHE)
    missed = figures["all_of_none"] < _TARGET or figures["memory"]["growth_mb"] > _GROWTH_MB
    return int(full and missed)


def _measure(rounds: int, seconds: float, requests: int) -> dict[str, Any]:
    with contextlib.ExitStack() as held:
        servers, ports = {}, {}
        for number, (arm, env) in enumerate(ARMS.items()):
            ports[arm] = places.FIRST_PORT + 10 * number
            servers[arm] = held.enter_context(_serving(arm, env, ports[arm]))
        for port in ports.values():
            _load(port, 12.0)  # until the budget has settled
        per_s: dict[str, list[float]] = {arm: [] for arm in ARMS}
        for turn in range(rounds):
            for arm in list(ARMS) if turn % 2 == 0 else list(ARMS)[::-1]:
                servers[arm].favour()
                per_s[arm].append(_load(ports[arm], seconds).per_s)
        figures: dict[str, Any] = {
            "rounds": rounds,
            "seconds_each": seconds,
            "per_s": {arm: statistics.median(found) for arm, found in per_s.items()},
            "all_of_none": _ratio(per_s, "all", "none"),
            "counts_only_of_none": _ratio(per_s, "counts only", "none"),
            "all_of_none_by_round": [
                round(a / b, 4) for a, b in zip(per_s["all"], per_s["none"], strict=True)
            ],
            "recorder": _recorder(ports["all"]),
        }
    with _serving("all", ARMS["all"], places.FIRST_PORT) as server:
        figures["memory"] = _memory(server, places.FIRST_PORT, requests)
    return figures


def _memory(server: processes.Server, port: int, requests: int) -> dict[str, Any]:
    """Summed PSS at every tenth of so many requests."""
    marks, answered = [], 0.0
    begun = _answered(port)
    while answered < requests:
        _load(port, 5.0)
        answered = _answered(port) - begun
        if answered >= requests / 10 * (len(marks) + 1):
            marks.append({"requests": int(answered), "pss_mb": server.memory().pss_mb})
    return {
        "requests": int(answered),
        "pss_mb": marks,
        "growth_mb": round(marks[-1]["pss_mb"] - marks[0]["pss_mb"], 1),
        "recorder": _recorder(port),
    }


def _serving(arm: str, env: dict[str, str], port: int) -> AbstractContextManager[processes.Server]:
    made = catalogue.setup(catalogue.SEAWAY, "small", port)
    setup = msgspec.structs.replace(made, env={**made.env, **env})
    probe = Probe(port, setup.routes[Form.OIP_JSON], "small", Form.OIP_JSON)
    return measure.serving(f"recording-{arm.replace(' ', '-')}", setup, probe)


def _load(port: int, seconds: float) -> generators.Sample:
    path = catalogue.setup(catalogue.SEAWAY, "small", port).routes[Form.OIP_JSON]
    found = generators.wrk(port, [path], "small", Form.OIP_JSON, _CONNECTIONS, seconds)
    if found.errors:
        raise processes.Failed(f"{found.errors} requests failed on port {port}")
    return found


def _ratio(per_s: dict[str, list[float]], one: str, other: str) -> float:
    return round(statistics.median(a / b for a, b in zip(per_s[one], per_s[other], strict=True)), 4)


def _scrape(port: int) -> str:
    with urllib.request.urlopen(f"http://{places.HOST}:{port}/metrics", timeout=10) as answer:
        return str(answer.read().decode())


def _answered(port: int) -> float:
    return sum(
        float(n) for n in re.findall(r'^seaway_requests_total\{door="oip".* (\S+)$', _scrape(port), re.M)
    )


def _recorder(port: int) -> dict[str, float]:
    """What the recorder says of itself: its rate, what each sink kept and dropped, its processor time."""
    found = {}
    for name, labels, value in re.findall(r"^seaway_recorder_(\w+)\{(.*)\} (\S+)$", _scrape(port), re.M):
        words = [word for key, word in re.findall(r'(\w+)="([^"]*)"', labels) if key != "worker"]
        found[" ".join([name, *words])] = float(value)
    return found


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.recording", description=__doc__)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each turn")
    parser.add_argument("--requests", type=int, default=10_000_000, help="whose memory is watched")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

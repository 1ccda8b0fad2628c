"""Measures one system with one model: start, closed loops, memory, open loops, gRPC. `python -m bench` calls it.

Every closed loop is warmed up by the bench's own client, which checks every answer; during the timed runs another
thread goes on asking and checking, a few times a second.
"""

from __future__ import annotations

import contextlib
import json
import shlex
import statistics
import sys
from collections.abc import Iterator
from typing import Final

import msgspec

from bench import catalogue, figures, generators, loads, models, places, processes
from bench.bodies import Form
from bench.catalogue import Setup
from bench.figures import Closed, Limit, Measured, Opened
from bench.probes import Probe, watching

MOST_CONNECTIONS: Final = 4000
_LEAST_CONNECTIONS: Final = 256
_CALM, _OVERLOAD = 0.8, (2.0, 5.0)
_OPEN_WORKS: Final = frozenset({"small", "heavy"})
_DEADLINE_S: Final = 1.0
_IMAGE_CONNECTIONS: Final = 16


class Plan(msgspec.Struct, frozen=True):
    """How long and how often."""

    seconds: float = 2.0
    runs: int = 3
    connections: tuple[int, ...] = (1, 16, 64)
    starts: int = 3
    """Timed starts of Seaway; of which all but the first find its digest seen before."""
    first_port: int = places.FIRST_PORT

    def port(self, system: str) -> int:
        return self.first_port + 10 * catalogue.SYSTEMS.index(system)


def limit(work: str, seconds: float) -> Limit:
    """The `session.run` loop on the servers' core, in Seaway's environment."""
    path = models.MODELS[work].path
    command = [str(places.python(catalogue.SEAWAY)), str(places.BENCH / "limit.py"), str(path)]
    command += [str(path.with_suffix(".npz")), str(seconds)]
    said = json.loads(processes.run(command, timeout_s=60, cores=places.SERVER_CORES))
    return Limit(
        single_per_s=said["1"]["calls_per_s"],
        single_p50_us=said["1"]["p50_us"],
        rows64_per_s=said["64"]["calls_per_s"] * 64,
    )


def system(name: str, work: str, plan: Plan) -> list[Measured]:
    """Everything of one system and one model, one entry per form. What cannot be measured says why."""
    port = plan.port(name)
    setup = catalogue.setup(name, work, port)
    entries = [
        Measured(system=name, work=work, form=form, command=_shown(setup)) for form in _forms(setup, work)
    ]
    try:
        if not processes.free(port):
            raise processes.Failed(f"port {port} is taken: move the bench with --port")
        for command in setup.before:
            processes.run(command, timeout_s=120, env=setup.env)
        before = limit(work, 0.5 * plan.seconds) if work != "img" else None
        _serve(name, work, setup, plan, entries)
        if before is not None:
            both = figures.mean_limit([before, limit(work, 0.5 * plan.seconds)])
            for entry in entries:
                entry.limit = both
    except processes.Failed as error:
        for entry in entries:
            entry.problem = entry.problem or str(error)
    if setup.grpc and work == "small":
        entries.append(_grpc(name, setup, plan))
        entries[-1].limit = entries[0].limit
    return entries


def _forms(setup: Setup, work: str) -> list[Form]:
    """All forms where the transport is the cost; else the system's best."""
    return list(setup.routes) if work in ("small", "img") else list(setup.routes)[:1]


def _serve(name: str, work: str, setup: Setup, plan: Plan, entries: list[Measured]) -> None:
    """Start it, time the start, and measure every form on the one running server."""
    port = plan.port(name)
    first = next(iter(setup.routes))
    starts = plan.starts if name == catalogue.SEAWAY and work == "small" else 1
    cold: list[float] = []
    for again in reversed(range(starts)):
        probe = Probe(port, setup.routes[first], work, first)
        with serving(name, setup, probe) as server:
            cold.append(server.cold_start_s)
            if again:
                continue
            if setup.warm_s:
                warming = loads.Load(port, setup.routes[first], work, first, 64, setup.warm_s)
                _checked(entries[0], generators.ask(warming))
            for entry in entries:
                entry.cold_start_s = round(statistics.median(cold[1:] or cold), 3)
                _form(entry, setup.routes[entry.form], port, plan, server, main=entry.form is first)
            _open_loops(entries[0], setup.routes[first], port, plan)


@contextlib.contextmanager
def serving(
    name: str, setup: Setup, probe: Probe, cores: str = places.SERVER_CORES
) -> Iterator[processes.Server]:
    """The running server of one setup, ready and its first answer checked."""
    env = processes.environment(places.HOMES / name, setup.env)
    started = processes.serving(
        name, setup.command, env, setup.cwd, probe, lambda: probe.said, setup.start_s, cores
    )
    with started as server:
        yield server


def _form(entry: Measured, path: str, port: int, plan: Plan, server: processes.Server, main: bool) -> None:
    """Closed loops, memory and open loops of one form."""
    probe = Probe(port, path, entry.work, entry.form)
    if not probe():
        entry.problem, entry.wrong = f"no right answer: {probe.said}", probe.wrong
        return
    levels = plan.connections if main or entry.system == catalogue.SEAWAY else plan.connections[-1:]
    if entry.work == "img":
        levels = (_IMAGE_CONNECTIONS,)
    for connections in levels:
        load = loads.Load(port, path, entry.work, entry.form, connections, min(1.0, plan.seconds))
        warm = generators.ask(load)
        _checked(entry, warm)
        entry.client_per_s = max(entry.client_per_s, round(sum(warm.statuses.values()) / warm.seconds, 1))
        with watching(probe):
            runs = []
            for _ in range(plan.runs):
                server.favour()
                runs.append(generators.wrk(port, [path], entry.work, entry.form, connections, plan.seconds))
        entry.closed.append(closed(connections, runs))
    entry.checked += probe.checked
    entry.wrong += probe.wrong
    if probe.wrong:
        entry.problem = probe.said
    held = server.memory()
    entry.pss_mb, entry.rss_mb, entry.processes = held.pss_mb, held.rss_mb, held.processes


def _open_loops(entry: Measured, path: str, port: int, plan: Plan) -> None:
    """Poisson arrivals, after all closed loops: overload leaves thousands of connections behind."""
    if entry.work not in _OPEN_WORKS or not entry.closed:
        return
    # A queue needs a while to show: overload is judged on the heavy model, where every system soon has one.
    overloaded = entry.work == "heavy" or entry.system == catalogue.SEAWAY
    for factor in (_CALM, *(_OVERLOAD if overloaded else ())):
        rate = factor * (entry.peak_per_s or 1.0)
        if figures.can_offer(rate, entry.client_per_s):
            entry.opened.append(_opened(entry, path, port, plan, factor, rate))


def closed(connections: int, runs: list[generators.Sample]) -> Closed:
    """The medians of the runs."""
    middle = generators.median(runs)
    return Closed(
        connections,
        middle.per_s,
        round(middle.p50_ms, 3),
        round(middle.p99_ms, 3),
        middle.errors,
        [run.per_s for run in runs],
    )


def _opened(entry: Measured, path: str, port: int, plan: Plan, factor: float, rate: float) -> Opened:
    connections = _LEAST_CONNECTIONS
    if factor > 1:  # as many as it takes for the server, not the client, to hold what waits
        connections = round(min(MOST_CONNECTIONS, max(_LEAST_CONNECTIONS, rate * _DEADLINE_S)))
    load = loads.Load(
        port,
        path,
        entry.work,
        entry.form,
        connections,
        seconds=plan.seconds if factor == _CALM else 2 * plan.seconds,
        rate_per_s=rate,
        deadline_s=_DEADLINE_S,
    )
    came = generators.ask(load)
    _checked(entry, came)
    refused = sum(came.statuses.get(status, 0) for status in (429, 503))
    answered = sum(came.statuses.values())
    return Opened(
        factor=factor,
        offered_per_s=round(came.due / came.seconds, 1),
        goodput_per_s=round(came.in_time / came.seconds, 1),
        refused_per_s=round(refused / came.seconds, 1),
        p50_ms=came.p50_ms,
        p99_ms=came.p99_ms,
        refused_p99_ms=came.refused_p99_ms,
        unanswered=came.unanswered,
        unsent=came.unsent,
        errors=came.lost + answered - refused - came.statuses.get(200, 0),
        statuses=came.statuses,
        client_lag_p99_ms=came.lag_p99_ms,
    )


def _checked(entry: Measured, came: loads.Outcome) -> None:
    entry.checked += came.checked
    entry.wrong += came.wrong
    if came.wrong:
        entry.problem = came.example


def _grpc(name: str, setup: Setup, plan: Plan) -> Measured:
    """gRPC on *small*: 4 connections × 16 streams, answers checked by grpcio meanwhile."""
    port = plan.port(name)
    setup = msgspec.structs.replace(setup, command=[*setup.command, *setup.grpc_words])
    entry = Measured(system=name, work="small", form=Form.OIP_GRPC, command=_shown(setup))
    form, path = next(iter(setup.routes.items()))
    try:
        with serving(name, setup, Probe(port, path, "small", form)) as server:
            _grpc_check(entry, port + 1, 0.0)
            if entry.problem:
                return entry
            runs = [generators.h2load(port + 1, "small", 1.0, turn=0)]  # the warm-up
            for turn in range(1, plan.runs + 1):
                server.favour()
                runs.append(generators.h2load(port + 1, "small", plan.seconds, turn))
            entry.closed.append(closed(64, runs[1:]))
            held = server.memory()
            entry.pss_mb, entry.rss_mb, entry.processes = held.pss_mb, held.rss_mb, held.processes
            _grpc_check(entry, port + 1, plan.seconds, loaded=True)
    except processes.Failed as error:
        entry.problem = str(error)
    return entry


def _grpc_check(entry: Measured, port: int, seconds: float, loaded: bool = False) -> None:
    """Check answers for so long, under h2load's load where `loaded`."""
    command = [sys.executable, "-m", "bench.grpc_check", str(port), entry.work, str(seconds)]
    checking = processes.start(command)
    if loaded:
        generators.h2load(port, entry.work, seconds, turn=0)
    printed, complaint = checking.communicate(timeout=seconds + 60)
    if checking.returncode != 0:
        raise processes.Failed(f"grpc_check: {complaint[-400:]}")
    said = json.loads(printed)
    entry.checked += said["checked"]
    entry.wrong += said["wrong"]
    if said["wrong"] or not said["checked"]:
        entry.problem = said["example"]


def _shown(setup: Setup) -> str:
    """The command as a person would type it, without this machine's path."""
    return shlex.join(setup.command).replace(f"{places.ROOT}/", "")

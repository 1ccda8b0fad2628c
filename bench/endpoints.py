"""Measures Seaway with many endpoints, with several workers, and without batching. `python -m bench` calls it.

Its routing tables are written by `peers/seaway/tables.py`, and the supervisor serves them as `seaway serve` would.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench import catalogue, generators, measure, models, places, probes, processes
from bench.bodies import Form
from bench.figures import Measured, Scaled
from bench.measure import Plan

COUNTS: Final = (1, 10, 100, 1000)
WORKERS: Final = (1, 2)
_CONNECTIONS: Final = 64
_MAX_ROWS: Final = 64
_BOTH_CORES: Final = "0,1"


def scaled(plan: Plan, counts: tuple[int, ...] = COUNTS) -> list[Scaled]:
    """Throughput against the number of endpoints, then of workers.

    A second worker shares its core with the load: on two cores that shows that it helps, not by how much.
    """
    made = [_scaled(plan, count, 1) for count in counts]
    return made + [_scaled(plan, 1, workers) for workers in WORKERS if workers > 1]


def without_batching(plan: Plan) -> Measured:
    """Seaway on *conv* with batches of one row: what its batching must not be slower than."""
    form = Form.OIP_JSON
    entry = Measured(system="seaway, max_rows 1", work="conv", form=form, command="")
    port = plan.port(catalogue.SEAWAY)
    try:
        with _serving("conv", 1, 1, 1, port) as (server, _):
            runs = []
            for _ in range(plan.runs):
                server.favour()
                runs.append(generators.wrk(port, [_path(0)], "conv", form, _CONNECTIONS, plan.seconds))
            entry.closed.append(measure.closed(_CONNECTIONS, runs))
            entry.pss_mb = server.memory().pss_mb
    except processes.Failed as error:
        entry.problem = str(error)
    return entry


def _scaled(plan: Plan, count: int, workers: int) -> Scaled:
    port = plan.port(catalogue.SEAWAY)
    with _serving("small", count, workers, _MAX_ROWS, port) as (server, cold_s):
        paths = [_path(number) for number in range(count)]
        generators.wrk(port, paths, "small", Form.OIP_JSON, _CONNECTIONS, 1.0)  # the warm-up
        runs = []
        for _ in range(plan.runs):
            server.favour()
            runs.append(generators.wrk(port, paths, "small", Form.OIP_JSON, _CONNECTIONS, plan.seconds))
        middle = measure.closed(_CONNECTIONS, runs)
        return Scaled(
            endpoints=count,
            workers=workers,
            per_s=middle.per_s,
            p50_ms=middle.p50_ms,
            p99_ms=middle.p99_ms,
            errors=middle.errors,
            pss_mb=server.memory().pss_mb,
            cold_start_s=round(cold_s, 3),
        )


@contextmanager
def _serving(
    work: str, count: int, workers: int, max_rows: int, port: int
) -> Iterator[tuple[processes.Server, float]]:
    """The running supervisor; ready when the last endpoint gives a right answer."""
    files = places.CACHE / "endpoints"
    files.mkdir(parents=True, exist_ok=True)
    python = str(places.python(catalogue.SEAWAY))
    with tempfile.TemporaryDirectory(prefix="run-", dir=files) as made:
        run = Path(made)
        model = str(models.MODELS[work].path)
        writer = [
            python,
            str(places.PEERS / "seaway" / "tables.py"),
            model,
            str(run),
            str(count),
            str(max_rows),
        ]
        processes.run(writer, timeout_s=300)
        words = f"-m seaway.wiring.supervisor --run {run} --http {places.HOST}:{port} --drain 5"
        setup = catalogue.Setup(
            [python, *words.split(), "--workers", str(workers)],
            {Form.OIP_JSON: _path(count - 1)},
            start_s=120.0,
        )
        probe = probes.Probe(port, _path(count - 1), work, Form.OIP_JSON)
        cores = places.SERVER_CORES if workers == 1 else _BOTH_CORES
        with measure.serving(f"seaway-{count}-{workers}", setup, probe, cores) as server:
            yield server, server.cold_start_s


def _path(number: int) -> str:
    return f"/v2/models/m{number}/infer"

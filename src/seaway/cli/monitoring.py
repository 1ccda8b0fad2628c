"""`seaway monitoring`: the files that hook an endpoint up to Prometheus, Alertmanager and Grafana."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from seaway.cli import output
from seaway.cli.options import COMMON, Common


def monitoring(
    endpoint: Annotated[str, Parameter(help="The endpoint.")],
    /,
    *,
    out: Annotated[
        Path, Parameter(name=["--output", "-o"], help="The directory to write to; its files are replaced.")
    ],
    target: Annotated[
        str | None,
        Parameter(help="HOST:PORT where Prometheus reaches the server; else the server's own address."),
    ] = None,
    common: Common = COMMON,
) -> int:
    """Write scrape configuration, recording and alert rules, and a dashboard for an endpoint."""
    from seaway.monitor.telemetry import monitoring_files
    from seaway.wiring import monitoring as use_case
    from seaway.wiring.home import Home

    plan = use_case.plan(Home(common.configuration()), endpoint, target)
    written = monitoring_files.write(monitoring_files.files(plan), out)
    wanted = plan.objectives
    if common.json:
        output.print_json(
            {
                "endpoint": endpoint,
                "files": [str(path) for path in written],
                "errors_percent": wanted.errors_percent,
                "latency_s": wanted.latency_s,
                "promised_s": wanted.promised_s,
                "workers": plan.workers,
                "target": plan.target,
            }
        )
        return 0
    for path in written:
        output.say(f"wrote {output.plain(path)}")
    output.say(
        f"\nalerts of {endpoint}: at most {wanted.errors_percent:g} % errors, 99 % within {wanted.latency_s:g} s, "
        f"{plan.workers} worker{'s' if plan.workers != 1 else ''} at {output.plain(plan.target)}"
    )
    if wanted.promised_s != wanted.latency_s:
        output.say(
            f"p99 is {wanted.promised_s:g} s, and judged at {wanted.latency_s:g} s, the nearest edge of the histogram"
        )
    example = out / monitoring_files.PROMETHEUS
    output.say(f"a first look: prometheus --config.file={output.plain(example)}")
    return 0

"""`seaway validate`, and how a gate's report looks in a terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from seaway.cli import output
from seaway.cli.options import COMMON, Common
from seaway.core.checks import GateReport, Measurement, Verdict


def validate(
    ref: Annotated[str, Parameter(help="NAME:v3")],
    /,
    *,
    baseline: Annotated[
        str | None, Parameter(help="Compare with this version; else with the one that is live.")
    ] = None,
    common: Common = COMMON,
) -> int:
    """Run a version's checks, print what they found, keep the report; exits 3 where the gate does not pass."""
    from seaway.wiring import control_access, gates
    from seaway.wiring.home import Home

    home = Home(common.configuration())
    version = home.version(ref)
    against = home.version(baseline) if baseline else control_access.live_version(home, version.name)
    with output.progress(common.json) as progress:
        report = gates.run_and_keep(home, version, against, progress)
    page = gates.page_path(home, version)
    if common.json:
        output.print_json({"report": report, "page": None if page is None else str(page)})
    else:
        print_report(report, page)
    return 3 if report.verdict in (Verdict.FAILED, Verdict.ERRORED) else 0


def print_report(report: GateReport, page: Path | None) -> None:
    """The table of checks, the verdict, and where the readable page is."""
    rows = [
        (result.check, result.verdict.value, "\n".join(map(measured, result.measurements)), result.reason)
        for result in report.results
    ]
    title = f"gate of {report.ref}" + (
        f", compared with {report.baseline_ref}" if report.baseline_ref else ""
    )
    output.table(title, ("check", "verdict", "measured", "why"), rows)
    colour = {"passed": "green", "inconclusive": "yellow"}.get(report.verdict.value, "red")
    output.say(f"\ngate: [bold {colour}]{report.verdict.value}[/]")
    if page is not None:
        output.say(f"page: {output.plain(page)}")


def measured(measurement: Measurement) -> str:
    """Such as `accuracy 0.812 [0.801, 0.823] n=4000`."""
    if measurement.value is None:
        return f"{measurement.metric} -"
    unit = {"": "", "percent": " %", "bytes": ""}.get(measurement.unit, f" {measurement.unit}")
    value = (
        output.human_bytes(int(measurement.value))
        if measurement.unit == "bytes"
        else f"{measurement.value:.4g}"
    )
    interval = ""
    if measurement.low is not None and measurement.high is not None:
        interval = f" [{measurement.low:.4g}, {measurement.high:.4g}]"
    return f"{measurement.metric} {value}{unit}{interval} n={measurement.n}"

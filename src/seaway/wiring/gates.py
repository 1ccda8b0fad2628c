"""The gate with its parts put in: runs a version's checks and keeps the report beside the version."""

from __future__ import annotations

import datetime
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from seaway.bundle.parity import ParityReport
from seaway.core.bundles import Version
from seaway.core.checks import CheckResult, GateReport, Verdict
from seaway.core.errors import PermanentError, SeawayError
from seaway.validate import report as pages
from seaway.validate import suite
from seaway.wiring.home import Home

GATE: Final = "gate"
GATE_PAGE: Final = "gate-page"
PARITY: Final = "parity"
_GATE_TYPE: Final = "application/vnd.seaway.gate.v1+json"
_PAGE_TYPE: Final = "text/html"
_GATE_TIMEOUT_S: Final = 900.0
REFUSED: Final = 12
"""The exit code of a gate's process that met an error before it could judge, such as a damaged bundle."""


def run_and_keep(
    home: Home, version: Version, baseline: Version | None, progress: Callable[[str], None]
) -> GateReport:
    """Run the gate of a version against what is live now, and attach the report as JSON and as a page.

    Blocking, seconds. Raises what opening a damaged bundle raises; a failing model is a failed report, no error.
    """
    progress(f"opening {version.ref}")
    against = None
    if baseline is not None and baseline.digest != version.digest:
        against = home.bundles.open(baseline)
    report = suite.run_gate(
        home.bundles.open(version),
        home.runtime,
        home.clock,
        against,
        on_result=lambda result: progress(f"{result.check}: {result.verdict.value}"),
    )
    home.bundles.attach(version, GATE, _GATE_TYPE, pages.to_json(report))
    home.bundles.attach(version, GATE_PAGE, _PAGE_TYPE, pages.to_html(report).encode())
    return report


def last_report(home: Home, version: Version) -> GateReport | None:
    """The newest gate report of a version; None where it was never validated."""
    kept = home.bundles.attachments(version, GATE)
    return pages.from_json(kept[-1].data) if kept else None


def parity(home: Home, version: Version) -> ParityReport | None:
    """The proof of conversion; None for a version that was ONNX from the start."""
    kept = home.bundles.attachments(version, PARITY)
    return msgspec.json.decode(kept[-1].data, type=ParityReport) if kept else None


def page_path(home: Home, version: Version) -> Path | None:
    """The newest report as an HTML file that a browser can open; None where there is none."""
    kept = home.bundles.attachments(version, GATE_PAGE)
    if not kept:
        return None
    path = home.paths.cache / "reports" / f"{version.name}-v{version.number}.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(kept[-1].data)
    return path


def current_report(
    home: Home, version: Version, baseline: Version | None, progress: Callable[[str], None]
) -> GateReport:
    """The kept report where it was made against this very baseline and decided; else a new one."""
    kept = last_report(home, version)
    against = None if baseline is None or baseline.digest == version.digest else baseline.digest
    if kept is not None and kept.baseline == against and kept.verdict is not Verdict.ERRORED:
        return kept
    return run_and_keep(home, version, baseline, progress)


def in_a_process_of_its_own(home: Home, version: Version, baseline: Version | None) -> GateReport:
    """As `current_report`, but a model that crashes or eats memory takes only a child process with it.

    This is the gate of the control process. A child that ends without a report is an errored gate.
    """
    words = [sys.executable, "-m", "seaway.wiring.gate_process", str(home.paths.home), str(version.ref)]
    if baseline is not None:
        words.append(str(baseline.ref))
    began_s = home.clock.now_s()
    try:
        done = subprocess.run(words, capture_output=True, timeout=_GATE_TIMEOUT_S, check=False)
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        reason = f"the gate's process ended with code {done.returncode}" + (
            f": {said[-1][:300]}" if said else ""
        )
        if done.returncode == 0:
            return pages.from_json(done.stdout)
        if done.returncode == REFUSED:
            raise _error_of(done.stdout)
    except subprocess.TimeoutExpired:
        reason = f"the gate did not end within {_GATE_TIMEOUT_S:.0f} s"
    at = datetime.datetime.fromtimestamp(began_s, datetime.UTC).isoformat(timespec="seconds")
    result = CheckResult("gate", Verdict.ERRORED, reason)
    return GateReport(version.digest, str(version.ref), Verdict.ERRORED, (result,), at)


class Fault(msgspec.Struct, frozen=True):
    """An error on its way out of a gate's process."""

    code: str
    message: str
    hint: str | None = None


def _error_of(data: bytes) -> SeawayError:
    fault = msgspec.json.decode(data, type=Fault)
    return PermanentError(fault.code, fault.message, fault.hint)

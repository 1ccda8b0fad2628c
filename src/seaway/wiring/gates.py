"""The gate with its parts put in: runs a version's checks and keeps the report beside the version."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from seaway.bundle.parity import ParityReport
from seaway.core.bundles import Version
from seaway.core.checks import GateReport, Verdict
from seaway.validate import report as pages
from seaway.wiring import gate_runs
from seaway.wiring.home import Home

GATE: Final = "gate"
GATE_PAGE: Final = "gate-page"
PARITY: Final = "parity"
_GATE_TYPE: Final = "application/vnd.seaway.gate.v1+json"
_PAGE_TYPE: Final = "text/html"


def run_and_keep(
    home: Home, version: Version, baseline: Version | None, progress: Callable[[str], None]
) -> GateReport:
    """Run the gate of a version against what is live now, and attach the report as JSON and as a page.

    It runs in a process of its own, with the memory of a worker. Blocking, seconds. Raises `PermanentError` with the
    code of what opening a damaged bundle raises; a failing model is a failed report, no error.
    """
    progress(f"opening {version.ref}")
    against = None if baseline is None or baseline.digest == version.digest else baseline
    report = gate_runs.judge(home, version, against, progress)
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


class Gate:
    """The gate of the control process: for one version at a time; who asks meanwhile waits, and gets the same report."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._lock = threading.Lock()
        self._under_way: dict[str, threading.Lock] = {}

    def __call__(self, version: Version, baseline: Version | None) -> GateReport:
        """As `current_report`. Blocking, thread-safe."""
        with self._lock:
            under_way = self._under_way.setdefault(version.digest, threading.Lock())
        with under_way:
            return current_report(self._home, version, baseline, lambda _text: None)

"""Prints the bench's tables and stores its document: what was measured, on what, by which commands and versions."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from pathlib import Path
from typing import Any

import msgspec

from bench import catalogue, figures, install, models, places, targets
from bench.figures import Measured, Scaled, Target


class Document(msgspec.Struct, kw_only=True):
    """docs/proof/bench.json."""

    proof: str = "bench"
    command: str
    commit: str
    changed_files: list[str]
    date: str
    took_s: float
    machine: dict[str, Any]
    versions: dict[str, dict[str, str]]
    load_generators: dict[str, str]
    plan: dict[str, Any]
    targets: list[Target]
    measured: list[Measured]
    scaled: list[Scaled]


def document(
    command: str, plan: dict[str, Any], started: float, measured: list[Measured], scaled: list[Scaled]
) -> Document:
    """Everything, with the peers judged and the targets compared."""
    figures.judge(measured)
    systems = sorted({entry.system for entry in measured} & set(catalogue.SYSTEMS))
    return Document(
        command=command,
        commit=_said("git", "rev-parse", "HEAD"),
        changed_files=_said("git", "status", "--porcelain", "--", "src", "bench").splitlines(),
        date=time.strftime("%Y-%m-%d", time.gmtime()),
        took_s=round(time.monotonic() - started, 1),
        machine=machine(),
        versions={system: install.versions(system) for system in systems},
        load_generators={
            "wrk": _said("wrk", "-v").split("\n")[0].split(" [")[0],
            "h2load": _said("h2load", "--version"),
        },
        plan=plan,
        targets=targets.all_targets(measured),
        measured=measured,
        scaled=scaled,
    )


def store(made: Document, path: Path) -> None:
    """Write it, readable."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(made), indent=1) + b"\n")
    print(f"written: {_near(path)}", flush=True)


def keep(name: str, command: str, started: float, found: dict[str, Any], folder: Path) -> None:
    """Write FOLDER/NAME.json, a proof of its own beside the bench's document."""
    made = {
        "proof": name,
        "command": command,
        "commit": _said("git", "rev-parse", "HEAD"),
        "changed_files": _said("git", "status", "--porcelain", "--", "src", "bench").splitlines(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "took_s": round(time.monotonic() - started, 1),
        "machine": machine(),
        "figures": found,
    }
    path = folder / f"{name}.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(made), indent=1) + b"\n")
    print(f"{msgspec.json.encode(found).decode()}\nwritten: {_near(path)}", flush=True)


def draw(path: Path, folder: Path) -> None:
    """Draw the charts of a stored document, in the environment that has the library for it."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        [str(places.python("charts")), str(places.BENCH / "charts.py"), str(path), str(folder)], check=True
    )
    print(f"written: {_near(folder)}/*.svg", flush=True)


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    memory_kib = int(Path("/proc/meminfo").read_text().split()[1])
    return {
        "cpu": names[0] if names else platform.machine(),
        "cores": os.cpu_count(),
        "server_cores": places.SERVER_CORES,
        "load_cores": places.LOAD_CORES,
        "memory_gib": round(memory_kib / 2**20, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load_average_before": round(os.getloadavg()[2], 2),
    }


def line(entry: Measured) -> str:
    """One entry while the bench runs."""
    head = f"{entry.system:20s} {entry.work:6s} {entry.form:7s}"
    if not entry.closed:
        return f"{head} NOT MEASURED: {entry.problem}"
    loops = "  ".join(
        f"c={c.connections}: {c.per_s:,.0f}/s p50 {c.p50_ms:.2f} p99 {c.p99_ms:.2f} ms err {c.errors}"
        for c in entry.closed
    )
    start = f"{entry.cold_start_s:.2f} s" if entry.cold_start_s is not None else "–"
    tail = f"start {start}, PSS {entry.pss_mb} MiB, {entry.checked} checked, {entry.wrong} wrong"
    rows = [f"{head} {loops}  {tail}"]
    rows += [
        f"{'':36s}{o.factor:g}× = {o.offered_per_s:,.0f}/s: good {o.goodput_per_s:,.0f}/s, refused {o.refused_per_s:,.0f}/s"
        f" (p99 {_ms(o.refused_p99_ms)}), p50 {_ms(o.p50_ms)} p99 {_ms(o.p99_ms)}, unanswered {o.unanswered}, unsent {o.unsent},"
        f" errors {o.errors}, client late {_ms(o.client_lag_p99_ms)}"
        for o in entry.opened
    ]
    return "\n".join(rows)


def tables(made: Document) -> str:
    """The closing tables: systems side by side, the scale chart's figures, and the targets."""
    rows: list[str] = []
    for work in models.MODELS:
        rows += _side_by_side(made.measured, work)
    if made.scaled:
        rows += [
            "",
            f"{'endpoints':>10s}{'workers':>9s}{'req/s':>10s}{'p50 ms':>9s}{'p99 ms':>9s}{'PSS MiB':>9s}",
        ]
        rows += [
            f"{s.endpoints:10d}{s.workers:9d}{s.per_s:10,.0f}{s.p50_ms:9.2f}{s.p99_ms:9.2f}{s.pss_mb:9.0f}"
            for s in made.scaled
        ]
    rows += ["", f"{'target':84s}{'wanted':>10s}{'measured':>11s}"]
    words = {True: "met", False: "MISSED", None: "not measured"}
    for target in made.targets:
        value = "–" if target.measured is None else f"{target.measured:,.3g}"
        rows.append(f"{target.row:84s}{target.target:>10s}{value:>11s}  {words[target.met]}")
    return "\n".join(rows)


def _side_by_side(measured: list[Measured], work: str) -> list[str]:
    entries = [entry for entry in measured if entry.work == work]
    if not entries:
        return []
    loops = [entry.limit for entry in entries if entry.limit is not None]
    title = work
    if loops:
        middle = figures.mean_limit(loops)
        title += (
            f": session.run {middle.single_per_s:,.0f}/s, in batches of 64 {middle.rows64_per_s:,.0f} rows/s"
        )
    rows = [
        "",
        title,
        f"{'':22s}{'form':>8s}{'req/s':>10s}{'p99 ms':>9s}{'÷ loop':>9s}{'÷ best':>8s}{'MiB':>7s}",
    ]
    best = max(
        (e.closed[-1].per_s for e in entries if e.closed and e.system in catalogue.PEERS and not e.invalid),
        default=None,
    )
    for entry in sorted(entries, key=lambda e: -(e.closed[-1].per_s if e.closed else 0)):
        if not entry.closed:
            rows.append(f"{entry.system:22s}{entry.form:>8s}  not measured: {(entry.problem or '')[:90]}")
            continue
        last = entry.closed[-1]
        share = figures.share_of_limit(entry)
        of_loop = f"{share:9.3f}" if share is not None else f"{'–':>9s}"
        of_best = f"{last.per_s / best:8.2f}" if best else f"{'–':>8s}"
        note = f"  {entry.problem}" if entry.problem else ""
        rows.append(
            f"{entry.system:22s}{entry.form:>8s}{last.per_s:10,.0f}{last.p99_ms:9.2f}{of_loop}{of_best}"
            f"{entry.pss_mb or 0:7.0f}{note}"
        )
    return rows


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f} ms"


def _near(path: Path) -> str:
    return str(path.relative_to(places.ROOT)) if path.is_relative_to(places.ROOT) else str(path)


def _said(*command: str) -> str:
    done = subprocess.run(command, cwd=places.ROOT, capture_output=True, text=True, check=False)
    return (done.stdout or done.stderr).strip()

"""Draws a stored bench document as SVG: `python charts.py DOCUMENT.json FOLDER`.

It runs in an environment of its own that has matplotlib, so it imports nothing of the bench.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib import pyplot as plt

_OURS, _PEER, _MUTED = "#0b6e99", "#9aa5b1", "#d9dee3"
_TITLES: Final = {
    "small": "A small model (scaler + logistic regression): requests/s, 64 connections",
    "heavy": "A model of 4 ms that gains by batches: requests/s, 64 connections",
    "img": "3 × 224 × 224 floats per request: requests/s, 16 connections",
}
Document = dict[str, Any]


def throughput(document: Document, work: str, title: str, path: Path) -> None:
    """One bar per system and form, and the `session.run` loop as the line that nobody passes."""
    entries = [m for m in document["measured"] if m["work"] == work and m["closed"]]
    if not entries:
        return
    entries.sort(key=lambda m: m["closed"][-1]["per_s"])
    names = [f"{m['system']} ({m['form']})" + (" *" if m["invalid"] else "") for m in entries]
    values = [m["closed"][-1]["per_s"] for m in entries]
    colours = [_OURS if m["system"] == "seaway" else _MUTED if m["invalid"] else _PEER for m in entries]
    figure, axes = plt.subplots(figsize=(9, 1.2 + 0.34 * len(entries)))
    bars = axes.barh(names, values, color=colours)
    axes.bar_label(bars, [f"{value:,.0f}" for value in values], padding=4, fontsize=9)
    limits = [m["limit"] for m in entries if m["limit"]]
    if limits:
        key, label = (
            ("rows64_per_s", "in batches of 64") if work == "heavy" else ("single_per_s", "one by one")
        )
        value = sum(limit[key] for limit in limits) / len(limits)
        axes.axvline(value, color="black", linewidth=1, linestyle="--")
        axes.text(value, -0.2, f"session.run {label} ", ha="right", va="bottom", fontsize=8)
        axes.set_xlim(0, max(value, *values) * 1.12)
    axes.set_title(title, loc="left", fontsize=11)
    _finish(
        figure,
        axes,
        document,
        path,
        "* set up wrong: does not count" if any(m["invalid"] for m in entries) else "",
    )


def scale(document: Document, path: Path) -> None:
    """Throughput and p99 against the number of endpoints, and of workers."""
    if not document["scaled"]:
        return
    figure, both = plt.subplots(1, 2, figsize=(10, 3.6), width_ratios=(2, 1))
    one = [s for s in document["scaled"] if s["workers"] == 1]
    workers = [s for s in document["scaled"] if s["endpoints"] == 1]
    for axes, rows, key, title in (
        (both[0], one, "endpoints", "Seaway, small: against the number of endpoints, one worker"),
        (both[1], workers, "workers", "… of workers, one endpoint"),
    ):
        places = [f"{row[key]:,}" for row in rows]
        axes.plot(places, [row["per_s"] for row in rows], marker="o", color=_OURS)
        axes.set_ylim(bottom=0)
        axes.set_xlabel(key)
        axes.set_ylabel("requests/s", color=_OURS)
        tail = axes.twinx()
        tail.plot(places, [row["p99_ms"] for row in rows], marker="s", color="#c0562b", linestyle=":")
        tail.set_ylim(bottom=0)
        tail.set_ylabel("p99, ms", color="#c0562b")
        tail.spines[["top"]].set_visible(False)
        axes.set_title(title, loc="left", fontsize=10)
    _finish(figure, both[0], document, path)


def overload(document: Document, path: Path) -> None:
    """Goodput over peak when 0.8, 2 and 5 times the capacity is offered."""
    works = [
        w for w in ("small", "heavy") if any(m["work"] == w and m["opened"] for m in document["measured"])
    ]
    if not works:
        return
    figure, grid = plt.subplots(1, len(works), figsize=(5 * len(works), 3.8), squeeze=False)
    for axes, work in zip(grid[0], works, strict=True):
        for entry in document["measured"]:
            if entry["work"] != work or not entry["opened"]:
                continue
            peak = max(closed["per_s"] for closed in entry["closed"])
            ours = entry["system"] == "seaway"
            axes.plot(
                [f"{o['factor']:g}×" for o in entry["opened"]],
                [o["goodput_per_s"] / peak for o in entry["opened"]],
                marker="o",
                label=entry["system"],
                color=_OURS if ours else None,
                linewidth=2.5 if ours else 1,
                zorder=3 if ours else 2,
            )
        axes.set_ylim(0, 1.2)
        axes.set_title(f"{work}: answers within 1 s ÷ own peak, by offered load", loc="left", fontsize=10)
    grid[0][-1].legend(fontsize=7, loc="lower left", ncols=2)
    _finish(figure, grid[0][0], document, path)


def _finish(figure: Any, axes: Any, document: Document, path: Path, note: str = "") -> None:
    for each in figure.axes:
        each.spines[["top"]].set_visible(False)
    machine = document["machine"]
    said = f"{machine['cpu']}, server on one core, load on another; {document['date']}, {document['commit'][:10]}"
    figure.text(0.01, 0.005, f"{said}  {note}", fontsize=7, color="#666666")
    figure.tight_layout(rect=(0, 0.03, 1, 1))
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def main() -> None:
    """Every chart that the document has figures for."""
    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "bench"
    document: Document = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    folder = Path(sys.argv[2])
    for work, title in _TITLES.items():
        throughput(document, work, title, folder / f"{work}.svg")
    overload(document, folder / "overload.svg")
    scale(document, folder / "scale.svg")


if __name__ == "__main__":
    main()

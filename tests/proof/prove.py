"""Runs every proof at full size and writes docs/proof/NAME.json: `python tests/proof/prove.py [NAME …]`.

`make prove` calls it. A proof is a module here with `measure(scale)`: the figures, at that share of the full size. It
raises `AssertionError` where what it proves does not hold, so no file is written for a failed proof.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "proof"), str(ROOT / "examples")]

PROOFS = (
    "base_install",
    "cold_start",
    "switching",
    "kills",
    "real_data",
    "worker_kills",
    "segfaults",
    "soak",
    "overload",
    "summaries",
    "feedback",
    "provenance",
    "verdicts",
    "rollout_transitions",
    "rollout_detection",
    "rollout_kills",
    "rollout_aa",
)


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    memory_kib = int(Path("/proc/meminfo").read_text().split()[1])
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "memory_gib": round(memory_kib / 2**20, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def git(*words: str) -> str:
    """What git says of the checkout."""
    return subprocess.run(
        ["git", *words], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()


def prove(name: str) -> None:
    """Run one proof and write its file."""
    print(f"{name} …", flush=True)
    started = time.time()
    figures = importlib.import_module(name).measure(1.0)
    document = {
        "proof": name,
        "command": f"python tests/proof/prove.py {name}",
        "commit": git("rev-parse", "HEAD"),
        "changed_files": [
            line for line in git("status", "--porcelain", "--", "src", "tests").splitlines() if line
        ],
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "took_s": round(time.time() - started, 1),
        "machine": machine(),
        "figures": figures,
    }
    path = ROOT / "docs" / "proof" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", "utf-8")
    print(f"  {path.relative_to(ROOT)}: {json.dumps(figures, ensure_ascii=False)[:400]}", flush=True)


if __name__ == "__main__":
    for chosen in sys.argv[1:] or PROOFS:
        prove(chosen)

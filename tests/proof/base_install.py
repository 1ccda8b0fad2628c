"""The base install alone: its size, and that it packages, serves and deploys an ONNX file."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import server
from server import Seaway, linear_model

ROOT = Path(__file__).resolve().parents[2]
LIMIT_MB = 300


def measure(scale: float) -> dict[str, Any]:
    """Install the checkout into an empty environment, use it, weigh what came in. `scale` changes nothing: it is one install.

    What Python itself puts into an empty environment (pip, setuptools) is told beside it.
    """
    with tempfile.TemporaryDirectory() as work:
        environment = Path(work) / "venv"
        subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
        empty_mb = _size_mb(environment)
        pip = [
            str(environment / "bin" / "python"),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ]
        subprocess.run([*pip, str(ROOT)], check=True)
        whole_mb = _size_mb(environment)
        size_mb = whole_mb - empty_mb
        assert size_mb < LIMIT_MB, f"the base install weighs {size_mb:.0f} MB"
        _use(environment / "bin" / "seaway", Path(work) / "home")
    return {
        "size_mb": round(size_mb),
        "limit_mb": LIMIT_MB,
        "whole_environment_mb": round(whole_mb),
        "packages_serves_deploys_onnx": True,
    }


def _size_mb(directory: Path) -> float:
    return sum(path.lstat().st_size for path in directory.rglob("*")) / 1e6


def _use(program: Path, home: Path) -> None:
    home.mkdir()
    model = linear_model(home / "model.onnx", 3.0)
    seaway = Seaway(home)
    kept, server.SEAWAY = server.SEAWAY, str(program)
    try:
        seaway.run("package", str(model), "--name", "linear", "--no-lock")
        with seaway.up():
            seaway.run("deploy", "linear:v1")
            status, _, body = seaway.predict("linear", [[1.0, 1.0]])
            assert status == 200 and json.loads(body) == {"predictions": [6.0]}, body
    finally:
        server.SEAWAY = kept

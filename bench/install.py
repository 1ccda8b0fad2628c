"""Sets up one environment per system under the cache: the exact versions of `peers/*/requirements.txt`.

Seaway is installed from this checkout, as a user would, into an environment without its development tools.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Final

import msgspec

from bench import catalogue, places

_UV: Final = "uv==0.13.9"
_BY_PIP: Final = frozenset({"torchserve"})
"""Its torch may come as a wheel that pip's own configuration names and uv does not read."""
_SYSTEM_PYTHON: Final = Path("/usr/bin/python3.11")
_BY_SYSTEM_PYTHON: Final = frozenset({"pytriton"})
"""Triton's Python processes load the system's libpython, so the standard library must be of the same build."""


def install(systems: list[str]) -> None:
    """Make or renew the environments of `systems`, one at a time, and that of the charts. Unchanged ones stay."""
    uv = _uv()
    _from_file(uv, "charts", places.BENCH / "requirements-charts.txt")
    for system in systems:
        if system == catalogue.SEAWAY:
            _seaway(uv)
        else:
            _from_file(uv, system, places.PEERS / system / "requirements.txt")


def versions(system: str) -> dict[str, str]:
    """What is installed in the environment of `system`."""
    listed = subprocess.run(
        [str(_uv()), "pip", "list", "--format", "json", "-p", str(places.python(system))],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return {each["name"]: each["version"] for each in msgspec.json.decode(listed)}


def _uv() -> Path:
    program = places.VENVS / "uv" / "bin" / "uv"
    if not program.exists():
        _run([sys.executable, "-m", "venv", str(places.VENVS / "uv")])
        _run([str(places.python("uv")), "-m", "pip", "install", "--quiet", _UV])
    return program


def _from_file(uv: Path, name: str, requirements: Path) -> None:
    folder = places.VENVS / name
    stamp = folder / "requirements.sha256"
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return
    print(f"installing {name} …", flush=True)
    if name in _BY_PIP:
        _run([sys.executable, "-m", "venv", "--clear", str(folder)])
        _run([str(places.python(name)), "-m", "pip", "install", "--quiet", "-r", str(requirements)])
    else:
        _venv(uv, name)
        _run([str(uv), "pip", "install", "-q", "-p", str(places.python(name)), "-r", str(requirements)])
    stamp.write_text(digest)


def _seaway(uv: Path) -> None:
    print("installing seaway from this checkout …", flush=True)
    if not places.python(catalogue.SEAWAY).exists():
        _venv(uv, catalogue.SEAWAY)
    words = ["pip", "install", "-q", "--compile-bytecode", "--reinstall-package", "seaway"]
    _run([str(uv), *words, "-p", str(places.python(catalogue.SEAWAY)), f"{places.ROOT}[grpc]"])


def _venv(uv: Path, name: str) -> None:
    system = name in _BY_SYSTEM_PYTHON and _SYSTEM_PYTHON.exists()
    interpreter = str(_SYSTEM_PYTHON) if system else sys.executable
    _run([str(uv), "venv", "-q", "--clear", "-p", interpreter, str(places.VENVS / name)])


def _run(command: list[str]) -> None:
    subprocess.run(["nice", "-n", "19", *command], check=True, stdin=subprocess.DEVNULL)

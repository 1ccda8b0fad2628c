"""Where the bench keeps its things, and which cores and ports it takes. Every module here reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
BENCH: Final = ROOT / "bench"
PEERS: Final = BENCH / "peers"
CACHE: Final = BENCH / ".cache"
VENVS: Final = CACHE / "venvs"
MODELS: Final = CACHE / "models"
BODIES: Final = CACHE / "bodies"
HOMES: Final = CACHE / "homes"
LOGS: Final = CACHE / "logs"
PROOF: Final = ROOT / "docs" / "proof" / "bench.json"
CHARTS: Final = ROOT / "docs" / "bench"

HOST: Final = "127.0.0.1"
SERVER_CORES: Final = "0"
LOAD_CORES: Final = "1"
FIRST_PORT: Final = 18_100
"""Each system takes ten ports from here on; `--port` moves them."""


def python(venv: str) -> Path:
    """The interpreter of one of the bench's environments."""
    return VENVS / venv / "bin" / "python"

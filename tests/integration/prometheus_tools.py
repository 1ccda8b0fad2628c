"""Real Prometheus and Alertmanager processes, and promtool, for tests marked `outside`."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from serve_process import until

from ports import free_port

NEEDED = ("prometheus", "promtool", "prometheus-alertmanager", "amtool")


def needs_prometheus() -> None:
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}: make components")


class Daemon:
    """A process that answers /-/ready on a port of its own; ended by its own id."""

    def __init__(self, directory: Path, *words: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = directory / f"{words[0]}.log"
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                [*words, f"--web.listen-address=127.0.0.1:{self.port}"], cwd=directory, stdout=out, stderr=out
            )
        until(self._ready)

    def _ready(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=10) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False

    def get(self, path: str, **query: str) -> Any:
        words = f"?{urllib.parse.urlencode(query)}" if query else ""
        with urllib.request.urlopen(f"{self.url}{path}{words}", timeout=60) as answer:
            return json.loads(answer.read())

    def query(self, expr: str) -> list[dict[str, Any]]:
        """An instant query: the result of a Prometheus."""
        result: list[dict[str, Any]] = self.get("/api/v1/query", query=expr)["data"]["result"]
        return result

    def stop(self) -> None:
        if self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def check(*words: str, cwd: Path) -> str:
    """Run a tool that must find nothing wrong."""
    found = subprocess.run(words, cwd=cwd, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout

"""`seaway serve model.onnx`: from the start of the process to the first right answer."""

from __future__ import annotations

import json
import signal
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from server import SEAWAY, Seaway, linear_model

STARTS = 20


def measure(scale: float) -> dict[str, Any]:
    """Seconds to the first right answer over several starts, each in a new process on a new port."""
    seconds = [_start() for _ in range(max(1, round(STARTS * scale)))]
    return {
        "starts": len(seconds),
        "first_right_answer_s": {
            "min": round(min(seconds), 3),
            "median": round(statistics.median(seconds), 3),
            "max": round(max(seconds), 3),
        },
    }


def _start() -> float:
    with tempfile.TemporaryDirectory() as work:
        home = Path(work)
        model = linear_model(home / "model.onnx", 2.0)
        seaway = Seaway(home)
        began = time.monotonic()
        command = [SEAWAY, "serve", str(model), "--http", f"127.0.0.1:{seaway.port}"]
        with (home / "up.log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, env=seaway.environment)
        try:
            seaway.wait_until(lambda: _answers(seaway), 300, "no first answer")
            return time.monotonic() - began
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=300)


def _answers(seaway: Seaway) -> bool:
    try:
        status, _, body = seaway.predict("model", [[1.0, 2.0]])
    except OSError:
        return False
    return status == 200 and json.loads(body)["predictions"] == [6.0]
